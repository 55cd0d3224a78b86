"""Turns rates into a function from `Usage` to `Cost`, in integers throughout.

The general function takes any usage: it clamps, marks and rounds. In front of it stands a
straight line of generated source for the calls that are almost all of them: text in, text
out, cached or not, in range. A test holds the two equal.

Rounding: each component (input, output, cache read, cache write, tools) is summed exactly
over one common denominator and rounded once, half to even; the total is the sum of the parts.
"""

from collections.abc import Callable
from itertools import groupby
from math import gcd, lcm
from typing import Final, NamedTuple

from llm_cost.money import NANO_PER_USD, round_half_even
from llm_cost.pricing.buckets import (
    COMPONENT_OF,
    INPUT_TOKEN_BUCKETS,
    REQUEST_FEE,
    REQUEST_FEE_KEY,
    RULES,
    Rule,
)
from llm_cost.pricing.cost import COMPONENTS, TOOLS, Cost, PriceStatus, unknown
from llm_cost.pricing.rows import Rates
from llm_cost.usage import Usage

PriceFunction = Callable[[Usage], Cost]

MAX_COUNT: Final = 2**33 - 1
"""No call uses 8.6 billion of anything; with this the dearest rates stay inside int64.

All ones in binary, so that one OR of all counts tells whether each is in range.
"""

_FIELDS: Final = Usage._fields
_AUDIO_MS: Final = _FIELDS.index("input_audio_ms")
_PLAIN: Final = tuple(
    _FIELDS.index(name)
    for name in (
        "input_text_tokens",
        "cache_read_text_tokens",
        "cache_write_tokens",
        "cache_write_1h_tokens",
        "output_text_tokens",
        "output_reasoning_tokens",
    )
)
"""The buckets that the straight line knows."""


class Step(NamedTuple):
    """What one unit of each bucket costs, once a call has more than so many input tokens."""

    above_input_tokens: int
    numerators: tuple[int, ...]
    """nano-USD times the component's denominator, by bucket."""
    fee: int
    """The same for the call itself."""


class Charges(NamedTuple):
    """A row's rates as whole numbers."""

    steps: tuple[Step, ...]
    denominators: tuple[int, ...]
    """By component."""
    own: tuple[bool, ...]
    """By bucket: the row has this bucket's own price."""
    priced: tuple[bool, ...]
    """By bucket: the row has that, or a relative's."""
    has_rates: bool
    """False for a row that names the model and no price at all."""
    has_fee: bool
    minimum_audio_ms: int
    status: PriceStatus
    version: str


def _key(rule: Rule, rates: Rates) -> tuple[str | None, bool]:
    """Return which price key pays for a bucket, and whether it is the bucket's own."""
    for key in rule.own:
        if key in rates:
            return key, True
    return next((key for key in rule.relatives if key in rates), None), False


def _nano(rates: Rates, key: str | None, rule: Rule, input_tokens: int) -> tuple[int, int]:
    """Return the nano-USD for one unit of a bucket as numerator and denominator."""
    if key is None:
        return 0, 1
    numerator, denominator = rates[key].at(input_tokens)
    numerator, denominator = numerator * NANO_PER_USD, denominator * rule.per
    divisor = gcd(numerator, denominator)
    return numerator // divisor, denominator // divisor


