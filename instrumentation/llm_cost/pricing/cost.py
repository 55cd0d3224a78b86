"""What a priced call is: the amounts and how far they can be trusted."""

from enum import StrEnum
from typing import Final, NamedTuple


class PriceStatus(StrEnum):
    """How far a cost can be trusted; `docs/pricing.md` says what each asks of the reader."""

    EXACT = "exact"
    """Every bucket of the call has a published price of its own."""
    PARTIAL = "partial"
    """Some bucket has none, or a count was out of range: see the rules in `buckets.py`."""
    FALLBACK = "fallback"
    """The price is another one's: the standard tier's, or the vendor's for a reseller."""
    UNKNOWN = "unknown"
    """No price. The total is None, which is not 0."""


class Cost(NamedTuple):
    """What one call cost. The parts add up to the total."""

    total_nano_usd: int | None
    """None exactly when the status is UNKNOWN."""
    input_nano_usd: int
    output_nano_usd: int
    cache_read_nano_usd: int
    cache_write_nano_usd: int
    tools_nano_usd: int
    status: PriceStatus
    price_version: str
    """Which table the price came from: "2026-11-10.1a2b3c4d", or "overlay.<date>"."""


def unknown(price_version: str) -> Cost:
    """Return the cost of a call that has no price."""
    return Cost(None, 0, 0, 0, 0, 0, PriceStatus.UNKNOWN, price_version)


INPUT: Final = 0
OUTPUT: Final = 1
CACHE_READ: Final = 2
CACHE_WRITE: Final = 3
TOOLS: Final = 4
COMPONENTS: Final = 5
"""Positions of the components, in the order of the fields of `Cost`."""
