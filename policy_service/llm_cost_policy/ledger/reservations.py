"""Reserve, Void and the end of a hold's life, inside the writer's transaction.

A row of `hold` outlives its hold until a Settle or its expiry, so that a repeated or
reordered message finds what happened: blocked calls and voided ones leave a row without money.
"""

import json
from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from llm_cost.policy.decision import Action, BudgetWarning, OutageMode, OutagePolicy
from llm_cost_policy.engine import decide
from llm_cost_policy.ledger import Decision, Rank, ReserveAnswer, ReserveCall
from llm_cost_policy.ledger.booking import Book, booked_user
from llm_cost_policy.ledger.counters import Counter
from llm_cost_policy.ledger.schema import ACCOUNT
from llm_cost_policy.periods import Period
from llm_cost_policy.policies import Rule

MOST_EXPIRED_A_SWEEP: Final = 1_000  # so that a sweep never holds up the queue for long
VOID_REMEMBERED_MS: Final = 10 * 60 * 1000  # longer than any message is late


class HoldState(IntEnum):
    """What a row of `hold` stands for."""

    HELD = 1
    BLOCKED = 2
    VOIDED = 3


class Hold(NamedTuple):
    """A row of `hold`, without account."""

    call_id: bytes
    state: int
    user_id: str
    tier: str
    group: str
    period: str
    amount_nano_usd: int
    unpriced: int
    expires_unix_ms: int
    answer: str


# Made once: json.dumps with separators makes an encoder at every call.
_to_json: Final = json.JSONEncoder(separators=(",", ":")).encode

_COLUMNS: Final = (
    "call_id, state, user_id, tier, group_name, period, amount_nano_usd, unpriced, "
    "expires_unix_ms, answer"
)
_READ: Final = f"SELECT {_COLUMNS} FROM hold WHERE account = ? AND call_id = ?"
_TAKE: Final = f"DELETE FROM hold WHERE account = ? AND call_id = ? RETURNING {_COLUMNS}"
_WRITE: Final = (
    f"INSERT OR REPLACE INTO hold (account, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_EXPIRED: Final = (
    f"SELECT {_COLUMNS} FROM hold WHERE expires_unix_ms <= ? ORDER BY expires_unix_ms LIMIT ?"
)


def take_hold(book: Book, call_id: bytes) -> Hold | None:
    """Remove and return a call's row."""
    row = book.cursor.execute(_TAKE, (ACCOUNT, call_id)).fetchone()
    return None if row is None else Hold(*row)


def put_back(book: Book, hold: Hold) -> None:
    """Write a row that was taken, or a new one."""
    book.cursor.execute(_WRITE, (ACCOUNT, *hold))


def reserve(book: Book, call: ReserveCall) -> ReserveAnswer:
    """Judge a call against everything before it and hold its estimate."""
    known = book.cursor.execute(_READ, (ACCOUNT, call.call_id)).fetchone()
    if known is not None and (answer := Hold(*known).answer):
        return _replay(Hold(*known), answer)
    settled = book.knows(call.call_id)
    if known is not None or settled:
        # Its Settle or Void came first: there is nothing left to hold.
        decision, _ = judge(book, call)
        return ReserveAnswer(decision, 0, 0, replayed=True, warnings=())
    return _first_reserve(book, call)


def judge(book: Book, call: ReserveCall) -> tuple[Decision, int]:
    """Return the decision as of now and what it would hold; changes nothing."""
    user_id = booked_user(call.user_id)
    period = book.period_at(book.now_unix_ms)
    counter = book.counters.peek(period.name, user_id)
    return decision_for(
        book.rule_for(user_id, call.tier), counter, call, period, book.rules.version
    )


def decision_for(
    rule: Rule, counter: Counter, call: ReserveCall, period: Period, policy_version: int
) -> tuple[Decision, int]:
    """Return the decision on a call and what it would hold."""
    verdict = decide(rule, counter.spend, call.estimate_nano_usd)
    decision = Decision(
        action=verdict.enforced,
        would_be=verdict.judged,
        reason=verdict.reason,
        rule=rule.name,
        policy_version=policy_version,
        limit_nano_usd=rule.limit_nano_usd,
        spent_nano_usd=counter.posted_nano_usd,
        held_nano_usd=counter.held_nano_usd,
        period=period.name,
        resets_at_unix_ms=period.ends_unix_ms,
        threshold_percent=verdict.threshold_percent,
        user_id=counter.user_id,
        tier=rule.tier,
        on_unavailable=rule.on_unavailable,
    )
    return decision, verdict.hold_nano_usd


