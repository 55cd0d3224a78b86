"""The counters that decisions are taken against: memory over the database, never instead."""

import sqlite3
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from llm_cost.money import MAX_NANO_USD
from llm_cost.policy.decision import Action
from llm_cost_policy.engine import Spend
from llm_cost_policy.ledger import Refused
from llm_cost_policy.ledger.schema import ACCOUNT

MOST_CACHED: Final = 100_000  # about 60 MB; the rest is one primary-key read away

_COLUMNS: Final = (
    "period, user_id, tier, posted_nano_usd, held_nano_usd, calls, unpriced_calls, allowed, "
    "warned, blocked, dry_run, last_call_unix_ms, told_percents"
)
_READ: Final = f"SELECT {_COLUMNS} FROM counter WHERE account = ? AND period = ? AND user_id = ?"
_WRITE: Final = (
    f"INSERT OR REPLACE INTO counter (account, {_COLUMNS}) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class Counter:
    """What one user spent and holds in one period."""

    __slots__ = (
        "allowed",
        "blocked",
        "calls",
        "dry_run",
        "held_nano_usd",
        "last_call_unix_ms",
        "period",
        "posted_nano_usd",
        "tier",
        "told_percents",
        "unpriced_calls",
        "user_id",
        "warned",
    )

    def __init__(self, period: str, user_id: str, tier: str = "") -> None:
        self.period = period
        self.user_id = user_id
        self.tier = tier
        self.posted_nano_usd = 0
        self.held_nano_usd = 0
        self.calls = 0
        self.unpriced_calls = 0
        self.allowed = 0
        self.warned = 0
        self.blocked = 0
        self.dry_run = 0
        self.last_call_unix_ms = 0
        self.told_percents = ""

    @property
    def spend(self) -> Spend:
        """The state that a decision is taken against."""
        return Spend(self.posted_nano_usd, self.held_nano_usd)

    def make_room_for(self, nano_usd: int) -> None:
        """Refuse an amount that would leave the range of the wire and of the store."""
        if self.posted_nano_usd + self.held_nano_usd + nano_usd > MAX_NANO_USD:
            raise Refused(
                f"amount {nano_usd} would carry the spend of {self.user_id!r} in {self.period} "
                f"beyond {MAX_NANO_USD} nano-USD; check the unit"
            )

    def note_call(self, tier: str, at_unix_ms: int) -> None:
        """Remember the newest call's tier and time."""
        if at_unix_ms >= self.last_call_unix_ms:
            self.last_call_unix_ms = at_unix_ms
            self.tier = tier
        elif not self.tier:
            self.tier = tier

    def count(self, action: Action) -> None:
        """Count one decision."""
        match action:
            case Action.ALLOW:
                self.allowed += 1
            case Action.WARN:
                self.warned += 1
            case Action.BLOCK:
                self.blocked += 1
            case Action.DRY_RUN:
                self.dry_run += 1

    def row(self) -> tuple[str | int, ...]:
        """The row as it is written."""
        return (
            ACCOUNT,
            self.period,
            self.user_id,
            self.tier,
            self.posted_nano_usd,
            self.held_nano_usd,
            self.calls,
            self.unpriced_calls,
            self.allowed,
            self.warned,
            self.blocked,
            self.dry_run,
            self.last_call_unix_ms,
            self.told_percents,
        )


def read_counter(cursor: sqlite3.Cursor, period: str, user_id: str) -> Counter | None:
    """Read a counter from the database."""
    row = cursor.execute(_READ, (ACCOUNT, period, user_id)).fetchone()
    return None if row is None else _counter_of(row)


def _counter_of(row: Iterable[str | int]) -> Counter:
    counter = Counter("", "")
    for name, value in zip(_NAMES, row, strict=True):
        setattr(counter, name, value)
    return counter


_NAMES: Final = tuple(name.strip() for name in _COLUMNS.split(","))


class CounterCache:
    """The counters touched last, and those that the running transaction has changed.

    Only the writer thread uses it. A counter leaves memory only after it was written, and a
    failed transaction forgets everything, so memory never says more than the database.
    """

    def __init__(self, cursor: sqlite3.Cursor, *, at_most: int = MOST_CACHED) -> None:
        self._cursor = cursor
        self._at_most = at_most
        self._cached: OrderedDict[tuple[str, str], Counter] = OrderedDict()
        self._changed: dict[tuple[str, str], Counter] = {}

    def to_change(self, period: str, user_id: str) -> Counter:
        """Return the counter, to be written at the end of the transaction."""
        key = (period, user_id)
        counter = self._changed.get(key)
        if counter is None:
            counter = self.peek(period, user_id)
            self._changed[key] = counter
        return counter

    def peek(self, period: str, user_id: str) -> Counter:
        """Return the counter to look at; a user without one has an empty one."""
        key = (period, user_id)
        counter = self._cached.get(key)
        if counter is not None:
            self._cached.move_to_end(key)
            return counter
        counter = read_counter(self._cursor, period, user_id) or Counter(period, user_id)
        self._cached[key] = counter
        return counter

    def write(self) -> None:
        """Write what changed. Memory keeps it until `trim`, after the commit."""
        if self._changed:
            self._cursor.executemany(_WRITE, [c.row() for c in self._changed.values()])

    def trim(self) -> None:
        """After a commit: nothing is changed any more, and the oldest may go."""
        self._changed.clear()
        while len(self._cached) > self._at_most:
            self._cached.popitem(last=False)

    def forget(self) -> None:
        """After a rollback: the database is the truth."""
        self._changed.clear()
        self._cached.clear()