def charges(
    rates: Rates, *, status: PriceStatus, version: str, minimum_audio_ms: int = 0
) -> Charges:
    """Return the whole-number form of `rates`."""
    rules = (*RULES.values(), REQUEST_FEE)
    keys = [_key(rule, rates) for rule in rules]
    starts = sorted({step[0] for rate in rates.values() for step in rate.steps} | {-1})
    table = [
        [_nano(rates, key, rule, start + 1) for rule, (key, _) in zip(rules, keys, strict=True)]
        for start in starts
    ]
    denominators = [1] * COMPONENTS
    for line in table:
        for rule, (_, denominator) in zip(rules, line, strict=True):
            denominators[rule.component] = lcm(denominators[rule.component], denominator)
    steps = []
    for start, line in zip(starts, table, strict=True):
        whole = [
            numerator * (denominators[rule.component] // denominator)
            for rule, (numerator, denominator) in zip(rules, line, strict=True)
        ]
        steps.append(Step(start, tuple(whole[:-1]), whole[-1]))
    return Charges(
        steps=tuple(steps),
        denominators=tuple(denominators),
        own=tuple(own for _, own in keys[:-1]),
        priced=tuple(key is not None for key, _ in keys[:-1]),
        has_rates=any(key is not None for key, _ in keys),
        has_fee=REQUEST_FEE_KEY in rates,
        minimum_audio_ms=minimum_audio_ms,
        status=status,
        version=version,
    )


def _clamped(usage: Usage) -> Usage:
    """Return the usage with every count within 0 and MAX_COUNT."""
    return Usage._make(min(max(count, 0), MAX_COUNT) for count in usage)


def _parts(sums: list[int], denominators: tuple[int, ...]) -> list[int]:
    return [
        numerator if denominator == 1 else round_half_even(numerator, denominator)
        for numerator, denominator in zip(sums, denominators, strict=True)
    ]


def general(paid: Charges) -> PriceFunction:
    """Return the price function that takes any usage; raises TypeError for counts not int."""
    steps, own, priced = paid.steps, paid.own, paid.priced

    def price(usage: Usage, partial: bool = False) -> Cost:
        step = steps[0]
        if len(steps) > 1:
            input_tokens = sum(usage[:INPUT_TOKEN_BUCKETS])
            step = next((s for s in reversed(steps) if input_tokens > s.above_input_tokens), step)
        sums, something = [0, 0, 0, 0, step.fee], paid.has_fee
        for index, count in enumerate(usage):
            if not count:
                continue
            if not isinstance(count, int):
                raise TypeError(f"count {count!r} is not a whole number; usage holds int only")
            if not 0 < count <= MAX_COUNT:
                return price(_clamped(usage), partial=True)
            if index == _AUDIO_MS:
                count = max(count, paid.minimum_audio_ms)
            sums[COMPONENT_OF[index]] += count * step.numerators[index]
            something = something or priced[index]
            partial = partial or not own[index]
        # A call of which nothing has a price is unknown, not free.
        if not something and (partial or not paid.has_rates):
            return unknown(paid.version)
        parts = _parts(sums, paid.denominators)
        status = PriceStatus.PARTIAL if partial else paid.status
        return Cost._make((sum(parts), *parts, status, paid.version))

    return price


def _must_be_zero(indexes: list[int]) -> str:
    """Return source that is true if any of these buckets is used; runs compare as one slice."""
    tests = []
    for _, run in groupby(enumerate(indexes), key=lambda pair: pair[1] - pair[0]):
        first, *rest = [index for _, index in run]
        tests.append(
            f"u[{first}:{rest[-1] + 1}] != {(0,) * (len(rest) + 1)}" if rest else f"u[{first}]"
        )
    return " or ".join(tests)


def _component_sources(paid: Charges, step: Step, known: list[int]) -> list[str]:
    """Return source for each component's amount but the tools'; "0" for one without rates."""
    sources = []
    for component in range(TOOLS):
        by_rate: dict[int, list[str]] = {}
        for index in known:
            if COMPONENT_OF[index] == component and step.numerators[index]:
                by_rate.setdefault(step.numerators[index], []).append(f"v{index}")
        exact = " + ".join(f"({' + '.join(names)}) * {rate}" for rate, names in by_rate.items())
        denominator = paid.denominators[component]
        if exact and denominator != 1:
            exact = f"half_even({exact}, {denominator})"
        sources.append(exact or "0")
    return sources


def _step_lines(paid: Charges, step: Step, known: list[int]) -> list[str]:
    """Return source that returns the cost at one step's rates."""
    fee = round_half_even(step.fee, paid.denominators[TOOLS])
    lines, names = [], []
    for component, source in enumerate(_component_sources(paid, step, known)):
        names.append("0" if source == "0" else f"c{component}")
        if source != "0":
            lines.append(f"c{component} = {source}")
    terms = [name for name in names if name != "0"] + ([str(fee)] if fee else [])
    parts = f"{' + '.join(terms) or '0'}, {', '.join(names)}, {fee}"
    return [*lines, f"return new(Cost, ({parts}, status, version))"]


def straight_line(paid: Charges) -> PriceFunction:
    """Return the price function: generated source for plain text calls, else the general one."""
    anything = general(paid)
    known = [index for index in _PLAIN if paid.own[index]]
    if not known:
        return anything
    others = [index for index in range(len(_FIELDS)) if index not in known]
    lines = [f"if {_must_be_zero(others)}: return anything(u)"]
    lines += [f"v{index} = u[{index}]" for index in known]
    together = " | ".join(f"v{index}" for index in known)
    lines += [f"if not 0 <= {together} <= {MAX_COUNT}: return anything(u)"]
    if len(paid.steps) > 1:
        inputs = [f"v{index}" for index in known if index < INPUT_TOKEN_BUCKETS]
        lines += [f"total = {' + '.join(inputs) or '0'}"]
    for step in reversed(paid.steps):
        branch = _step_lines(paid, step, known)
        if step is paid.steps[0]:
            lines += branch
        else:
            lines += [f"if total > {step.above_input_tokens}:"]
            lines += [f"    {line}" for line in branch]
    names: dict[str, object] = {
        "Cost": Cost,
        "anything": anything,
        "half_even": round_half_even,
        "new": tuple.__new__,
        "status": paid.status,
        "version": paid.version,
    }
    source = "def price(u):\n" + "\n".join(f"    {line}" for line in lines)
    # Only whole numbers from our own table reach the source; 24 buckets in a loop cost 2 µs.
    exec(compile(source, "<price>", "exec"), names)  # noqa: S102
    made: PriceFunction = names["price"]  # type: ignore[assignment]  # what the source defines
    return made
