"""The SQLite ledger: wires the writer, the readers and the operations together."""

import fcntl
import os
import sqlite3
import time
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from llm_cost.errors import ConfigurationError
from llm_cost_policy.ledger import (
    Decision,
    Health,
    HistoryEntry,
    ReserveAnswer,
    ReserveCall,
    SettleAnswer,
    SettleCall,
    TierPeriod,
    UserPeriod,
    administration,
    reservations,
    settlements,
)
from llm_cost_policy.ledger.booking import Book, booked_user
from llm_cost_policy.ledger.counters import Counter
from llm_cost_policy.ledger.reading import Readers
from llm_cost_policy.ledger.schema import ACCOUNT, open_writer
from llm_cost_policy.ledger.writer import Ticket, Writer
from llm_cost_policy.periods import Period, period_at, period_named
from llm_cost_policy.policies import Override, Policy, Rules
from llm_cost_policy.policy_document import example_document, parse_policy

SWEEP_EVERY_MS: Final = 1_000  # a dead client's hold is charged within about a second
MOST_DECISION_SERIES: Final = 800  # tiers are the caller's claim: their number needs a bound


def system_clock() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


class SqliteLedger:
    """A `Ledger` in one SQLite file, used by one process at a time."""

    def __init__(
        self,
        path: str,
        *,
        clock: Callable[[], int] = system_clock,
        policy_file_text: str | None = None,
    ) -> None:
        self._clock = clock
        self._lock_file = _locked(path)
        self._connection = open_writer(path)
        cursor = self._connection.cursor()
        rules = _start_rules(cursor, policy_file_text, clock())
        self._book = Book(cursor, rules=rules, clock=clock)
        self._rules = rules
        policy = rules.policy
        self._current = (policy, period_at(clock(), policy.zone, policy.window))
        self._decisions: Tally[tuple[str, str]] = Tally()
        self._tallies = dict(
            cursor.execute("SELECT name, value FROM tally WHERE account = ?", (ACCOUNT,))
        )
        self._swept_unix_ms = 0
        self._readers = Readers(path)
        self._writer = Writer(self)

    # --- transactions, called by the writer thread only ---------------------------------------

    def begin(self) -> None:
        """Start a transaction at one instant of the clock."""
        self._book.begin()
        self._book.cursor.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Write what changed in memory, commit, and only then let others see it."""
        book = self._book
        book.write_rows()
        book.counters.write()
        tallies = self._next_tallies()
        book.cursor.execute("COMMIT")
        book.counters.trim()
        self._tallies = tallies
        self._rules = book.rules
        self._count_decisions(book.new_decisions)

    def rollback(self) -> None:
        """Forget everything since `begin`."""
        self._book.counters.forget()
        self._book.use_rules(self._rules)
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                return  # SQLite has rolled back by itself

    def housekeeping(self) -> None:
        """Charge the holds that have expired, about once a second."""
        now = self._clock()
        if not 0 <= now - self._swept_unix_ms < SWEEP_EVERY_MS:
            self._swept_unix_ms = now
            self._sweep_now()

    def _sweep_now(self) -> int:
        self.begin()
        ended = reservations.sweep(self._book)
        self.commit()
        if ended == reservations.MOST_EXPIRED_A_SWEEP:
            self._swept_unix_ms = 0  # there are more: go on after the next group
        return ended

    def _next_tallies(self) -> dict[str, int]:
        new = {"rows": self._book.new_rows, "conflicts": self._book.new_conflicts}
        changed = {name: self._tallies.get(name, 0) + n for name, n in new.items() if n}
        self._book.cursor.executemany(
            "INSERT OR REPLACE INTO tally (account, name, value) VALUES (?, ?, ?)",
            [(ACCOUNT, name, value) for name, value in changed.items()],
        )
        return {**self._tallies, **changed}

    def _count_decisions(self, decisions: list[tuple[str, str]]) -> None:
        for key in decisions:
            known = key in self._decisions or len(self._decisions) < MOST_DECISION_SERIES
            self._decisions[key if known else (key[0], "other")] += 1

    # --- writes ------------------------------------------------------------------------------

    def reserve(self, call: ReserveCall) -> Ticket[ReserveAnswer]:
        """Judge a call and hold its estimate, in one step."""
        return self._writer.submit(partial(reservations.reserve, self._book, call))

    def settle(self, calls: Sequence[SettleCall]) -> Ticket[SettleAnswer]:
        """Record what calls cost."""
        return self._writer.submit(
            partial(settlements.settle, self._book, calls), weight=len(calls)
        )

    def void(self, call_id: bytes) -> Ticket[bool]:
        """Release a hold; False if there is no live one."""
        return self._writer.submit(partial(reservations.void, self._book, call_id))

    def extend(self, call_ids: Sequence[bytes], ttl_ms: int) -> Ticket[list[int]]:
        """Keep live holds for `ttl_ms` more."""
        return self._writer.submit(
            partial(reservations.extend, self._book, call_ids, ttl_ms), weight=len(call_ids)
        )

    def sweep(self) -> Ticket[int]:
        """Charge the expired holds now, instead of within a second."""
        return self._writer.submit(partial(reservations.sweep, self._book))

    def put_policy(
        self, document_yaml: str, *, expected_version: int, author: str, reason: str
    ) -> Ticket[int]:
        """Replace the policy and return its version; a broken document raises at once."""
        policy = parse_policy(document_yaml)
        return self._writer.submit(
            partial(
                administration.put_policy,
                self._book,
                document_yaml,
                policy,
                expected_version=expected_version,
                who=(author, reason),
            )
        )

    def put_override(self, override: Override) -> Ticket[int]:
        """Set a user's override and return the policy version."""
        return self._writer.submit(partial(administration.put_override, self._book, override))

    def delete_override(self, user_id: str, *, author: str, reason: str) -> Ticket[int]:
        """Remove a user's override, if there is one."""
        return self._writer.submit(
            partial(
                administration.delete_override, self._book, user_id, author=author, reason=reason
            )
        )

    # --- reads -------------------------------------------------------------------------------

    @property
    def rules(self) -> Rules:
        """The policy and overrides that were committed last."""
        return self._rules

    def now_unix_ms(self) -> int:
        """The ledger's clock."""
        return self._clock()

    def check(self, call: ReserveCall) -> Decision:
        """Judge a call; hold and write nothing."""
        now = self._clock()
        rules = self._rules
        user_id = booked_user(call.user_id)
        period = self._current_period(rules.policy, now)
        counter = self._readers.counter(period.name, user_id) or Counter(period.name, user_id)
        rule = rules.rule_for(user_id, call.tier, now)
        decision, _ = reservations.decision_for(rule, counter, call, period, rules.version)
        return decision

    def document(self) -> tuple[str, int]:
        """Return the running policy document, as it was put, and its version."""
        with self._readers.cursor() as cursor:
            return administration.newest_document(cursor) or ("", 0)

    def history(self, *, before_id: int, at_most: int) -> list[HistoryEntry]:
        """Return admin changes, newest first."""
        with self._readers.cursor() as cursor:
            return administration.read_history(cursor, before_id=before_id, at_most=at_most)

    def period_of(self, name: str) -> Period | None:
        """Return the period called `name`, the current one for ""."""
        policy = self._rules.policy
        if name:
            return period_named(name, policy.zone)
        return self._current_period(policy, self._clock())

    def _current_period(self, policy: Policy, now_unix_ms: int) -> Period:
        # One tuple, replaced whole: any thread may read it.
        known_policy, period = self._current
        if known_policy is not policy or not period.holds(now_unix_ms):
            period = period_at(now_unix_ms, policy.zone, policy.window)
            self._current = (policy, period)
        return period

    def user(self, user_id: str, period: str) -> UserPeriod | None:
        """Return a user's counter."""
        return self._readers.user(user_id, period)

    def users(
        self, period: str, *, tier: str, after: tuple[int, str] | None, at_most: int
    ) -> list[UserPeriod]:
        """Return counters, highest spend first."""
        return self._readers.users(period, tier=tier, after=after, at_most=at_most)

    def tiers(self, period: str) -> list[TierPeriod]:
        """Return the sums of every tier that has a counter."""
        return self._readers.tiers(period)

    def users_at(self, period: str, tier: str, spent_nano_usd: int) -> int:
        """Count the users of a tier who spent that much or more."""
        return self._readers.users_at(period, tier, spent_nano_usd)

    def health(self) -> Health:
        """Return what an operator watches."""
        return Health(
            queued=self._writer.queued,
            rows=self._tallies.get("rows", 0),
            conflicts=self._tallies.get("conflicts", 0),
            commits=self._writer.commits,
            commit_seconds=self._writer.commit_seconds,
            decisions=dict(self._decisions),
        )

    def close(self) -> None:
        """Finish and commit what is queued, then close the file."""
        self._writer.close()
        self._readers.close()
        self._connection.close()
        os.close(self._lock_file)


def _locked(path: str) -> int:
    """Take the file for this process; the kernel gives it back however the process ends."""
    lock_file = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock_file)
        raise ConfigurationError(
            f"database {path} is in use by another process; stop that one, or name another file"
        ) from None
    return lock_file


def _start_rules(cursor: sqlite3.Cursor, policy_file_text: str | None, now_unix_ms: int) -> Rules:
    """Return what runs from the start, after putting the file's policy if it has changed.

    A file that was not edited since it was last read changes nothing: what was put live since
    then survives a restart.
    """
    newest = administration.newest_document(cursor)
    version = 0 if newest is None else newest[1]
    if policy_file_text is not None:
        parse_policy(policy_file_text)
        if policy_file_text != administration.newest_document_from_file(cursor):
            administration.put_document(
                cursor, policy_file_text, version + 1, source="file", now_unix_ms=now_unix_ms
            )
    elif newest is None:
        administration.put_document(
            cursor, example_document(), 1, source="default", now_unix_ms=now_unix_ms
        )
    rules = administration.load_rules(cursor, parse_policy)
    assert rules is not None  # one was put above, or stood already
    return rules
