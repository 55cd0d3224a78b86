"""What every dashboard we ship promises: built from code, portable, explained, correct PromQL."""

from pathlib import Path
from typing import Any

import pytest

from llm_cost import attributes
from llm_cost_dashboards.__main__ import main
from support import dashboards
from support.dashboards import Target, filled_in, load, panels
from support.promql import mentions

BOARDS = pytest.mark.parametrize(
    "board", [load(path) for path in dashboards.FILES], ids=lambda b: b["uid"]
)
PANELS = pytest.mark.parametrize(
    "panel",
    [panel for path in dashboards.FILES for panel in panels(load(path))],
    ids=lambda panel: panel["title"],
)
TARGETS = pytest.mark.parametrize("target", dashboards.EVERY_TARGET, ids=str)

DECLARED = {value for name, value in vars(attributes).items() if name.startswith("METRIC_")}
DECLARED_LABELS = {value for name, value in vars(attributes).items() if name.startswith("LABEL_")}
RANGE_FUNCTIONS_OF_COUNTERS = {"rate", "increase"}
OWN_PLUGINS = {"row", "stat", "table", "timeseries"}

Json = dict[str, Any]


def test_a_stale_file_fails_the_check_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--folder", str(tmp_path)])
    stale = tmp_path / "unit-economics.json"
    stale.write_text(stale.read_text().replace("Unit economics", "Edited by hand"))

    assert main(["--check", "--folder", str(tmp_path)]) == 1
    assert "unit-economics.json is not what the code builds" in capsys.readouterr().err


def test_the_committed_dashboards_are_what_the_code_builds() -> None:
    assert main(["--check"]) == 0


@BOARDS
def test_a_dashboard_loads_in_every_grafana_from_10_without_plugins(board: Json) -> None:
    assert board["schemaVersion"] == 42
    assert {panel["type"] for panel in board["panels"]} <= OWN_PLUGINS


@BOARDS
def test_a_dashboard_is_changed_in_code_and_not_in_the_browser(board: Json) -> None:
    assert board["editable"] is False


@BOARDS
def test_the_data_source_is_chosen_once_for_the_whole_dashboard(board: Json) -> None:
    first, *others = board["templating"]["list"]

    assert (first["type"], first["name"], first["query"]) == (
        "datasource", "datasource", "prometheus",
    )  # fmt: skip
    for variable in others:
        assert variable["datasource"]["uid"] == "${datasource}"


@BOARDS
def test_choices_follow_the_time_range_and_start_at_all(board: Json) -> None:
    for variable in board["templating"]["list"][1:]:
        assert variable["refresh"] == 2, "2 is Grafana's 'on time range change'"
        assert variable["current"]["value"] == "$__all"
        assert variable["allValue"] == ".*", "calls without the label belong to All"
        assert variable["query"] == f"label_values({attributes.METRIC_CALLS}, {variable['name']})"
        assert variable["name"] in DECLARED_LABELS


@BOARDS
def test_panel_numbers_are_unique_and_panels_do_not_overlap(board: Json) -> None:
    taken = [
        (x, y)
        for panel in board["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    numbers = [panel["id"] for panel in board["panels"]]

    assert len(numbers) == len(set(numbers))
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24


@PANELS
def test_a_panel_says_what_it_shows(panel: Json) -> None:
    assert panel["title"]
    assert len(panel["description"]) > 20
    assert panel["fieldConfig"]["defaults"]["unit"]


@PANELS
def test_a_panel_asks_the_chosen_data_source(panel: Json) -> None:
    asked = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]

    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in asked)


@PANELS
def test_the_queries_of_a_panel_have_names_of_their_own(panel: Json) -> None:
    names = [target["refId"] for target in panel["targets"]]

    assert names
    assert all(names)
    assert len(names) == len(set(names))


@TARGETS
def test_a_query_is_promql_over_declared_metrics_and_labels(target: Target) -> None:
    found = list(mentions(filled_in(target.expression)))

    assert found
    assert {mention.family for mention in found} <= DECLARED
    assert {label for mention in found for label in mention.labels} <= DECLARED_LABELS


@TARGETS
def test_a_counter_is_read_as_growth_only(target: Target) -> None:
    # As an operand of a set operation a counter is asked whether it existed, or it is the
    # growth since its birth: see queries._in_range.
    for mention in mentions(filled_in(target.expression)):
        if mention.family.endswith("_total") or mention.metric != mention.family:
            assert mention.function in RANGE_FUNCTIONS_OF_COUNTERS or mention.in_set_operation


@TARGETS
def test_a_query_over_time_measures_rates_at_grafanas_rate_interval(target: Target) -> None:
    if not target.instant and "[" in target.expression:
        assert "[$__rate_interval]" in target.expression
        assert target.expression.count("[") == target.expression.count("[$__rate_interval]")


@TARGETS
def test_a_query_heeds_the_chosen_tier(target: Target) -> None:
    for mention in mentions(filled_in(target.expression)):
        assert attributes.LABEL_TIER in mention.labels
