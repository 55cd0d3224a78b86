"""The ledger against a small model: any order of any messages, the same money."""

import sqlite3
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from llm_cost.policy.decision import Action
from llm_cost_policy.ledger import Rank, ReserveCall, SettleCall, SettleStatus
from llm_cost_policy.ledger.sqlite import SqliteLedger
from support.policy import Clock

POLICY = "default_tier: t\ntiers: {t: {limit: 0.000000100, warn_at: [80]}}"  # 100 nano-USD
LIMIT, TTL_MS, WAIT_S = 100, 50_000, 5
CALLS = st.integers(min_value=0, max_value=7).map(lambda i: bytes([i]) * 16)
USERS = st.sampled_from(["a", "b"])
AMOUNTS = st.integers(min_value=0, max_value=60)


@dataclass
class Model:
    """What the rules of the ledger say, in a few lines and without a database."""

    now: int
    holds: dict[bytes, tuple[str, int, int]] = field(default_factory=dict)  # user, amount, expires
    seen: set[bytes] = field(default_factory=set)  # reserved or voided
    owner: dict[bytes, str] = field(default_factory=dict)  # of a call that was reserved
    rows: dict[bytes, tuple[str, int | None, int]] = field(default_factory=dict)

    def spent(self, user: str) -> int:
        return sum(amount or 0 for who, amount, _ in self.rows.values() if who == user)

    def held(self, user: str) -> int:
        return sum(amount for who, amount, _ in self.holds.values() if who == user)

    def expire(self) -> None:
        for call, (user, amount, expires) in list(self.holds.items()):
            if expires <= self.now:
                del self.holds[call]
                self.rows[call] = (user, amount, Rank.CHARGED_AT_DEATH)

    def reserve(self, call: bytes, user: str, amount: int) -> bool | None:
        if call in self.seen or call in self.rows:
            return None
        self.seen.add(call)
        self.owner[call] = user
        admitted = self.spent(user) + self.held(user) + amount <= LIMIT
        if admitted:
            self.holds[call] = (user, amount, self.now + TTL_MS)
        return admitted

    def settle(self, call: bytes, user: str, amount: int | None, rank: Rank) -> SettleStatus:
        if call not in self.rows:
            self.holds.pop(call, None)
            self.rows[call] = (self.owner.get(call, user), amount, rank)
            return SettleStatus.APPLIED
        owner, stands, had = self.rows[call]
        better = (amount is not None, rank), (stands is not None, had)
        if better[0] < better[1]:
            return SettleStatus.KEPT
        if better[0] > better[1]:
            self.rows[call] = (owner, amount, rank)
            return SettleStatus.REPLACED
        equal = amount == stands and user == owner
        return SettleStatus.REPLAYED if equal else SettleStatus.CONFLICT


class LedgerAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = str(Path(self.folder.name) / "l.sqlite")
        self.clock = Clock()
        self.model = Model(self.clock.now_unix_ms)
        self.told: list[str] = []
        self.open()

    def open(self) -> None:
        self.ledger = SqliteLedger(self.path, clock=self.clock, policy_file_text=POLICY)
        # Room for one counter, so that they leave memory and come back all the time.
        self.ledger._book.counters._at_most = 1

    @rule(call=CALLS, user=USERS, amount=AMOUNTS)
    def reserve(self, call: bytes, user: str, amount: int) -> None:
        expected = self.model.reserve(call, user, amount)
        answer = self.ledger.reserve(ReserveCall(call, user, "t", "", amount, TTL_MS)).result(
            WAIT_S
        )
        self.told += [w.user_id for w in answer.warnings if not answer.replayed]

        assert answer.replayed == (expected is None)
        if expected is not None:
            assert (answer.decision.action is not Action.BLOCK) == expected
            assert answer.hold_nano_usd == (amount if expected else 0)

    @rule(
        calls=st.lists(
            st.tuples(
                CALLS, USERS, st.none() | AMOUNTS, st.sampled_from([Rank.ESTIMATED, Rank.REPORTED])
            ),
            min_size=1,
            max_size=4,
        )
    )
    def settle(self, calls: list[tuple[bytes, str, int | None, Rank]]) -> None:
        expected = [self.model.settle(*call) for call in calls]
        answer = self.ledger.settle(
            [
                SettleCall(c, u, "t", "", amount, rank, 0, "", "", "", 0, 0, "", "{}")
                for c, u, amount, rank in calls
            ]
        ).result(WAIT_S)
        self.told += [w.user_id for w in answer.warnings]

        assert [outcome.status for outcome in answer.outcomes] == expected

    @rule(call=CALLS)
    def void(self, call: bytes) -> None:
        expected = self.model.holds.pop(call, None) is not None
        if call not in self.model.rows:
            self.model.seen.add(call)

        assert self.ledger.void(call).result(WAIT_S) == expected

    @rule(calls=st.lists(CALLS, min_size=1, max_size=3), ttl_ms=st.integers(1, 2 * TTL_MS))
    def extend(self, calls: list[bytes], ttl_ms: int) -> None:
        expected = []
        for call in calls:
            user, amount, expires = self.model.holds.get(call, ("", 0, 0))
            if expires:
                expires = max(expires, self.model.now + ttl_ms)
                self.model.holds[call] = (user, amount, expires)
            expected.append(expires)

        assert self.ledger.extend(calls, ttl_ms).result(WAIT_S) == expected

    @rule()
    def restart(self) -> None:
        self.ledger.close()
        self.open()

    @rule(seconds=st.integers(min_value=1, max_value=40))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds=seconds)
        self.model.now = self.clock.now_unix_ms
        self.model.expire()
        # Blocked and voided calls are remembered until a sweep finds their time over; which
        # ones those are is taken from the ledger, since no money hangs on it.
        self.ledger.sweep().result(WAIT_S)
        with sqlite3.connect(self.path) as database:
            kept = {row[0] for row in database.execute("SELECT call_id FROM hold")}
        self.model.seen &= kept | set(self.model.rows)
        self.model.owner = {c: u for c, u in self.model.owner.items() if c in self.model.seen}

    @invariant()
    def the_money_is_the_same(self) -> None:
        for user in ("a", "b"):
            counter = self.ledger.user(user, "2026-11")
            posted, held = (counter.posted_nano_usd, counter.held_nano_usd) if counter else (0, 0)
            assert (posted, held) == (self.model.spent(user), self.model.held(user))

    @invariant()
    def a_threshold_is_told_at_most_once(self) -> None:
        assert len(self.told) == len(set(self.told))

    @invariant()
    def counters_are_the_sum_of_the_ledger(self) -> None:
        with sqlite3.connect(self.path) as database:
            sums = "SELECT user_id, SUM(change_nano_usd) FROM ledger GROUP BY user_id"
            posted = "SELECT user_id, posted_nano_usd FROM counter WHERE calls > 0"
            assert dict(database.execute(sums)) == dict(database.execute(posted))

    def teardown(self) -> None:
        self.ledger.close()
        self.folder.cleanup()


LedgerAgainstModel.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None
)
TestLedgerAgainstModel = LedgerAgainstModel.TestCase
