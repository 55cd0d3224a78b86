"""The price function as generated source: one line of arithmetic per component, no loop.

Two branches: text in and text out, cached or not, which is almost every call; and any mixture
of buckets that the row prices. Counts out of range, and calls of which nothing has a price,
go to the general function. A test holds the three equal.
"""

from functools import lru_cache
from typing import Final

from llm_cost.money import round_half_even
from llm_cost.pricing.buckets import COMPONENT_OF, INPUT_TOKEN_BUCKETS
from llm_cost.pricing.compiled import (
    INPUT_AUDIO_MS,
    MAX_COUNT,
    Charges,
    PriceFunction,
    Step,
    general,
)
from llm_cost.pricing.cost import COMPONENTS, TOOLS, Cost, PriceStatus
from llm_cost.usage import Usage

_EVERY: Final = range(len(Usage._fields))
_TEXT: Final = frozenset(
    Usage._fields.index(name)
    for name in (
        "input_text_tokens",
        "cache_read_text_tokens",
        "cache_write_tokens",
        "cache_write_1h_tokens",
        "output_text_tokens",
        "output_reasoning_tokens",
    )
)
"""The buckets of the short branch."""

MAX_COMPILED: Final = 1_024
"""Compiling takes a millisecond and a function some 10 KB; names come from tenants."""

Lines = list[str]


def _indented(lines: Lines) -> Lines:
    return [f"    {line}" for line in lines]


def _any_of(buckets: list[int], between: str) -> str:
    return f" {between} ".join(f"v{bucket}" for bucket in buckets)


def _in_range(together: str) -> str:
    """One OR of all counts is in range exactly when each is: see MAX_COUNT."""
    return f"if not 0 <= {together} <= {MAX_COUNT}: return general(u)"


def _rounded(name: str, exact: str, denominator: int) -> Lines:
    """Return source for `money.round_half_even`, without the price of calling it."""
    if denominator == 1:
        return [f"{name} = {exact}"]
    lines = [f"x = {exact} + {denominator // 2}", f"{name} = x // {denominator}"]
    if denominator % 2 == 0:  # an odd denominator knows no halves
        lines.append(f"if {name} & 1 and x == {name} * {denominator}: {name} -= 1")
    return lines


def _component(paid: Charges, step: Step, component: int, buckets: list[int]) -> tuple[str, Lines]:
    """Return the name or the number of a component's amount, and the source that makes it."""
    fee = step.fee if component == TOOLS else 0
    by_rate: dict[int, list[str]] = {}
    for bucket in buckets:
        if COMPONENT_OF[bucket] == component and step.numerators[bucket]:
            by_rate.setdefault(step.numerators[bucket], []).append(f"v{bucket}")
    if not by_rate:
        return str(round_half_even(fee, paid.denominators[component])), []
    terms = [
        f"({' + '.join(names)}) * {rate}" if len(names) > 1 else f"{names[0]} * {rate}"
        for rate, names in by_rate.items()
    ]
    exact = " + ".join(terms + ([str(fee)] if fee else []))
    name = f"c{component}"
    return name, _rounded(name, exact, paid.denominators[component])


def _at_step(paid: Charges, step: Step, buckets: list[int], *, text: bool) -> Lines:
    """Return source that returns the cost at one step's rates."""
    lines: Lines = []
    parts: list[str] = []
    for component in range(COMPONENTS):
        part, made = _component(paid, step, component, buckets)
        parts.append(part)
        lines += made
    total = " + ".join(part for part in parts if part != "0") or "0"
    if text:
        return [*lines, f"return new(Cost, ({total}, {', '.join(parts)}, status, version))"]
    lines.append(f"total = {total}")
    # Free, or without a price: the general function knows which.
    lines.append("if not total: return general(u)")
    status = "partial if unlisted else status"
    return [*lines, f"return new(Cost, (total, {', '.join(parts)}, {status}, version))"]


def _by_step(paid: Charges, buckets: list[int], *, text: bool) -> Lines:
    """Return source for every step, the highest first."""
    lines: Lines = []
    if len(paid.steps) > 1:
        counted = buckets if text else list(_EVERY)
        inputs = [bucket for bucket in counted if bucket < INPUT_TOKEN_BUCKETS]
        lines.append(f"inputs = {_any_of(inputs, '+') or '0'}")
    for step in reversed(paid.steps[1:]):
        lines.append(f"if inputs > {step.above_input_tokens}:")
        lines += _indented(_at_step(paid, step, buckets, text=text))
    return lines + _at_step(paid, paid.steps[0], buckets, text=text)


def _source(paid: Charges) -> str:
    text = [bucket for bucket in _EVERY if bucket in _TEXT and paid.own[bucket]]
    priced = [bucket for bucket in _EVERY if paid.priced[bucket]]
    others = [bucket for bucket in _EVERY if bucket not in text]
    own = [bucket for bucket in _EVERY if paid.own[bucket]]
    unlisted = [bucket for bucket in _EVERY if not paid.own[bucket]]
    mixed = [
        f"unlisted = {_any_of(unlisted, '|') or '0'}",
        _in_range(f"unlisted | {_any_of(own, '|') or '0'}"),
    ]
    if paid.minimum_audio_ms:
        least, spoken = paid.minimum_audio_ms, f"v{INPUT_AUDIO_MS}"
        mixed.append(f"if 0 < {spoken} < {least}: {spoken} = {least}")
    mixed += _by_step(paid, priced, text=False)
    body = [f"{_any_of(list(_EVERY), ',')} = u"]
    if text:
        body += [f"if {_any_of(others, 'or')}:", *_indented(mixed)]
        body += [_in_range(_any_of(text, "|")), *_by_step(paid, text, text=True)]
    else:
        body += mixed
    return "\n".join(["def price(u):", *_indented(body)])


@lru_cache(maxsize=MAX_COMPILED)
def straight_line(paid: Charges) -> PriceFunction:
    """Return the price function for `paid`: the same one for every spelling of a model's name."""
    if not any(paid.priced):
        return general(paid)
    names: dict[str, object] = {
        "Cost": Cost,
        "general": general(paid),
        "new": tuple.__new__,
        "partial": PriceStatus.PARTIAL,
        "status": paid.status,
        "version": paid.version,
    }
    # Only whole numbers from a price table reach the source; 24 buckets in a loop cost 3 µs.
    exec(compile(_source(paid), "<price>", "exec"), names)  # noqa: S102
    made: PriceFunction = names["price"]  # type: ignore[assignment]  # what the source defines
    return made
