"""The dashboard "Unit economics": what each tier and user costs to serve, and what limits do."""

from typing import Final

from grafana_foundation_sdk.builders import dashboard as builder
from grafana_foundation_sdk.models import dashboard as model

from llm_cost import attributes as names
from llm_cost_dashboards import panels, queries
from llm_cost_dashboards.parts import DATASOURCE

TITLE: Final = "Unit economics"
UID: Final = "llm-cost-unit-economics"

# `.*` and not `.+`: a call without a group has no such label and must not vanish under "All".
_ALL: Final = ".*"

_ROWS: Final = (
    (
        "Now",
        (
            panels.spend_in_range,
            panels.run_rate,
            panels.spend_this_month,
            panels.calls_in_range,
            panels.blocked_in_range,
            panels.unpriced_in_range,
        ),
    ),
    ("Cost to serve", (panels.cost_to_serve, panels.spend_by_tier)),
    ("Users and limits", (panels.top_users, panels.decisions)),
    (
        "What it is spent on",
        (
            panels.spend_by_model,
            panels.tokens_by_kind,
            panels.spend_by_group,
            panels.call_duration,
        ),
    ),
)


def dashboard() -> model.Dashboard:
    """Return the dashboard in Grafana's classic model, which Grafana 10 to 13 load."""
    board = (
        builder.Dashboard(TITLE)
        .uid(UID)
        .description("LLM spend by plan tier and user, margin, and what the limits do.")
        .tags(["llm-cost"])
        .readonly()
        .time("now-6h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .with_variable(_datasource())
    )
    for label, title in (
        (names.LABEL_TIER, "Tier"),
        (names.LABEL_MODEL, "Model"),
        (names.LABEL_GROUP, "Group"),
    ):
        board.with_variable(_choice(label, title))
    for title, row in _ROWS:
        board.with_row(builder.Row(title))
        for panel in row:
            board.with_panel(panel())
    return _numbered(board.build())


def _datasource() -> builder.DatasourceVariable:
    return builder.DatasourceVariable("datasource").label("Data source").type("prometheus")


def _choice(label: str, title: str) -> builder.QueryVariable:
    return (
        builder.QueryVariable(label)
        .label(title)
        .datasource(DATASOURCE)
        .query(queries.label_values(label))
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(_ALL)
        .current(model.VariableOption(selected=True, text="All", value="$__all"))
    )


def _numbered(board: model.Dashboard) -> model.Dashboard:
    # Grafana numbers panels at import; fixed numbers keep links to a panel alive.
    for number, panel in enumerate(board.panels or [], start=1):
        panel.id_val = number
    return board
