"""Values out as protobuf messages. Nothing is decided here."""

from collections.abc import Iterable
from typing import Final

from llm_cost.policy.decision import Action, BudgetWarning, OutageMode
from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost_policy.ledger import (
    Counts,
    Decision,
    HistoryEntry,
    ReserveAnswer,
    SettleOutcome,
    SettleStatus,
)
from llm_cost_policy.policies import Override
from llm_cost_policy.reports import TierRow, UserRow

ACTIONS: Final = {
    Action.ALLOW: pb.ACTION_ALLOW,
    Action.WARN: pb.ACTION_WARN,
    Action.BLOCK: pb.ACTION_BLOCK,
    Action.DRY_RUN: pb.ACTION_DRY_RUN,
}
_OUTAGE_MODES: Final = {
    OutageMode.BLOCK: pb.OUTAGE_MODE_BLOCK,
    OutageMode.ALLOW_UP_TO: pb.OUTAGE_MODE_ALLOW_UP_TO,
    OutageMode.ALLOW: pb.OUTAGE_MODE_ALLOW,
}
_STATUSES: Final = {
    SettleStatus.APPLIED: pb.SETTLE_STATUS_APPLIED,
    SettleStatus.REPLAYED: pb.SETTLE_STATUS_REPLAYED,
    SettleStatus.REPLACED: pb.SETTLE_STATUS_REPLACED,
    SettleStatus.KEPT: pb.SETTLE_STATUS_KEPT,
    SettleStatus.CONFLICT: pb.SETTLE_STATUS_CONFLICT,
    SettleStatus.INVALID: pb.SETTLE_STATUS_INVALID,
}


def decision(value: Decision) -> pb.Decision:
    """Return the message of a decision."""
    return pb.Decision(
        action=ACTIONS[value.action],
        would_be=ACTIONS[value.would_be],
        reason=value.reason,
        rule=value.rule,
        policy_version=value.policy_version,
        limit_nano_usd=value.limit_nano_usd,
        spent_nano_usd=value.spent_nano_usd,
        held_nano_usd=value.held_nano_usd,
        remaining_nano_usd=value.remaining_nano_usd,
        period=value.period,
        resets_at_unix_ms=value.resets_at_unix_ms,
        warned_threshold_percent=value.threshold_percent,
        user_id=value.user_id,
        tier=value.tier,
        on_unavailable=pb.OutagePolicy(
            mode=_OUTAGE_MODES[value.on_unavailable.mode],
            allowance_nano_usd=value.on_unavailable.allowance_nano_usd,
        ),
    )


def reserve_response(answer: ReserveAnswer) -> pb.ReserveResponse:
    """Return the message of a Reserve's answer."""
    return pb.ReserveResponse(
        decision=decision(answer.decision),
        hold_nano_usd=answer.hold_nano_usd,
        hold_expires_unix_ms=answer.hold_expires_unix_ms,
        replayed=answer.replayed,
        threshold_events=threshold_events(answer.warnings),
    )


def threshold_events(warnings: Iterable[BudgetWarning]) -> list[pb.ThresholdEvent]:
    """Return the messages of budget warnings."""
    return [
        pb.ThresholdEvent(
            user_id=warning.user_id,
            tier=warning.tier,
            period=warning.period,
            threshold_percent=warning.threshold_percent,
            spent_nano_usd=warning.spent_nano_usd,
            limit_nano_usd=warning.limit_nano_usd,
        )
        for warning in warnings
    ]


def settle_result(call_id: bytes, outcome: SettleOutcome) -> pb.SettleResult:
    """Return the message of one settlement's outcome."""
    return pb.SettleResult(
        call_id=call_id,
        status=_STATUSES[outcome.status],
        recorded_nano_usd=outcome.recorded_nano_usd,
        period=outcome.period,
        error=outcome.error,
    )


def invalid_result(call_id: bytes, error: str) -> pb.SettleResult:
    """Return the message for a settlement that was refused at the edge."""
    return pb.SettleResult(call_id=call_id, status=pb.SETTLE_STATUS_INVALID, error=error)


def counts(value: Counts) -> pb.DecisionCounts:
    """Return the message of decision counts."""
    return pb.DecisionCounts(
        allow=value.allow, warn=value.warn, block=value.block, dry_run=value.dry_run
    )


def user_usage(row: UserRow) -> pb.UserUsage:
    """Return the message of a user's row."""
    user = row.user
    return pb.UserUsage(
        user_id=user.user_id,
        tier=user.tier,
        period=row.period.name,
        spent_nano_usd=user.posted_nano_usd,
        held_nano_usd=user.held_nano_usd,
        calls=user.calls,
        limit_nano_usd=row.rule.limit_nano_usd,
        action=ACTIONS[row.rule.action],
        rule=row.rule.name,
        decisions=counts(user.decisions),
        unpriced_calls=user.unpriced_calls,
        last_call_unix_ms=user.last_call_unix_ms,
        resets_at_unix_ms=row.period.ends_unix_ms,
    )


def tier_usage(row: TierRow) -> pb.TierUsage:
    """Return the message of a tier's row."""
    sums = row.sums
    return pb.TierUsage(
        tier=sums.tier,
        users=sums.users,
        calls=sums.calls,
        spent_nano_usd=sums.posted_nano_usd,
        avg_per_call_nano_usd=row.avg_per_call_nano_usd,
        avg_per_user_nano_usd=row.avg_per_user_nano_usd,
        p50_per_user_nano_usd=sums.p50_nano_usd,
        p95_per_user_nano_usd=sums.p95_nano_usd,
        max_per_user_nano_usd=sums.max_nano_usd,
        limit_nano_usd=row.limit_nano_usd,
        action=ACTIONS[row.action],
        plan_price_nano_usd=row.plan_price_nano_usd,
        users_at_80_percent=row.users_at_80_percent,
        users_at_100_percent=row.users_at_100_percent,
        unpriced_calls=sums.unpriced_calls,
        decisions=counts(sums.decisions),
    )


def override(value: Override) -> pb.Override:
    """Return the message of an override."""
    return pb.Override(
        user_id=value.user_id,
        limit_nano_usd=value.limit_nano_usd,
        action=pb.ACTION_UNSPECIFIED if value.action is None else ACTIONS[value.action],
        reason=value.reason,
        expires_unix_ms=value.expires_unix_ms,
        author=value.author,
        created_unix_ms=value.created_unix_ms,
    )


def history_entry(value: HistoryEntry) -> pb.HistoryEntry:
    """Return the message of an admin change."""
    return pb.HistoryEntry(
        id=value.id,
        at_unix_ms=value.at_unix_ms,
        author=value.author,
        change=value.change,
        subject=value.subject,
        reason=value.reason,
        before=value.before,
        after=value.after,
        policy_version=value.policy_version,
    )
