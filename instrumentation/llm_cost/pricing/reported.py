"""Costs that the provider itself reports, such as OpenRouter's `usage.cost`.

Such an amount beats any table: it is the bill. It seldom says what of it was input and what
output; what is not said stays out of the parts (`Cost.unallocated_nano_usd`), because an
invented split would look as sure as a real one.
"""

from decimal import Decimal, InvalidOperation
from typing import Final

from llm_cost.money import MAX_NANO_USD, round_half_even
from llm_cost.pricing.cost import REPORTED_BY, Cost, PriceStatus, unknown

Amount = str | int | float | Decimal | None
"""USD, as a response carries it; None for what it does not say."""

MAX_EXPONENT: Final = 64
"""Amounts of money have no more digits than that, before or after the point."""


def _nano_usd(amount: Amount) -> int | None:
    """Return the nano-USD of an amount, rounded half to even; None for what is no amount."""
    if amount is None or isinstance(amount, bool):
        return None
    try:
        # A float of JSON means the shortest text that reads back as it, which is its repr.
        usd = Decimal(repr(amount) if isinstance(amount, float) else amount)
    except (InvalidOperation, TypeError, ValueError):
        return None
    sign, digits, exponent = usd.as_tuple()
    if not isinstance(exponent, int) or abs(exponent) > MAX_EXPONENT or len(digits) > MAX_EXPONENT:
        return None
    whole = int("".join(map(str, digits)))
    shift = exponent + 9
    nano_usd = whole * 10**shift if shift >= 0 else round_half_even(whole, 10**-shift)
    return None if (sign and whole) or nano_usd > MAX_NANO_USD else nano_usd


def cost_reported(
    amount: Amount,
    *,
    by: str,
    input_amount: Amount = None,
    output_amount: Amount = None,
    cache_read_amount: Amount = None,
    cache_write_amount: Amount = None,
    tools_amount: Amount = None,
    zero_is_unknown: bool = False,
) -> Cost:
    """Return the cost that `by` ("openrouter", "perplexity", ...) reports, in USD. Never raises.

    UNKNOWN for what is not an amount (absent, negative, not finite, absurd): ask `cost_of`
    then. `zero_is_unknown` is for those who write 0 for a model that they have no price for,
    as litellm does. Parts that are no amounts or exceed the total are left out, all of them.
    """
    version = f"{REPORTED_BY}{by}"
    total = _nano_usd(amount)
    if total is None or (zero_is_unknown and total == 0):
        return unknown(version)
    parts = [
        _nano_usd(part) or 0
        for part in (
            input_amount, output_amount, cache_read_amount, cache_write_amount, tools_amount,
        )
    ]  # fmt: skip
    if sum(parts) > total:
        # Each part is rounded by itself: five halves may exceed the total by two nano-USD.
        parts = [0] * len(parts)
    return Cost._make((total, *parts, PriceStatus.EXACT, version))
