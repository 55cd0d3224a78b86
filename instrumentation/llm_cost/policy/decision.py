"""What is asked of the policy service and what it answers, as plain values.

The rest of the library sees these and never a protobuf message, so that an application
without a policy service never imports gRPC.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from llm_cost.usage import Usage


class Action(Enum):
    """What to do with a call."""

    ALLOW = "allow"
    WARN = "warn"
    BLOCK = "block"
    DRY_RUN = "dry_run"


class OutageMode(Enum):
    """What to do with a call while the policy service cannot be reached."""

    BLOCK = "block"
    ALLOW_UP_TO = "allow_up_to"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class OutagePolicy:
    """Outage behaviour of a tier; the allowance is per user, process and outage."""

    mode: OutageMode
    allowance_nano_usd: int = 0


@dataclass(frozen=True, slots=True)
class Identity:
    """Who pays. None where the application did not say."""

    user_id: str | None = None
    tier: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """A call about to be made. `estimate_nano_usd` is None when the price is unknown."""

    call_id: bytes
    identity: Identity
    provider: str
    model: str
    estimate_nano_usd: int | None
    hold_ttl_s: float


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to a `Reservation`. `limit_nano_usd` is None where there is no limit.

    `available` is False when the service could not be asked and the outage rule decided.
    """

    action: Action
    would_be: Action
    reason: str = ""
    rule: str = ""
    policy_version: int = 0
    limit_nano_usd: int | None = None
    spent_nano_usd: int = 0
    held_nano_usd: int = 0
    remaining_nano_usd: int | None = None
    period: str = ""
    resets_at: datetime | None = None
    warned_threshold_percent: int = 0
    available: bool = True


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a call cost. `actual_nano_usd` is None when the price is unknown, never 0 then."""

    call_id: bytes
    identity: Identity
    provider: str
    model: str
    operation: str
    actual_nano_usd: int | None
    usage: Usage
    price_status: str  # llm_cost.pricing.PriceStatus value
    price_version: str
    usage_source: str  # "reported" | "estimated"
    outcome: str  # "ok" | "error" | "cancelled"
    ended_at_unix_ms: int


@dataclass(frozen=True, slots=True)
class BudgetWarning:
    """A user reached a warning threshold: told once per user, window and threshold."""

    user_id: str
    tier: str
    period: str
    threshold_percent: int
    spent_nano_usd: int
    limit_nano_usd: int
