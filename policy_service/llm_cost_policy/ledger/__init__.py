"""The ledger: what every call was promised and what it cost. The one authority for money.

This file says what a ledger takes and gives; `sqlite.py` is the one that ships.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import NamedTuple, Protocol, TypeVar

from llm_cost.policy.decision import Action, BudgetWarning, OutagePolicy
from llm_cost_policy.periods import Period
from llm_cost_policy.policies import Override, Rules

T_co = TypeVar("T_co", covariant=True)


class Rank(IntEnum):
    """How good a report of one call is: a better one takes the place of a worse one."""

    CHARGED_AT_DEATH = 1  # the hold ran out: its estimate
    ESTIMATED = 2  # usage counted by us: a stream cut short, say
    REPORTED = 3  # usage told by the provider


class ReserveCall(NamedTuple):
    """A call about to be made. `user_id` and `tier` are "" where the caller did not say."""

    call_id: bytes
    user_id: str
    tier: str
    group: str
    estimate_nano_usd: int | None  # None: the price is unknown
    hold_ttl_ms: int


class SettleCall(NamedTuple):
    """What a call cost. A NamedTuple because a batch makes a thousand of them."""

    call_id: bytes
    user_id: str
    tier: str
    group: str
    amount_nano_usd: int | None  # None: the price is unknown
    rank: Rank
    ended_unix_ms: int  # 0: now
    provider: str
    model: str
    operation: str
    outcome: int  # as on the wire
    price_status: int  # as on the wire
    price_version: str
    usage: str  # JSON object of exclusive buckets


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict with everything a caller may want to show."""

    action: Action
    would_be: Action
    on_unavailable: OutagePolicy
    reason: str
    rule: str
    policy_version: int
    limit_nano_usd: int | None
    spent_nano_usd: int
    held_nano_usd: int  # by other calls in flight
    period: str
    resets_at_unix_ms: int
    threshold_percent: int
    user_id: str
    tier: str

    @property
    def remaining_nano_usd(self) -> int | None:
        """What was left before this call; None where there is no limit."""
        if self.limit_nano_usd is None:
            return None
        return max(0, self.limit_nano_usd - self.spent_nano_usd - self.held_nano_usd)


@dataclass(frozen=True, slots=True)
class ReserveAnswer:
    """A decision and the hold that it made (0 nano-USD: none)."""

    decision: Decision
    hold_nano_usd: int
    hold_expires_unix_ms: int
    replayed: bool
    warnings: tuple[BudgetWarning, ...]


class SettleStatus(Enum):
    """What became of one report; the values are those of the wire."""

    APPLIED = 1
    REPLAYED = 2
    REPLACED = 3
    KEPT = 4
    CONFLICT = 5
    INVALID = 6


class SettleOutcome(NamedTuple):
    """One report's status and what the ledger holds now (None: unpriced)."""

    status: SettleStatus
    recorded_nano_usd: int | None
    period: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class SettleAnswer:
    """One outcome per report, in their order, and the thresholds they were first to reach."""

    outcomes: Sequence[SettleOutcome]
    warnings: Sequence[BudgetWarning]


@dataclass(slots=True)
class Counts:
    """Decisions by what was enforced."""

    allow: int = 0
    warn: int = 0
    block: int = 0
    dry_run: int = 0


@dataclass(slots=True)
class UserPeriod:
    """One user's counter in one period."""

    user_id: str
    tier: str
    posted_nano_usd: int
    held_nano_usd: int
    calls: int
    unpriced_calls: int
    decisions: Counts
    last_call_unix_ms: int


@dataclass(frozen=True, slots=True)
class TierPeriod:
    """One tier's counters in one period, summed."""

    tier: str
    users: int
    calls: int
    posted_nano_usd: int
    p50_nano_usd: int
    p95_nano_usd: int
    max_nano_usd: int
    unpriced_calls: int
    decisions: Counts


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One admin change."""

    id: int
    at_unix_ms: int
    author: str
    change: str
    subject: str
    reason: str
    before: str
    after: str
    policy_version: int


@dataclass(frozen=True, slots=True)
class Health:
    """What an operator watches."""

    queued: int
    rows: int
    conflicts: int
    commits: int
    commit_seconds: float
    decisions: dict[tuple[str, str], int]  # (action, tier) → count since this process started


class StoreUnavailable(Exception):
    """The store cannot take or give anything now: try again with the same call_id."""


class Refused(Exception):
    """The operation cannot be stored; the message names the field, the value, the way out."""


class NotThere(Refused):
    """There is nothing to change under that name."""


class VersionMismatch(Exception):
    """Another policy runs than the one that the caller expected to replace."""


class Pending(Protocol[T_co]):
    """Something that is being committed."""

    def result(self, timeout_s: float) -> T_co:
        """Wait until it is durable and return it, or raise what went wrong."""


class Ledger(Protocol):
    """What the servers need of a store. Results of writes are durable when they are given."""

    @property
    def rules(self) -> Rules:
        """The policy and overrides that the next decision is taken by."""

    def check(self, call: ReserveCall) -> Decision:
        """Judge a call; hold and write nothing."""

    def reserve(self, call: ReserveCall) -> Pending[ReserveAnswer]:
        """Judge a call and hold its estimate, in one step."""

    def settle(self, calls: Sequence[SettleCall]) -> Pending[SettleAnswer]:
        """Record what calls cost."""

    def void(self, call_id: bytes) -> Pending[bool]:
        """Release a hold; False if there is no live one."""

    def extend(self, call_ids: Sequence[bytes], ttl_ms: int) -> Pending[list[int]]:
        """Keep live holds for `ttl_ms` more; return when each ends, 0 for no live hold."""

    def put_policy(
        self, document_yaml: str, *, expected_version: int, author: str, reason: str
    ) -> Pending[int]:
        """Replace the policy and return its version."""

    def put_override(self, override: Override) -> Pending[int]:
        """Set a user's override and return the policy version."""

    def delete_override(self, user_id: str, *, author: str, reason: str) -> Pending[int]:
        """Remove a user's override, if there is one."""

    def document(self) -> tuple[str, int]:
        """Return the running policy document, as it was put, and its version."""

    def history(self, *, before_id: int, at_most: int) -> list[HistoryEntry]:
        """Return admin changes, newest first."""

    def period_of(self, name: str) -> Period | None:
        """Return the period called `name`, the current one for ""."""

    def user(self, user_id: str, period: str) -> UserPeriod | None:
        """Return a user's counter."""

    def users(
        self, period: str, *, tier: str, after: tuple[int, str] | None, at_most: int
    ) -> list[UserPeriod]:
        """Return counters, highest spend first, from behind `after` (spend, user)."""

    def tiers(self, period: str) -> list[TierPeriod]:
        """Return the sums of every tier that has a counter."""

    def users_at(self, period: str, tier: str, spent_nano_usd: int) -> int:
        """Count the users of a tier who spent that much or more."""

    def health(self) -> Health:
        """Return what an operator watches."""

    def now_unix_ms(self) -> int:
        """The ledger's clock."""
