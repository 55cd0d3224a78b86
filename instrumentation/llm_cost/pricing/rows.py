"""The form of a price row, and how it is read.

A row is JSON, in the generated table as in the overlay:

    [id, clause, [[condition, rates], ...], [[context, condition, rates], ...]]

clause     ["=" equals | "^" starts with | "$" ends with | "~" contains | "r" regex, text],
           or ["|" any of | "&" all of, clause, ...]
condition  null, a start date "2026-10-15" (UTC), or [start, end] in seconds of the UTC day
rates      price key -> USD as decimal text, or [base, [above, USD], ...] for rates that hold
           for the whole call once it has more than `above` input tokens
context    what a variant asks for, such as {"processing": "batch"}; its rates replace the
           standard ones key by key

Of the dated rates the last one whose condition holds is used, or the first if none does.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final, NamedTuple

Clause = Sequence[Any]
Condition = int | tuple[int, int] | None
"""Always; from this Unix second on; or between two seconds of the UTC day."""

SECONDS_PER_DAY: Final = 86_400
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()


class Rate(NamedTuple):
    """USD as exact numerator / denominator: (above_input_tokens, numerator, denominator) steps."""

    steps: tuple[tuple[int, int, int], ...]
    """Ascending; the first one starts below every call."""

    def times(self, numerator: int, denominator: int) -> "Rate":
        """Return the rate multiplied by an exact factor."""
        return Rate(tuple((a, n * numerator, d * denominator) for a, n, d in self.steps))

    def at(self, input_tokens: int) -> tuple[int, int]:
        """Return the numerator and denominator that a call of so many input tokens pays."""
        found = self.steps[0]
        for step in self.steps:
            if input_tokens > step[0]:
                found = step
        return found[1], found[2]


Rates = Mapping[str, Rate]


class Dated(NamedTuple):
    """Rates and when they hold."""

    condition: Condition
    rates: Rates
    version: str


class Variant(NamedTuple):
    """Rates for those who ask for them, for example by service tier."""

    context: Mapping[str, str]
    condition: Condition
    rates: Rates


class Row(NamedTuple):
    """One model of one provider."""

    provider: str
    model: str
    dated: tuple[Dated, ...]
    variants: tuple[Variant, ...] = ()


def matches(clause: Clause, text: str) -> bool:
    """Tell whether `clause` holds for `text`, which is in lower case."""
    operator, *operands = clause
    match operator:
        case "=":
            return bool(text == operands[0])
        case "^":
            return text.startswith(operands[0])
        case "$":
            return text.endswith(operands[0])
        case "~":
            return operands[0] in text
        case "r":
            return re.search(operands[0], text) is not None
        case "|":
            return any(matches(each, text) for each in operands)
        case "&":
            return all(matches(each, text) for each in operands)
    raise ValueError(f"clause operator {operator!r} is not one of = ^ $ ~ r | &")


def read_condition(raw: Any) -> Condition:
    """Return when a rate holds."""
    if raw is None:
        return None
    if isinstance(raw, str):
        return (date.fromisoformat(raw).toordinal() - _EPOCH_ORDINAL) * SECONDS_PER_DAY
    start_s, end_s = raw
    return start_s, end_s


def _ratio(usd: str) -> tuple[int, int]:
    """Return decimal text as an exact numerator and denominator; no Decimal, no float."""
    whole, _, fraction = usd.partition(".")
    return int(whole + fraction), 10 ** len(fraction)


def read_rate(raw: Any) -> Rate:
    """Return a rate from decimal text, or from the base and the steps."""
    if isinstance(raw, str):
        return Rate(((-1, *_ratio(raw)),))
    base, *steps = raw
    return Rate(((-1, *_ratio(base)), *((above, *_ratio(usd)) for above, usd in steps)))


def read_rates(raw: Mapping[str, Any]) -> Rates:
    """Return the rates by price key."""
    return {key: read_rate(value) for key, value in raw.items()}


def read_row(provider: str, raw: Sequence[Any], version: str) -> Row:
    """Return one row of a table; `version` names the table."""
    model, _, dated, *rest = raw
    return Row(
        provider,
        model,
        tuple(Dated(read_condition(when), read_rates(rates), version) for when, rates in dated),
        tuple(
            Variant(context, read_condition(when), read_rates(rates))
            for context, when, rates in (rest[0] if rest else ())
        ),
    )