def _first_reserve(book: Book, call: ReserveCall) -> ReserveAnswer:
    decision, hold_nano_usd = judge(book, call)
    blocked = decision.action is Action.BLOCK
    counter = book.counters.peek(decision.period, decision.user_id)
    counter.make_room_for(hold_nano_usd)
    counter = book.counters.to_change(decision.period, decision.user_id)
    counter.held_nano_usd += hold_nano_usd
    counter.count(decision.action)
    if not blocked or not counter.tier:
        # A refused claim of another tier must not move what was spent to it.
        counter.note_call(decision.tier, book.now_unix_ms)
    rule = book.rule_for(decision.user_id, call.tier)
    warnings = book.warn(counter, rule, counter.posted_nano_usd + counter.held_nano_usd)
    expires = book.now_unix_ms + call.hold_ttl_ms
    answer = ReserveAnswer(
        decision, hold_nano_usd, 0 if blocked else expires, replayed=False, warnings=tuple(warnings)
    )
    hold = Hold(
        call.call_id,
        HoldState.BLOCKED if blocked else HoldState.HELD,
        decision.user_id,
        decision.tier,
        call.group,
        decision.period,
        hold_nano_usd,
        int(call.estimate_nano_usd is None),
        expires,
        _packed(answer),
    )
    put_back(book, hold)
    book.new_decisions.append((decision.action.value, decision.tier))
    return answer


def _replay(hold: Hold, packed: str) -> ReserveAnswer:
    answer = _unpacked(packed)
    # A call that was voided meanwhile holds nothing any more.
    holds = hold.state == HoldState.HELD
    return ReserveAnswer(
        answer.decision,
        hold.amount_nano_usd if holds else 0,
        hold.expires_unix_ms if holds else 0,
        replayed=True,
        warnings=answer.warnings,
    )


def void(book: Book, call_id: bytes) -> bool:
    """Release a live hold; remember the call, so that a late Reserve of it holds nothing."""
    row = book.cursor.execute(_READ, (ACCOUNT, call_id)).fetchone()
    if row is None:
        if not book.knows(call_id):
            until = book.now_unix_ms + VOID_REMEMBERED_MS
            voided = Hold(call_id, HoldState.VOIDED, "", "", "", "", 0, 0, until, "")
            put_back(book, voided)
        return False
    hold = Hold(*row)
    if hold.state != HoldState.HELD:
        return False
    if hold.expires_unix_ms <= book.now_unix_ms:
        charge_at_death(book, hold)
        return False
    book.counters.to_change(hold.period, hold.user_id).held_nano_usd -= hold.amount_nano_usd
    voided = hold._replace(state=HoldState.VOIDED, amount_nano_usd=0)
    put_back(book, voided)
    return True


def extend(book: Book, call_ids: Sequence[bytes], ttl_ms: int) -> list[int]:
    """Let live holds end `ttl_ms` from now, never earlier than before; 0 for those without."""
    return [_extend_one(book, call_id, ttl_ms) for call_id in call_ids]


def _extend_one(book: Book, call_id: bytes, ttl_ms: int) -> int:
    row = book.cursor.execute(_READ, (ACCOUNT, call_id)).fetchone()
    hold = None if row is None else Hold(*row)
    if hold is None or hold.state != HoldState.HELD or hold.expires_unix_ms <= book.now_unix_ms:
        return 0
    expires = max(hold.expires_unix_ms, book.now_unix_ms + ttl_ms)
    put_back(book, hold._replace(expires_unix_ms=expires))
    return expires


def sweep(book: Book) -> int:
    """End the rows whose time is over, oldest first; return how many there were."""
    rows = book.cursor.execute(_EXPIRED, (book.now_unix_ms, MOST_EXPIRED_A_SWEEP)).fetchall()
    for row in rows:
        charge_at_death(book, Hold(*row))
    return len(rows)


def charge_at_death(book: Book, hold: Hold) -> None:
    """End a row: a hold whose client was never heard again is charged at its estimate."""
    take_hold(book, hold.call_id)
    if hold.state != HoldState.HELD:
        return
    counter = book.counters.to_change(hold.period, hold.user_id)
    counter.held_nano_usd -= hold.amount_nano_usd
    amount = None if hold.unpriced else hold.amount_nano_usd
    row = (
        0, hold.user_id, hold.tier, hold.group, hold.period, amount,
        hold.amount_nano_usd, int(Rank.CHARGED_AT_DEATH), "", "", "", 0, 0, "", "{}",
        hold.expires_unix_ms, book.now_unix_ms,
    )  # fmt: skip
    book.append(hold.call_id, row)
    counter.posted_nano_usd += hold.amount_nano_usd
    counter.calls += 1
    counter.unpriced_calls += hold.unpriced


def _packed(answer: ReserveAnswer) -> str:
    d = answer.decision
    return _to_json(
        [
            d.action.value, d.would_be.value, d.reason, d.rule, d.policy_version,
            d.limit_nano_usd, d.spent_nano_usd, d.held_nano_usd, d.period,
            d.resets_at_unix_ms, d.threshold_percent, d.user_id, d.tier,
            d.on_unavailable.mode.value, d.on_unavailable.allowance_nano_usd,
            [
                [w.threshold_percent, w.spent_nano_usd, w.limit_nano_usd]
                for w in answer.warnings
            ],
        ]
    )  # fmt: skip


def _unpacked(packed: str) -> ReserveAnswer:
    fields = json.loads(packed)
    outage = OutagePolicy(OutageMode(fields[13]), fields[14])
    decision = Decision(Action(fields[0]), Action(fields[1]), outage, *fields[2:13])
    told = tuple(
        BudgetWarning(decision.user_id, decision.tier, decision.period, *warning)
        for warning in fields[15]
    )
    return ReserveAnswer(decision, 0, 0, replayed=True, warnings=told)
