"""One function per panel of the unit economics dashboard. The queries stand in `queries`."""

from typing import Final

from grafana_foundation_sdk.builders import common as common_builder
from grafana_foundation_sdk.builders import stat, table, timeseries
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

from llm_cost import attributes as names
from llm_cost.policy.decision import Action
from llm_cost_dashboards import parts, queries
from llm_cost_dashboards.parts import (
    CALLS_PER_MINUTE,
    COUNT,
    PERCENT_OF_ONE,
    SECONDS,
    USD,
    Column,
)

_HALF, _WHOLE = 12, 24
_TIER_TABLE_HEIGHT: Final = 6  # four tiers without scrolling
_USER_TABLE_HEIGHT: Final = 12  # ten users without scrolling

_AT_80_PERCENT: Final = (("green", None), ("orange", 0.8), ("red", 1.0))
_BELOW_ZERO: Final = (("red", None), ("green", 0.0))
_ABOVE_ZERO: Final = (("green", None), ("red", 1.0))

_DECISION_COLORS: Final = {
    Action.ALLOW: "green",
    Action.WARN: "orange",
    Action.BLOCK: "red",
    Action.DRY_RUN: "purple",
}


def spend_in_range() -> stat.Panel:
    """USD in the chosen range."""
    return parts.number(
        "Spend in range",
        "Cost of the calls in the dashboard's time range, from the processor's counter. "
        "Calls without a price are not in it; see Unpriced calls.",
        queries.spend_in_range(),
        unit=USD,
    )


def run_rate() -> stat.Panel:
    """USD per hour now."""
    return parts.number(
        "Run rate per hour",
        "What an hour costs at the present pace. Spend follows the time of day, so an hour's "
        "pace is no forecast of a month.",
        queries.run_rate_per_hour(),
        unit=USD,
        sparkline=True,
    )


def spend_this_month() -> stat.Panel:
    """USD in the ledger's month."""
    return parts.number(
        "Spend this month",
        "Posted in the ledger in the current month, all models and groups: the exact amount "
        "that limits are judged by.",
        queries.spend_this_month(),
        unit=USD,
    )


def calls_in_range() -> stat.Panel:
    """Calls in the chosen range."""
    return parts.number(
        "Calls",
        "LLM calls in the dashboard's time range.",
        queries.calls_in_range(),
        unit=COUNT,
    )


def blocked_in_range() -> stat.Panel:
    """Refused calls in the chosen range."""
    return parts.number(
        "Blocked calls",
        "Calls refused by a limit in the dashboard's time range. Dry runs are not counted here. "
        "The model and group filters do not apply: a decision knows only the tier.",
        queries.blocked_in_range(),
        unit=COUNT,
        steps=_ABOVE_ZERO,
    )


def unpriced_in_range() -> stat.Panel:
    """Calls without a price in the chosen range."""
    return parts.number(
        "Unpriced calls",
        "Calls whose model has no known price. Their cost is unknown, not zero, and is missing "
        "from every spend shown here. Add the model to the price overlay.",
        queries.unpriced_in_range(),
        unit=COUNT,
        steps=_ABOVE_ZERO,
    )


def spend_by_tier() -> timeseries.Panel:
    """USD per hour, stacked by tier."""
    return _spend_by(names.LABEL_TIER, "tier", width=_WHOLE)


def spend_by_model() -> timeseries.Panel:
    """USD per hour, stacked by model."""
    return _spend_by(names.LABEL_MODEL, "model", width=_HALF)


def spend_by_group() -> timeseries.Panel:
    """USD per hour, stacked by group."""
    return _spend_by(names.LABEL_GROUP, "group", width=_HALF)


def _spend_by(label: str, what: str, *, width: int) -> timeseries.Panel:
    return parts.stacked_lines(
        f"Spend per hour by {what}",
        f"Cost of the calls per hour, by {what}. The area under the lines is the spend. "
        f"'{names.OVERFLOW_LABEL_VALUE}' gathers what is beyond the processor's series bound.",
        [parts.series("spend", queries.spend_per_hour(label), f"{{{{{label}}}}}")],
        unit=USD,
    ).span(width)


def tokens_by_kind() -> timeseries.Panel:
    """Tokens per minute, stacked by kind."""
    return parts.stacked_lines(
        "Tokens per minute by kind",
        "Tokens in exclusive kinds: a cached input token is counted once, as a cache read.",
        [parts.series("tokens", queries.tokens_per_minute(), f"{{{{{names.LABEL_KIND}}}}}")],
        unit=COUNT,
    ).span(_HALF)


