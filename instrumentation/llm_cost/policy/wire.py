"""Our plain values to and from the protobuf messages of the policy service. Pure.

What the service says that we do not know (an action of a later version, say) becomes None
here, and the caller falls back to the outage rule: never to ALLOW.
"""

from datetime import UTC, datetime
from typing import Final

from llm_cost.policy import decision as values
from llm_cost.policy.decision import Action, OutageMode
from llm_cost.policy.v1 import policy_pb2 as pb

_ACTIONS: Final[dict[int, Action]] = {
    pb.ACTION_ALLOW: Action.ALLOW,
    pb.ACTION_WARN: Action.WARN,
    pb.ACTION_BLOCK: Action.BLOCK,
    pb.ACTION_DRY_RUN: Action.DRY_RUN,
}
_OUTAGE_MODES: Final[dict[int, OutageMode]] = {
    pb.OUTAGE_MODE_BLOCK: OutageMode.BLOCK,
    pb.OUTAGE_MODE_ALLOW_UP_TO: OutageMode.ALLOW_UP_TO,
    pb.OUTAGE_MODE_ALLOW: OutageMode.ALLOW,
}
_PRICE_STATUSES: Final = {
    "exact": pb.PRICE_STATUS_EXACT,
    "partial": pb.PRICE_STATUS_PARTIAL,
    "fallback": pb.PRICE_STATUS_FALLBACK,
    "unknown": pb.PRICE_STATUS_UNKNOWN,
}
_USAGE_SOURCES: Final = {
    "reported": pb.USAGE_SOURCE_REPORTED,
    "estimated": pb.USAGE_SOURCE_ESTIMATED,
}
_OUTCOMES: Final = {
    "ok": pb.OUTCOME_OK,
    "error": pb.OUTCOME_ERROR,
    "cancelled": pb.OUTCOME_CANCELLED,
}
_LAST_UNIX_MS: Final = 253_402_300_799_999  # the end of the year 9999, where datetime ends


def reserve_request(reservation: values.Reservation) -> pb.ReserveRequest:
    """Raises ValueError or TypeError for what the wire cannot carry."""
    estimate_nano_usd = reservation.estimate_nano_usd
    return pb.ReserveRequest(
        call_id=reservation.call_id,
        subject=_subject(reservation.identity),
        provider=reservation.provider,
        model=reservation.model,
        estimate_nano_usd=estimate_nano_usd or 0,
        price_status=pb.PRICE_STATUS_UNKNOWN
        if estimate_nano_usd is None
        else pb.PRICE_STATUS_EXACT,
        hold_ttl_ms=int(reservation.hold_ttl_s * 1000),
    )


def settlement(settled: values.Settlement) -> pb.Settlement:
    """Raises ValueError, TypeError or KeyError for what the wire cannot carry."""
    return pb.Settlement(
        call_id=settled.call_id,
        subject=_subject(settled.identity),
        actual_nano_usd=settled.actual_nano_usd,
        usage=settled.usage.buckets(),
        provider=settled.provider,
        model=settled.model,
        price_status=_PRICE_STATUSES[settled.price_status],
        price_version=settled.price_version,
        usage_source=_USAGE_SOURCES[settled.usage_source],
        outcome=_OUTCOMES[settled.outcome],
        ended_at_unix_ms=settled.ended_at_unix_ms,
        operation=settled.operation,
    )


def _subject(identity: values.Identity) -> pb.Subject:
    # Unset and empty are the same on the wire: "unattributed" and the default tier.
    return pb.Subject(
        user_id=identity.user_id or "", tier=identity.tier or "", group=identity.group or ""
    )


def decision(message: pb.Decision) -> values.Decision | None:
    """Return the decision, or None when its action is none that we know."""
    action = _ACTIONS.get(message.action)
    if action is None:
        return None
    return values.Decision(
        action=action,
        would_be=_ACTIONS.get(message.would_be, action),
        reason=message.reason,
        rule=message.rule,
        policy_version=message.policy_version,
        limit_nano_usd=message.limit_nano_usd if message.HasField("limit_nano_usd") else None,
        spent_nano_usd=message.spent_nano_usd,
        held_nano_usd=message.held_nano_usd,
        remaining_nano_usd=message.remaining_nano_usd
        if message.HasField("remaining_nano_usd")
        else None,
        period=message.period,
        resets_at=_time(message.resets_at_unix_ms),
        warned_threshold_percent=message.warned_threshold_percent,
    )


def _time(unix_ms: int) -> datetime | None:
    if not 0 < unix_ms <= _LAST_UNIX_MS:
        return None
    return datetime.fromtimestamp(unix_ms / 1000, UTC)


def outage_policy(message: pb.Decision) -> values.OutagePolicy | None:
    """Return what the service says to do while it is away, or None where it says nothing."""
    mode = _OUTAGE_MODES.get(message.on_unavailable.mode)
    if mode is None:
        return None
    return values.OutagePolicy(mode, message.on_unavailable.allowance_nano_usd)


def budget_warning(event: pb.ThresholdEvent) -> values.BudgetWarning:
    """Return the event as the value that applications see."""
    return values.BudgetWarning(
        user_id=event.user_id,
        tier=event.tier,
        period=event.period,
        threshold_percent=event.threshold_percent,
        spent_nano_usd=event.spent_nano_usd,
        limit_nano_usd=event.limit_nano_usd,
    )
