"""Integer nano-USD: parse, format, and the one rounding rule. Pure.

Every amount in this project is an `int` of nano-USD (1e-9 USD) whose name ends in
`_nano_usd`. Floats never carry money; `usd_display` makes one for a screen or a metric.
"""

from decimal import Decimal, InvalidOperation
from typing import Final

from llm_cost.errors import InvalidAmount

NANO_PER_USD: Final = 1_000_000_000
MAX_NANO_USD: Final = 2**63 - 1
"""The wire carries int64: 9.2 billion USD."""

_SIGNS_OF_MONEY = "$ "


def parse_usd(text: str | int | Decimal) -> int:
    """Return the nano-USD that `text` ("$5.00", "0.50", 5, Decimal) stands for, exactly.

    A float is refused: write the amount as a string. Raises `InvalidAmount` for what is not
    a finite amount from 0 to `MAX_NANO_USD`, or is finer than a nano-USD.
    """
    if isinstance(text, bool) or not isinstance(text, str | int | Decimal):
        raise InvalidAmount(f"amount {text!r} is not exact; write it as a string such as '5.00'")
    try:
        usd = Decimal(text.strip(_SIGNS_OF_MONEY) if isinstance(text, str) else text)
    except InvalidOperation:
        raise InvalidAmount(f"amount {text!r} is not a number; write for example '5.00'") from None
    if not usd.is_finite():
        raise InvalidAmount(f"amount {text!r} is not finite; leave the limit out for no limit")
    # Scaled by hand: Decimal arithmetic would round to the caller's context.
    sign, digits, exponent = usd.as_tuple()
    assert isinstance(exponent, int)  # holds for every finite Decimal
    shift = exponent + 9
    if abs(shift) > 64:
        raise InvalidAmount(f"amount {text!r} is out of range; write for example '5.00'")
    coefficient = int("".join(map(str, digits)) or "0")
    nano_usd, remainder = (
        (coefficient * 10**shift, 0) if shift >= 0 else divmod(coefficient, 10**-shift)
    )
    if remainder:
        raise InvalidAmount(f"amount {text!r} is finer than 0.000000001 USD; round it")
    return checked(-nano_usd if sign else nano_usd, name="amount")


def checked(nano_usd: int, *, name: str) -> int:
    """Return `nano_usd` if it is a storable amount, else raise `InvalidAmount` naming `name`."""
    if not 0 <= nano_usd <= MAX_NANO_USD:
        raise InvalidAmount(
            f"{name} {nano_usd} nano-USD is outside 0 to {MAX_NANO_USD}; amounts are never negative"
        )
    return nano_usd


def round_half_even(numerator: int, denominator: int) -> int:
    """Return numerator / denominator (denominator > 0) rounded half to even: the one rule."""
    quotient, remainder = divmod(numerator, denominator)
    twice = remainder * 2
    return quotient + (twice > denominator or (twice == denominator and quotient & 1))


def format_usd(nano_usd: int, *, places: int = 2) -> str:
    """Return `nano_usd` as "$1,234.50", rounded half to even to `places` decimals (0 to 9)."""
    scale: int = 10 ** (9 - places)
    sign = "-" if nano_usd < 0 else ""
    whole, fraction = divmod(round_half_even(abs(nano_usd), scale), 10**places)
    return f"{sign}${whole:,}" + (f".{fraction:0{places}d}" if places else "")


def usd_display(nano_usd: int) -> float:
    """Return USD as a float, for metric values and display attributes only."""
    return nano_usd / NANO_PER_USD
