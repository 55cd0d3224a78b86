"""The committed dashboards as Grafana would ask them: panels, queries, variables filled in."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.prometheus import Prometheus, Series

FOLDER = Path(__file__).parents[2] / "grafana" / "dashboards"
FILES = sorted(FOLDER.glob("*.json"))

Json = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """One query of one panel."""

    panel: str
    ref_id: str
    expression: str
    instant: bool

    def __str__(self) -> str:
        return f"{self.panel}: {self.ref_id}"


def load(path: Path) -> Json:
    board: Json = json.loads(path.read_text())
    return board


def panels(board: Json) -> list[Json]:
    """Every panel that shows data; rows are headings."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def targets(board: Json) -> Iterator[Target]:
    for panel in panels(board):
        for query in panel["targets"]:
            yield Target(
                panel["title"], query["refId"], query["expr"], instant=query.get("instant", False)
            )


EVERY_TARGET = [target for path in FILES for target in targets(load(path))]


def filled_in(
    expression: str,
    *,
    range_s: int = 60,
    rate_interval_s: int = 5,
    chosen: Mapping[str, str] | None = None,
) -> str:
    """Put values for the variables, as Grafana does; what is not chosen is "All"."""
    values = {
        "$__rate_interval": f"{rate_interval_s}s",
        "$__range": f"{range_s}s",
        **{f"${name}": ".*" for name in ("tier", "model", "group")},
        **{f"${name}": value for name, value in (chosen or {}).items()},
    }
    for name, value in values.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, f"a variable that nothing fills in: {expression}"
    return expression


def ask(server: Prometheus, target: Target, *, end: float, range_s: int = 60) -> list[Series]:
    """Run a target as its panel does: an instant, or a course over the range."""
    expression = filled_in(target.expression, range_s=range_s)
    if target.instant:
        return server.instant(expression, at=end)
    return server.over_time(expression, start=end - range_s, end=end, step_s=1)


def target_of(panel: str, ref_id: str) -> Target:
    """The one query of that panel."""
    (found,) = [t for t in EVERY_TARGET if (t.panel, t.ref_id) == (panel, ref_id)]
    return found
