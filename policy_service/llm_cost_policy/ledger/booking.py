"""What reservations and settlements share: counters, thresholds, ledger rows, the clock."""

import sqlite3
from collections.abc import Callable
from typing import Final

from llm_cost.attributes import UNATTRIBUTED
from llm_cost.policy.decision import BudgetWarning
from llm_cost_policy.engine import thresholds_reached
from llm_cost_policy.ledger.counters import Counter, CounterCache
from llm_cost_policy.ledger.schema import ACCOUNT
from llm_cost_policy.periods import Period, period_at
from llm_cost_policy.policies import Rule, Rules

_INSERT_ROW: Final = (
    "INSERT INTO ledger (account, call_id, revision, user_id, tier, group_name, period, "
    "amount_nano_usd, change_nano_usd, rank, provider, model, operation, outcome, price_status, "
    "price_version, usage, ended_unix_ms, recorded_unix_ms) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_IN_LEDGER: Final = "SELECT 1 FROM ledger WHERE account = ? AND call_id = ? LIMIT 1"

# A fixed number of placeholders keeps one prepared statement; a lookup alone costs little.
_LOOKED_UP_AT_ONCE: Final = 50
_PLACES: Final = ", ".join("?" * _LOOKED_UP_AT_ONCE)
_KNOWN_HOLDS: Final = f"SELECT call_id FROM hold WHERE account = ? AND call_id IN ({_PLACES})"
_KNOWN_ROWS: Final = f"SELECT call_id FROM ledger WHERE account = ? AND call_id IN ({_PLACES})"

_INSERT_EVENT: Final = (
    "INSERT INTO threshold_event (account, period, user_id, percent, tier, spent_nano_usd, "
    "limit_nano_usd, at_unix_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)


class Book:
    """The state of one writer: everything that a transaction reads and changes."""

    def __init__(self, cursor: sqlite3.Cursor, *, rules: Rules, clock: Callable[[], int]) -> None:
        self.cursor = cursor
        self.rules = rules
        self.clock = clock
        self.counters = CounterCache(cursor)
        self.now_unix_ms = clock()
        self.new_rows = 0
        self.new_conflicts = 0
        self.new_decisions: list[tuple[str, str]] = []
        self._period: Period | None = None
        self._rows: list[tuple[object, ...]] = []
        self._row_ids: set[bytes] = set()

    def begin(self) -> None:
        """Fix the time of a transaction and forget the tallies of the last one."""
        self.now_unix_ms = self.clock()
        self.new_rows = 0
        self.new_conflicts = 0
        self.new_decisions.clear()
        self._rows.clear()
        self._row_ids.clear()

    def period_at(self, at_unix_ms: int) -> Period:
        """Return the period of an instant; consecutive calls mostly share one."""
        period = self._period
        if period is None or not period.holds(at_unix_ms):
            policy = self.rules.policy
            period = self._period = period_at(at_unix_ms, policy.zone, policy.window)
        return period

    def use_rules(self, rules: Rules) -> None:
        """Decide by other rules from now on."""
        self.rules = rules
        self._period = None

    def rule_for(self, user_id: str, tier: str) -> Rule:
        """Return the rule for a user now."""
        return self.rules.rule_for(user_id, tier, self.now_unix_ms)

    def append(self, call_id: bytes, row: tuple[object, ...]) -> None:
        """Append a row (from revision on), to be written with the rest of the transaction."""
        self._rows.append((ACCOUNT, call_id, *row))
        self._row_ids.add(call_id)

    def knows(self, call_id: bytes) -> bool:
        """Whether the ledger has a row of this call, this transaction's included."""
        if call_id in self._row_ids:
            return True
        return self.cursor.execute(_IN_LEDGER, (ACCOUNT, call_id)).fetchone() is not None

    def known(self, call_ids: list[bytes]) -> set[bytes]:
        """Return those that the ledger or a hold knows already: a superset, read in one go."""
        found = {call_id for call_id in call_ids if call_id in self._row_ids}
        for at in range(0, len(call_ids), _LOOKED_UP_AT_ONCE):
            some = call_ids[at : at + _LOOKED_UP_AT_ONCE]
            padded = (*some, *some[:1] * (_LOOKED_UP_AT_ONCE - len(some)))
            for statement in (_KNOWN_HOLDS, _KNOWN_ROWS):
                found.update(row[0] for row in self.cursor.execute(statement, (ACCOUNT, *padded)))
        return found

    def write_rows(self) -> None:
        """Write the rows appended so far; before a commit, and before reading them back."""
        if self._rows:
            self.cursor.executemany(_INSERT_ROW, self._rows)
            self.new_rows += len(self._rows)
            self._rows.clear()
            self._row_ids.clear()

    def warn(self, counter: Counter, rule: Rule, reached_nano_usd: int) -> list[BudgetWarning]:
        """Return the thresholds that are reached for the first time, and remember them."""
        limit = rule.limit_nano_usd
        if limit is None or not rule.warn_at_percents:
            return []
        if reached_nano_usd * 100 < limit * rule.warn_at_percents[0]:
            return []  # by far the most common case
        told = counter.told_percents.split(",")
        fresh = [p for p in thresholds_reached(rule, reached_nano_usd) if str(p) not in told]
        return [
            warning
            for percent in fresh
            if (warning := self._tell(counter, rule, percent, reached_nano_usd)) is not None
        ]

    def _tell(
        self, counter: Counter, rule: Rule, percent: int, reached_nano_usd: int
    ) -> BudgetWarning | None:
        limit = rule.limit_nano_usd or 0
        self.cursor.execute(
            _INSERT_EVENT,
            (
                ACCOUNT,
                counter.period,
                counter.user_id,
                percent,
                rule.tier,
                reached_nano_usd,
                limit,
                self.now_unix_ms,
            ),
        )
        first = self.cursor.rowcount == 1
        told = counter.told_percents
        counter.told_percents = f"{told},{percent}" if told else str(percent)
        if not first:
            return None
        return BudgetWarning(
            counter.user_id, rule.tier, counter.period, percent, reached_nano_usd, limit
        )


def booked_user(user_id: str) -> str:
    """Who pays: a visible subject where the application did not say."""
    return user_id or UNATTRIBUTED
