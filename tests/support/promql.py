"""What a PromQL expression says: the metrics it names and where each of them stands."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser

_SUFFIXES_OF_HISTOGRAMS = ("_bucket", "_sum", "_count")
_SET_OPERATORS = ("and", "or", "unless")


@dataclass(frozen=True)
class Mention:
    """One metric in an expression.

    function: the function that its range is an argument of, if any.
    in_set_operation: it is asked whether it exists, not how much it is.
    """

    metric: str
    labels: frozenset[str]
    function: str
    in_set_operation: bool

    @property
    def family(self) -> str:
        """The metric's name as declared: a histogram's parts share one."""
        for suffix in _SUFFIXES_OF_HISTOGRAMS:
            if self.metric.endswith(suffix):
                return self.metric.removesuffix(suffix)
        return self.metric


def mentions(expression: str) -> Iterator[Mention]:
    """Every metric that the expression names; an expression that is not PromQL raises."""
    above: list[Any] = []
    found: list[Mention] = []

    def enter(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(_mention(node, above))
        above.append(node)

    def leave(_node: Any) -> None:
        above.pop()

    promql_parser.walk(promql_parser.parse(expression), enter, leave)
    yield from found


def _mention(selector: Any, above: list[Any]) -> Mention:
    parents = [n for n in reversed(above) if not isinstance(n, promql_parser.ParenExpr)]
    in_range = bool(parents) and isinstance(parents[0], promql_parser.MatrixSelector)
    outer = parents[1:] if in_range else parents
    call = outer[0] if outer and isinstance(outer[0], promql_parser.Call) else None
    holder = outer[0] if outer and isinstance(outer[0], promql_parser.BinaryExpr) else None
    return Mention(
        metric=selector.name,
        labels=frozenset(matcher.name for matcher in selector.matchers.matchers),
        function=call.func.name if call else "",
        in_set_operation=bool(holder) and str(holder.op) in _SET_OPERATORS,
    )