def call_duration() -> timeseries.Panel:
    """p50 and p95 of a call's duration."""
    return (
        parts.lines(
            "Call duration",
            "Median and 95th percentile of the time from request to last byte, streams included.",
            [
                parts.series("p50", queries.call_duration_s(0.5), "p50"),
                parts.series("p95", queries.call_duration_s(0.95), "p95"),
            ],
            unit=SECONDS,
        )
        .span(_HALF)
        .fill_opacity(0)
    )


def decisions() -> timeseries.Panel:
    """Decisions per minute as stacked bars, dry runs in a stack of their own."""
    panel = parts.stacked_bars(
        "Policy decisions per minute",
        "What the policy service answered. Dry runs stand in a stack of their own: those calls "
        "went through and would have been blocked.",
        [
            parts.series(
                "enforced", queries.decisions_per_minute(), f"{{{{{names.LABEL_DECISION}}}}}"
            ),
            parts.series("dry_run", queries.dry_runs_per_minute(), Action.DRY_RUN.value),
        ],
        unit=CALLS_PER_MINUTE,
    )
    panel.span(_HALF).height(_USER_TABLE_HEIGHT)
    for action, color in _DECISION_COLORS.items():
        panel.override_by_name(action.value, [parts.fixed_color(color)])
    own_stack = {"mode": common.StackingMode.NORMAL.value, "group": "dry_run"}
    return panel.override_by_name(
        Action.DRY_RUN.value, [model.DynamicConfigValue("custom.stacking", own_stack)]
    )


TIER_COLUMNS: Final = (
    Column("users", "Users", queries.tier_gauge(names.METRIC_TIER_ACTIVE_USERS), COUNT),
    Column("calls", "Calls", queries.tier_gauge(names.METRIC_TIER_CALLS), COUNT),
    Column("spend", "Spend", queries.tier_gauge(names.METRIC_TIER_SPEND_USD), USD),
    Column("average", "Avg per user", queries.user_spend("avg"), USD),
    Column("p95", "p95 user", queries.user_spend("p95"), USD),
    Column("costliest", "Max user", queries.user_spend("max"), USD),
    Column("limit", "Limit", queries.tier_gauge(names.METRIC_TIER_LIMIT_USD), USD),
    Column("average_share", "Avg of limit", queries.share_of_limit("avg"), PERCENT_OF_ONE),
    Column(
        "costliest_share",
        "Max of limit",
        queries.share_of_limit("max"),
        PERCENT_OF_ONE,
        _AT_80_PERCENT,
    ),
    Column("at_80", "Users ≥ 80 %", queries.users_over(80), COUNT),
    Column("at_100", "Users ≥ 100 %", queries.users_over(100), COUNT),
    Column("revenue", "Plan revenue", queries.tier_gauge(names.METRIC_TIER_REVENUE_USD), USD),
    Column("margin", "Margin", queries.tier_gauge(names.METRIC_TIER_MARGIN_USD), USD, _BELOW_ZERO),
)


def cost_to_serve() -> table.Panel:
    """The tiers side by side: what they cost, what they bring."""
    return (
        parts.joined_table(
            "Cost to serve by tier, this month",
            "From the ledger, exact. Users are those with a call this month. Margin is the plan "
            "revenue of the month less the spend; red is a tier that costs more than it brings. "
            "Tiers without a limit or a price leave those columns empty.",
            key_columns={names.LABEL_TIER: "Tier"},
            columns=TIER_COLUMNS,
        )
        .span(_WHOLE)
        .height(_TIER_TABLE_HEIGHT)
        .sort_by([common_builder.TableSortByFieldState().display_name("Spend").desc(True)])
    )


TOP_USER_COLUMNS: Final = (
    Column("spend", "Spend", queries.top_users(), USD),
    Column(
        "share", "Of tier limit", queries.top_users_share_of_limit(), PERCENT_OF_ONE, _AT_80_PERCENT
    ),
)


def top_users() -> table.Panel:
    """The users who cost most this month."""
    return (
        parts.joined_table(
            f"Top {queries.TOP_USERS_SHOWN} users by spend, this month",
            "From the ledger's bounded list of its costliest users. The share is of the tier's "
            "limit; a limit of the user's own is not considered.",
            key_columns={names.LABEL_USER_ID: "User", names.LABEL_TIER: "Tier"},
            columns=TOP_USER_COLUMNS,
        )
        .span(_HALF)
        .height(_USER_TABLE_HEIGHT)
        .sort_by([common_builder.TableSortByFieldState().display_name("Spend").desc(True)])
    )
