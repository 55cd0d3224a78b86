"""The PromQL of the dashboards, built from the declared names. Knows nothing of panels.

`$tier`, `$model` and `$group` are dashboard variables and match everything when "All" is
chosen, an absent label included. Gauges come from the ledger and are exact; counters come
from the processor and show shape and pace.
"""

from typing import Final

from llm_cost import attributes as names
from llm_cost.policy.decision import Action

TOP_USERS_SHOWN: Final = 10
MONTH: Final = "month"
WITHOUT: Final = "(none)"

_BY_TIER: Final = f'{names.LABEL_TIER}=~"$tier"'
_BY_CALL: Final = f'{_BY_TIER}, {names.LABEL_MODEL}=~"$model", {names.LABEL_GROUP}=~"$group"'
_THIS_MONTH: Final = f'{_BY_TIER}, {names.LABEL_WINDOW}="{MONTH}"'
_DRY_RUN: Final = f'{names.LABEL_DECISION}="{Action.DRY_RUN.value}"'
_ENFORCED: Final = f'{names.LABEL_DECISION}!="{Action.DRY_RUN.value}"'
_BLOCKED: Final = f'{names.LABEL_DECISION}="{Action.BLOCK.value}"'

_SECONDS_PER_HOUR: Final = 3_600
_SECONDS_PER_MINUTE: Final = 60


def _in_range(counter: str, matchers: str) -> str:
    """Total of a counter over the dashboard's range, the first sample of new series included.

    `increase` alone starts at a series' first sample and so loses the call that made it: a
    new model's only unpriced call would show as 0. A series that did not exist when the range
    began therefore counts with its value, and one that has ended since with its increase.
    """
    series = f"{counter}{{{matchers}}}"
    grown = f"increase({series}[$__range])"
    return f"sum(({grown} and {series} offset $__range) or {series} or {grown}) or vector(0)"


def _pace(counter: str, matchers: str, by: str, seconds: int) -> str:
    rate = f"rate({counter}{{{matchers}}}[$__rate_interval])"
    return f"sum by ({by}) ({rate}) * {seconds}"


def spend_in_range() -> str:
    """USD spent in the dashboard's range."""
    return _in_range(names.METRIC_COST_USD, _BY_CALL)


def run_rate_per_hour() -> str:
    """USD per hour at the present pace."""
    spend_rate = f"rate({names.METRIC_COST_USD}{{{_BY_CALL}}}[$__rate_interval])"
    return f"sum({spend_rate}) * {_SECONDS_PER_HOUR}"


def spend_this_month() -> str:
    """USD posted in the ledger's current month."""
    return f"sum({tier_gauge(names.METRIC_TIER_SPEND_USD)})"


def calls_in_range() -> str:
    """LLM calls in the dashboard's range."""
    return _in_range(names.METRIC_CALLS, _BY_CALL)


def blocked_in_range() -> str:
    """Calls that the policy refused in the dashboard's range; dry runs are not among them."""
    return _in_range(names.METRIC_POLICY_DECISIONS, f"{_BY_TIER}, {_BLOCKED}")


def unpriced_in_range() -> str:
    """Calls in the dashboard's range whose price is unknown: missing from every spend."""
    return _in_range(names.METRIC_UNPRICED_CALLS, _BY_CALL)


def spend_per_hour(by: str) -> str:
    """USD per hour by one label of the calls; calls without it are shown as `WITHOUT`."""
    pace = _pace(names.METRIC_COST_USD, _BY_CALL, by, _SECONDS_PER_HOUR)
    return f'label_replace({pace}, "{by}", "{WITHOUT}", "{by}", "")'


def tokens_per_minute() -> str:
    """Tokens per minute by kind."""
    return _pace(names.METRIC_TOKENS, _BY_CALL, names.LABEL_KIND, _SECONDS_PER_MINUTE)


def decisions_per_minute() -> str:
    """Enforced policy decisions per minute by decision."""
    matchers = f"{_BY_TIER}, {_ENFORCED}"
    return _pace(names.METRIC_POLICY_DECISIONS, matchers, names.LABEL_DECISION, _SECONDS_PER_MINUTE)


def dry_runs_per_minute() -> str:
    """Calls per minute that a dry run let pass and enforcement would have blocked."""
    matchers = f"{_BY_TIER}, {_DRY_RUN}"
    return _pace(names.METRIC_POLICY_DECISIONS, matchers, names.LABEL_DECISION, _SECONDS_PER_MINUTE)


def call_duration_s(quantile: float) -> str:
    """A quantile of the duration of calls, in seconds."""
    buckets = f"{names.METRIC_CALL_DURATION}_bucket{{{_BY_CALL}}}"
    return f"histogram_quantile({quantile}, sum by (le) (rate({buckets}[$__rate_interval])))"


def tier_gauge(gauge: str, *, label: str = "", value: str = "") -> str:
    """One ledger gauge by tier for the current month, narrowed to `label`=`value`.

    `max`, not `sum`: replicas of the policy service report the same ledger.
    """
    narrowed = f'{_THIS_MONTH}, {label}="{value}"' if label else _THIS_MONTH
    return f"max by ({names.LABEL_TIER}) ({gauge}{{{narrowed}}})"


def user_spend(stat: str) -> str:
    """`avg`, `p50`, `p95` or `max` of the users' spend by tier, in USD."""
    return tier_gauge(names.METRIC_TIER_USER_SPEND_USD, label=names.LABEL_STAT, value=stat)


def users_over(threshold_percent: int) -> str:
    """Users by tier at or above a share of their limit."""
    return tier_gauge(
        names.METRIC_TIER_USERS_OVER, label=names.LABEL_THRESHOLD, value=str(threshold_percent)
    )


def share_of_limit(stat: str) -> str:
    """Share of the tier's limit that the average or the costliest user has spent; 1 is all."""
    return f"{user_spend(stat)} / {tier_gauge(names.METRIC_TIER_LIMIT_USD)}"


def top_users() -> str:
    """The users who spent most this month, in USD. Bounded at its source."""
    gauge = f"{names.METRIC_TOP_USER_SPEND_USD}{{{_THIS_MONTH}}}"
    by = f"{names.LABEL_USER_ID}, {names.LABEL_TIER}"
    return f"topk({TOP_USERS_SHOWN}, max by ({by}) ({gauge}))"


def top_users_share_of_limit() -> str:
    """The same users' share of their tier's limit; users of a tier without one are absent."""
    limit = tier_gauge(names.METRIC_TIER_LIMIT_USD)
    return f"{top_users()} / on ({names.LABEL_TIER}) group_left () {limit}"


def label_values(label: str) -> str:
    """The choices of a dashboard variable."""
    return f"label_values({names.METRIC_CALLS}, {label})"
