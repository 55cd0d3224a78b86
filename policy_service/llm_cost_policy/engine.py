"""The decision: one estimated call against one rule and what is spent already. Pure."""

from dataclasses import dataclass
from typing import Final

from llm_cost.money import format_usd
from llm_cost.policy.decision import Action
from llm_cost_policy.policies import Rule, UnknownPriceMode

_REASON_PLACES: Final = 4  # a cheap call costs hundredths of a cent


@dataclass(frozen=True, slots=True)
class Spend:
    """What a user's counter says before the call."""

    posted_nano_usd: int
    held_nano_usd: int

    @property
    def committed_nano_usd(self) -> int:
        """Spent, or promised to calls in flight."""
        return self.posted_nano_usd + self.held_nano_usd


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer. `reached_nano_usd` is what is committed once this verdict is followed."""

    enforced: Action
    judged: Action  # what the rule says, dry run or not
    reason: str
    hold_nano_usd: int  # 0 when blocked
    reached_nano_usd: int
    threshold_percent: int  # highest threshold reached, 0 for none


def decide(rule: Rule, spend: Spend, estimate_nano_usd: int | None) -> Verdict:
    """Judge one estimated call against one rule; an estimate of None has no known price."""
    estimate, denied = _priced(rule, estimate_nano_usd)
    total = spend.committed_nano_usd + estimate
    over = rule.limit_nano_usd is not None and total > rule.limit_nano_usd
    judged = _judge(rule, over=over, denied=denied, reached_nano_usd=total)
    # Last, so that a dry run exercises the very path it previews.
    dry_run = rule.action is Action.DRY_RUN and judged is Action.BLOCK
    enforced = Action.DRY_RUN if dry_run else judged
    hold = 0 if enforced is Action.BLOCK else estimate
    reached = spend.committed_nano_usd + hold
    thresholds = thresholds_reached(rule, reached)
    return Verdict(
        enforced=enforced,
        judged=judged,
        reason=_reason(rule, enforced, _why(rule, spend, estimate, over=over, denied=denied)),
        hold_nano_usd=hold,
        reached_nano_usd=reached,
        threshold_percent=thresholds[-1] if thresholds else 0,
    )


def thresholds_reached(rule: Rule, reached_nano_usd: int) -> tuple[int, ...]:
    """Return the warning thresholds at or below `reached_nano_usd`, ascending."""
    limit = rule.limit_nano_usd
    if not limit:
        return ()  # of no limit, or of a limit of nothing, no share can be reached
    return tuple(p for p in rule.warn_at_percents if reached_nano_usd * 100 >= limit * p)


def _priced(rule: Rule, estimate_nano_usd: int | None) -> tuple[int, bool]:
    """Return what to count for the call, and whether its unknown price forbids it."""
    if estimate_nano_usd is not None:
        return estimate_nano_usd, False
    unknown = rule.unknown_price
    return unknown.ceiling_nano_usd, unknown.mode is UnknownPriceMode.DENY


def _judge(rule: Rule, *, over: bool, denied: bool, reached_nano_usd: int) -> Action:
    if denied:
        return Action.BLOCK
    if over:
        return Action.WARN if rule.action is Action.WARN else Action.BLOCK
    return Action.WARN if thresholds_reached(rule, reached_nano_usd) else Action.ALLOW


def _why(rule: Rule, spend: Spend, estimate_nano_usd: int, *, over: bool, denied: bool) -> str:
    if denied:
        return "the model has no known price and the rule denies such calls"
    if rule.limit_nano_usd is None:
        return "there is no limit"
    state = (
        f"{_usd(spend.posted_nano_usd)} spent, {_usd(spend.held_nano_usd)} held and "
        f"{_usd(estimate_nano_usd)} for this call"
    )
    relation = "exceed" if over else "are within"
    return f"{state} {relation} the limit of {_usd(rule.limit_nano_usd)}"


def _reason(rule: Rule, enforced: Action, why: str) -> str:
    source = rule.note or rule.name
    would = " (dry run: would block)" if enforced is Action.DRY_RUN else ""
    return f"{source}: {why}{would}"


def _usd(nano_usd: int) -> str:
    return format_usd(nano_usd, places=_REASON_PLACES)
