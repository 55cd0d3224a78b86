"""Which of a row's dated rates hold at a moment, and for how long that stays so."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from llm_cost.pricing.rows import SECONDS_PER_DAY, Condition, Row

Seconds = float
"""Unix seconds. A moment may carry a fraction; every boundary is whole."""


class Window(NamedTuple):
    """From `start_s` to before `end_s` the same rates hold."""

    start_s: Seconds
    end_s: Seconds

    @classmethod
    def always(cls) -> "Window":
        """Return the stretch without an end."""
        return cls(-math.inf, math.inf)

    def narrowed(self, other: "Window", at_s: Seconds) -> "Window":
        """Return the part around `at_s` in which the other neither begins nor ends."""
        edges = [edge for edge in other if math.isfinite(edge)]
        return Window(
            max([self.start_s, *(edge for edge in edges if edge <= at_s)]),
            min([self.end_s, *(edge for edge in edges if edge > at_s)]),
        )


def holds(condition: Condition, at_s: Seconds) -> bool:
    """Tell whether a condition holds at a moment. A time of day may pass midnight."""
    if condition is None:
        return True
    if isinstance(condition, int):
        return at_s >= condition
    start_s, end_s = condition
    of_day_s = at_s % SECONDS_PER_DAY
    if end_s < start_s:
        return of_day_s >= start_s or of_day_s < end_s
    return start_s <= of_day_s < end_s


def window(conditions: Iterable[Condition], at_s: Seconds) -> Window:
    """Return the stretch around `at_s` in which none of the conditions changes.

    Raises ValueError or OverflowError if `at_s` is not finite.
    """
    midnight_s = int(at_s) // SECONDS_PER_DAY * SECONDS_PER_DAY
    edges: list[Seconds] = [-math.inf, math.inf]
    for condition in conditions:
        if isinstance(condition, int):
            edges.append(condition)
        elif condition is not None:
            edges += [midnight_s, midnight_s + SECONDS_PER_DAY]
            edges += [midnight_s + of_day_s for of_day_s in condition]
    return Window(
        max(edge for edge in edges if edge <= at_s), min(edge for edge in edges if edge > at_s)
    )


def row_window(row: Row, at_s: Seconds) -> Window:
    """Return the stretch around `at_s` in which the row's rates and variants stay the same."""
    conditions = [dated.condition for dated in row.dated]
    conditions += [variant.condition for variant in row.variants]
    return window(conditions, at_s)


def standard_index(row: Row, at_s: Seconds) -> int:
    """Return which of the row's dated rates holds: the last active one, else the first."""
    for index in range(len(row.dated) - 1, -1, -1):
        if holds(row.dated[index].condition, at_s):
            return index
    return 0
