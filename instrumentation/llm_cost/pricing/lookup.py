"""`cost_of`: the one function that the rest of the system asks for a price."""

import math
import threading
from datetime import UTC, datetime
from typing import Final

from llm_cost.pricing import table
from llm_cost.pricing.catalog import find
from llm_cost.pricing.cost import Cost, unknown
from llm_cost.pricing.priced_model import PricedModel
from llm_cost.usage import Usage

MAX_CACHED_NAMES: Final = 2_048
"""Names per generation, hits and misses alike; two generations are kept. Model names may come
from tenants, so that memory has to have an end: at most about 3 MB with the longest names.
"""
MAX_NAME_CHARS: Final = 256
"""Longer names than any provider's resource name are unknown without being kept."""

_TABLE_MOMENT_S: Final = datetime.fromisoformat(table.DATE).replace(hour=12, tzinfo=UTC).timestamp()
"""The moment that `at=None` stands for: noon UTC of the table's own date."""

_UNKNOWN: Final = unknown(table.VERSION)

Names = tuple[str, str, str | None, str | None]


class _Names:
    """Two generations of names: a full young one becomes the old one, and what is asked again
    moves back. That keeps what is in use, without a lock or a reordering on the hot path.
    """

    def __init__(self) -> None:
        self.young: dict[Names, PricedModel | None] = {}
        self._old: dict[Names, PricedModel | None] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.young) + len(self._old)

    def miss(self, names: Names) -> PricedModel | None:
        """Return the priced model for names that the young generation lacks; None for unknown."""
        if any(name is not None and len(name) > MAX_NAME_CHARS for name in names):
            return None
        try:
            priced = self._old[names]
        except KeyError:
            provider, model, service_tier, region = names
            found = find(provider, model)
            priced = found and PricedModel(found, service_tier=service_tier, region=region)
        with self._lock:
            if len(self.young) >= MAX_CACHED_NAMES:
                self._old, self.young = self.young, {}
            self.young[names] = priced
        return priced


_names: Final = _Names()


def _seconds(at: datetime | float | None) -> float:
    """Return a moment as Unix seconds; a datetime without a zone is UTC."""
    if at is None:
        return _TABLE_MOMENT_S
    if isinstance(at, datetime):
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(at):
        raise ValueError(f"at {at!r} is not a moment; give Unix seconds or a datetime")
    return at


def cost_of(
    usage: Usage,
    *,
    provider: str,
    model: str,
    at: datetime | float | None = None,
    service_tier: str | None = None,
    region: str | None = None,
) -> Cost:
    """Return what a call cost. Never raises: what has no price has the status UNKNOWN.

    `at` is when the call was made, an aware datetime or Unix seconds; None is the newest price
    that had begun by the table's own date. `service_tier` and `region` are as the response
    reports them; None is the standard one.
    """
    try:
        names = (provider, model, service_tier, region)
        try:
            priced = _names.young[names]
        except KeyError:
            priced = _names.miss(names)
        if priced is None or not isinstance(usage, Usage):
            return _UNKNOWN
        at_s = at if type(at) is float else _seconds(at)
        current = priced.current
        if current is not None and current[0] <= at_s < current[1]:
            return current[2](usage)
        return priced.price_at(at_s)(usage)
    except (TypeError, ValueError, AttributeError, OverflowError):
        # Wrong types or a moment outside the calendar: no call of ours may break the host's.
        return _UNKNOWN
