"""Settle, inside the writer's transaction: each call counts once, the best report stands."""

from collections.abc import Sequence
from typing import Final

from llm_cost.policy.decision import BudgetWarning
from llm_cost_policy.ledger import (
    Refused,
    SettleAnswer,
    SettleCall,
    SettleOutcome,
    SettleStatus,
)
from llm_cost_policy.ledger.booking import Book, booked_user
from llm_cost_policy.ledger.reservations import (
    Hold,
    HoldState,
    charge_at_death,
    put_back,
    take_hold,
)
from llm_cost_policy.ledger.schema import ACCOUNT
from llm_cost_policy.policies import Rule, UnknownPriceMode

FURTHEST_FUTURE_MS: Final = 5 * 60 * 1000  # a client's clock may be off by so much
WORTH_LOOKING_UP: Final = 16

_NEWEST: Final = (
    "SELECT revision, user_id, tier, group_name, period, amount_nano_usd, rank, "
    "(SELECT SUM(change_nano_usd) FROM ledger l WHERE l.account = ledger.account "
    " AND l.call_id = ledger.call_id) "
    "FROM ledger WHERE account = ? AND call_id = ? ORDER BY revision DESC LIMIT 1"
)


def settle(book: Book, calls: Sequence[SettleCall]) -> SettleAnswer:
    """Record reports in their order; one that cannot be stored harms no other."""
    call_ids = [call.call_id for call in calls]
    # Looking a few up together costs more than asking for each when its turn comes.
    known = set(call_ids) if len(call_ids) < WORTH_LOOKING_UP else book.known(call_ids)
    outcomes: list[SettleOutcome] = []
    warnings: list[BudgetWarning] = []
    for call in calls:
        try:
            if call.call_id in known:
                outcomes.append(_settle_known(book, call, warnings))
            else:
                known.add(call.call_id)
                outcomes.append(_first_report(book, call, None, warnings))
        except Refused as refusal:
            outcomes.append(SettleOutcome(SettleStatus.INVALID, None, "", str(refusal)))
    return SettleAnswer(outcomes, warnings)


def _settle_known(book: Book, call: SettleCall, warnings: list[BudgetWarning]) -> SettleOutcome:
    hold = take_hold(book, call.call_id)
    if hold is not None and hold.state == HoldState.HELD:
        if hold.expires_unix_ms > book.now_unix_ms:
            return _first_report(book, call, hold, warnings)
        charge_at_death(book, hold)
    if book.knows(call.call_id):
        return _further_report(book, call, warnings)
    # A Void without a Reserve knows nothing of the call but that it ended.
    subject = hold if hold is not None and hold.user_id else None
    return _first_report(book, call, subject, warnings)


def _first_report(
    book: Book, call: SettleCall, hold: Hold | None, warnings: list[BudgetWarning]
) -> SettleOutcome:
    ended = _ended_unix_ms(book, call)
    if hold is not None:
        user_id, tier, group, period = hold.user_id, hold.tier, hold.group, hold.period
        held = hold.amount_nano_usd
    else:
        user_id = booked_user(call.user_id)
        tier = call.tier or book.rules.policy.default_tier
        group, period, held = call.group, book.period_at(ended).name, 0
    counter = book.counters.to_change(period, user_id)
    rule = book.rule_for(user_id, tier)
    change = _change(call, rule)
    try:
        counter.make_room_for(change - held)
    except Refused:
        if hold is not None:
            put_back(book, hold)
        raise
    row = (0, user_id, tier, group, period, call.amount_nano_usd, change)
    book.append(call.call_id, row + _details(call, ended, book.now_unix_ms))
    counter.held_nano_usd -= held
    counter.posted_nano_usd += change
    counter.calls += 1
    counter.unpriced_calls += call.amount_nano_usd is None
    counter.note_call(tier, ended)
    warnings += book.warn(counter, rule, counter.posted_nano_usd + counter.held_nano_usd)
    return SettleOutcome(SettleStatus.APPLIED, call.amount_nano_usd, period)


def _further_report(book: Book, call: SettleCall, warnings: list[BudgetWarning]) -> SettleOutcome:
    book.write_rows()
    newest = book.cursor.execute(_NEWEST, (ACCOUNT, call.call_id)).fetchone()
    revision, user_id, tier, group, period, amount, rank, changed = newest
    # A price beats no price, whoever reports it; then the better source wins.
    stands = (amount is not None, rank)
    offered = (call.amount_nano_usd is not None, int(call.rank))
    if offered < stands:
        return SettleOutcome(SettleStatus.KEPT, amount, period)
    if offered == stands:
        # A report that does not say who pays tells less of the same call.
        same_user = not call.user_id or call.user_id == user_id
        if amount == call.amount_nano_usd and same_user:
            return SettleOutcome(SettleStatus.REPLAYED, amount, period)
        book.new_conflicts += 1
        return SettleOutcome(
            SettleStatus.CONFLICT, amount, period, _conflict(call, amount, user_id)
        )
    rule = book.rule_for(user_id, tier)
    change = _change(call, rule) - changed
    counter = book.counters.to_change(period, user_id)
    counter.make_room_for(change)
    row = (revision + 1, user_id, tier, group, period, call.amount_nano_usd, change)
    ended = _ended_unix_ms(book, call)
    book.append(call.call_id, row + _details(call, ended, book.now_unix_ms))
    counter.posted_nano_usd += change
    counter.unpriced_calls += (call.amount_nano_usd is None) - (amount is None)
    counter.note_call(tier, ended)
    warnings += book.warn(counter, rule, counter.posted_nano_usd + counter.held_nano_usd)
    return SettleOutcome(SettleStatus.REPLACED, call.amount_nano_usd, period)


def _ended_unix_ms(book: Book, call: SettleCall) -> int:
    if call.ended_unix_ms == 0:
        return book.now_unix_ms
    return min(call.ended_unix_ms, book.now_unix_ms + FURTHEST_FUTURE_MS)


def _change(call: SettleCall, rule: Rule) -> int:
    """Return what the call adds to the counter: its amount, or the ceiling of an unpriced one."""
    if call.amount_nano_usd is not None:
        return call.amount_nano_usd
    unknown = rule.unknown_price
    return unknown.ceiling_nano_usd if unknown.mode is UnknownPriceMode.CEILING else 0


def _details(call: SettleCall, ended_unix_ms: int, now_unix_ms: int) -> tuple[object, ...]:
    return (
        int(call.rank),
        call.provider,
        call.model,
        call.operation,
        call.outcome,
        call.price_status,
        call.price_version,
        call.usage,
        ended_unix_ms,
        now_unix_ms,
    )


def _conflict(call: SettleCall, amount: int | None, user_id: str) -> str:
    return (
        f"call_id {call.call_id.hex()} stands at {_told(amount)} for {user_id!r}, the report "
        f"says {_told(call.amount_nano_usd)} for {booked_user(call.user_id)!r}; the first stands. "
        "A new attempt needs a new call_id"
    )


def _told(amount_nano_usd: int | None) -> str:
    return "no price" if amount_nano_usd is None else f"{amount_nano_usd} nano-USD"
