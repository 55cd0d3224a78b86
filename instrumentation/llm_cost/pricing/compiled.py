"""Turns rates into whole numbers, and those into a function from `Usage` to `Cost`.

The general function takes any usage: it clamps, marks and rounds. `straight_line.py` puts
generated source in front of it for usage that is in range.

Rounding: each component (input, output, cache read, cache write, tools) is summed exactly
over one common denominator and rounded once, half to even; the total is the sum of the parts.
"""

from collections.abc import Callable
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
from llm_cost.pricing.cost import COMPONENTS, Cost, PriceStatus, unknown
from llm_cost.pricing.rows import Rates
from llm_cost.usage import Usage

PriceFunction = Callable[[Usage], Cost]

MAX_COUNT: Final = 2**33 - 1
"""No call uses 8.6 billion of anything; with this the dearest rates stay inside int64.

All ones in binary, so that one OR of all counts tells whether each is in range.
"""

INPUT_AUDIO_MS: Final = Usage._fields.index("input_audio_ms")


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
            if index == INPUT_AUDIO_MS:
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
