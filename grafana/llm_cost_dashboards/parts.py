"""What panels are made of: units, queries bound to the data source, and the four shapes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from grafana_foundation_sdk.builders import common as common_builder
from grafana_foundation_sdk.builders import dashboard as dashboard_builder
from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import prometheus as prometheus_model

# Grafana's own ids of units.
USD: Final = "currencyUSD"
COUNT: Final = "short"
CALLS_PER_MINUTE: Final = "cpm"
PERCENT_OF_ONE: Final = "percentunit"
SECONDS: Final = "s"

DATASOURCE: Final = common.DataSourceRef(type_val="prometheus", uid="${datasource}")

_STAT_WIDTH, _STAT_HEIGHT = 4, 4
_PANEL_HEIGHT: Final = 8
_COLUMN_MIN_WIDTH_PX: Final = 80  # so that the widest table fits a laptop without scrolling

Steps: TypeAlias = Sequence[tuple[str, float | None]]
"""Colours and the value each begins at; the first begins at None, below everything."""


@dataclass(frozen=True, slots=True)
class Column:
    """One query that becomes one column. `ref_id` is unique in its table."""

    ref_id: str
    title: str
    expression: str
    unit: str
    steps: Steps = ()


def series(ref_id: str, expression: str, legend: str) -> prometheus.Dataquery:
    """A query over the dashboard's range."""
    return _query(ref_id, expression).range().legend_format(legend)


def _cells(ref_id: str, expression: str) -> prometheus.Dataquery:
    return _query(ref_id, expression).instant().format(prometheus_model.PromQueryFormat.TABLE)


def _query(ref_id: str, expression: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().ref_id(ref_id).expr(expression).datasource(DATASOURCE)


def number(
    title: str,
    description: str,
    expression: str,
    *,
    unit: str,
    sparkline: bool = False,
    steps: Steps = (("text", None),),
) -> stat.Panel:
    """A single number; with `sparkline`, the last of a series with its course behind."""
    query = _query("value", expression)
    graph = common.BigValueGraphMode.AREA if sparkline else common.BigValueGraphMode.NONE
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .with_target(query.range() if sparkline else query.instant())
        .unit(unit)
        .graph_mode(graph)
        .color_mode(common.BigValueColorMode.VALUE)
        .reduce_options(common_builder.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(steps))
        .span(_STAT_WIDTH)
        .height(_STAT_HEIGHT)
    )


def lines(
    title: str, description: str, targets: list[Builder[Dataquery]], *, unit: str
) -> timeseries.Panel:
    """Lines over time with the last and highest value in the legend."""
    return (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .targets(targets)
        .unit(unit)
        .min(0)
        .fill_opacity(25)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            common_builder.VizLegendOptions()
            .show_legend(True)
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.RIGHT)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(
            common_builder.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
        .height(_PANEL_HEIGHT)
    )


def stacked_lines(
    title: str, description: str, targets: list[Builder[Dataquery]], *, unit: str
) -> timeseries.Panel:
    """Lines whose heights add up."""
    return lines(title, description, targets, unit=unit).stacking(_stacked())


def stacked_bars(
    title: str, description: str, targets: list[Builder[Dataquery]], *, unit: str
) -> timeseries.Panel:
    """Bars over time whose heights add up."""
    return (
        stacked_lines(title, description, targets, unit=unit)
        .draw_style(common.GraphDrawStyle.BARS)
        .fill_opacity(80)
    )


def joined_table(
    title: str,
    description: str,
    *,
    key_columns: Mapping[str, str],
    columns: Sequence[Column],
) -> table.Panel:
    """Instant queries side by side: one row per combination of the key labels."""
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(COUNT)
        .show_header(True)
        .min_width(_COLUMN_MIN_WIDTH_PX)
        .height(_PANEL_HEIGHT)
        .targets([_cells(column.ref_id, column.expression) for column in columns])
        .with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(_named_and_ordered(key_columns, columns))
    )
    for column in columns:
        panel.override_by_name(column.title, _formatting(column))
    return panel


def fixed_color(color: str) -> model.DynamicConfigValue:
    """One colour for a field, whatever its value."""
    return model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": color})


def _named_and_ordered(
    key_columns: Mapping[str, str], columns: Sequence[Column]
) -> model.DataTransformerConfig:
    # Grafana names the value of a query after its refId once several queries are merged.
    titles = {**key_columns, **{f"Value #{c.ref_id}": c.title for c in columns}}
    options = {
        "excludeByName": {"Time": True},
        "indexByName": {field: index for index, field in enumerate(titles)},
        "renameByName": titles,
    }
    return model.DataTransformerConfig(id_val="organize", options=options)


def _formatting(column: Column) -> list[model.DynamicConfigValue]:
    unit = model.DynamicConfigValue("unit", column.unit)
    if not column.steps:
        return [unit]
    steps = [{"color": color, "value": value} for color, value in column.steps]
    return [
        unit,
        model.DynamicConfigValue("thresholds", {"mode": "absolute", "steps": steps}),
        model.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
    ]


def _thresholds(steps: Steps) -> dashboard_builder.ThresholdsConfig:
    return (
        dashboard_builder.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([model.Threshold(value=value, color=color) for color, value in steps])
    )


def _stacked() -> common_builder.StackingConfig:
    return common_builder.StackingConfig().mode(common.StackingMode.NORMAL)
