"""What a priced call is: the amounts and how far they can be trusted."""

from enum import StrEnum
from typing import Final, Literal, NamedTuple


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


REPORTED_BY: Final = "reported."
"""Begins the version of a price that somebody else worked out; who it was follows."""


class Cost(NamedTuple):
    """What one call cost. The parts add up to the total, unless a provider told only that."""

    total_nano_usd: int | None
    """None exactly when the status is UNKNOWN."""
    input_nano_usd: int
    output_nano_usd: int
    cache_read_nano_usd: int
    cache_write_nano_usd: int
    tools_nano_usd: int
    status: PriceStatus
    price_version: str
    """Where the price came from: "2026-11-10.1a2b3c4d" is a table, "overlay.<date>" a row of
    ours, "book.<hash>" a price book, "reported.<name>" whoever sent the amount itself."""

    @property
    def source(self) -> Literal["local", "provider"]:
        """Who worked the amount out: the value of `gen_ai.usage.cost.source`."""
        return "provider" if self.price_version.startswith(REPORTED_BY) else "local"

    @property
    def unallocated_nano_usd(self) -> int:
        """What of the total no part accounts for; 0 for every cost that we work out."""
        return (self.total_nano_usd or 0) - sum(self[1:6])


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
