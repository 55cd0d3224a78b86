"""The queries that must be right where `increase` alone is wrong, on series made for it."""

import json
import subprocess
from pathlib import Path
from typing import Any

from llm_cost import attributes as names
from llm_cost_dashboards import queries
from support.dashboards import filled_in

UNPRICED = f'{names.METRIC_UNPRICED_CALLS}{{tier="free",model="new",reason="unknown_model"}}'
RANGE_S = 600
AT = "20m"


def _value_of(expression: str, series: dict[str, str], folder: Path) -> float:
    """Evaluate with promtool on series in its notation, one sample a minute, at 20 minutes."""
    test = {
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": s, "values": v} for s, v in series.items()],
                # An answer that nothing gives, so that promtool prints the one it got.
                "promql_expr_test": [
                    {
                        "expr": filled_in(expression, range_s=RANGE_S),
                        "eval_time": AT,
                        "exp_samples": [{"labels": "{}", "value": -1}],
                    }
                ],
            }
        ],
    }
    file = folder / "test.json"
    file.write_text(json.dumps(test))
    run = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True)
    return _got(run.stdout + run.stderr)


def _got(printed: str) -> Any:
    line = next((line for line in printed.splitlines() if "got:" in line), None)
    assert line, printed
    return float(line.rpartition(" ")[2].strip('"'))


def test_nothing_counted_shows_as_zero_and_not_as_no_data(tmp_path: Path) -> None:
    assert _value_of(queries.unpriced_in_range(), {}, tmp_path) == 0


def test_the_call_that_made_a_series_is_counted(tmp_path: Path) -> None:
    born_in_range = {UNPRICED: "_x15 1x5"}

    assert _value_of(queries.unpriced_in_range(), born_in_range, tmp_path) == 1


def test_an_old_series_counts_with_its_growth_only(tmp_path: Path) -> None:
    ten_a_minute = {UNPRICED: "1000+10x20"}

    assert _value_of(queries.unpriced_in_range(), ten_a_minute, tmp_path) == 100


def test_a_series_that_ended_in_the_range_still_counts(tmp_path: Path) -> None:
    process_replaced_at_minute_13 = {UNPRICED: "1000+10x13 stale"}

    assert (
        30 <= _value_of(queries.unpriced_in_range(), process_replaced_at_minute_13, tmp_path) < 36
    )


def test_a_restart_of_the_counting_process_is_not_a_loss(tmp_path: Path) -> None:
    restarted_at_minute_16 = {UNPRICED: "1000x15 0 2x4"}

    assert _value_of(queries.unpriced_in_range(), restarted_at_minute_16, tmp_path) > 1.9


def test_two_replicas_that_report_one_ledger_count_once(tmp_path: Path) -> None:
    replicas = {
        f'{names.METRIC_TIER_SPEND_USD}{{tier="pro",window="month",instance="{i}"}}': "7x20"
        for i in ("a", "b")
    }

    assert _value_of(queries.spend_this_month(), replicas, tmp_path) == 7
