"""`cost_of`: the one function that the rest of the system asks for a price."""

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from llm_cost.pricing.catalog import BUNDLED, Found, Table, find
from llm_cost.pricing.cost import Cost, unknown
from llm_cost.pricing.priced_model import PricedModel
from llm_cost.pricing.rows import Row
from llm_cost.usage import Usage

if TYPE_CHECKING:  # an application without a price book does not load its reader
    from llm_cost.pricing.custom import PriceBook, Rule

MAX_CACHED_NAMES: Final = 2_048
"""Names per generation, hits and misses alike; two generations are kept. Model names may come
from tenants, so that memory has to have an end: at most about 4 MB with the longest names.
"""
MAX_NAME_CHARS: Final = 256
"""Longer names than any provider's resource name are unknown without being kept."""

Names = tuple[str, str, str | None, str | None]
"""Provider, model, service tier, region."""


class Prices:
    """One table and one price book, and the names that were asked of them.

    Two generations of names: a full young one becomes the old one, and what is asked again
    moves back. That keeps what is in use, without a lock and without a reordering.
    """

    def __init__(self, table: Table, book: "PriceBook | None") -> None:
        self.table, self.book = table, book
        self.unknown = unknown(table.version)
        noon = datetime.fromisoformat(table.date).replace(hour=12, tzinfo=UTC)
        self.default_moment_s = noon.timestamp()
        """The moment that `at=None` stands for: noon UTC of the table's own date."""
        self.recent: dict[str, tuple[str, str | None, str | None, PricedModel | None]] = {}
        """What a model's name was last asked with: one hash less than a key of four names."""
        self._young: dict[Names, PricedModel | None] = {}
        self._old: dict[Names, PricedModel | None] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def priced(
        self, provider: str, model: str, service_tier: str | None, region: str | None
    ) -> PricedModel | None:
        """Return the priced model for these names, None where there is no price."""
        names = (provider, model, service_tier, region)
        if any(name is not None and len(name) > MAX_NAME_CHARS for name in names):
            return None
        try:
            found = self._young[names]
        except KeyError:
            found = self._old[names] if names in self._old else self.found(*names)
            # No lock: one that is held while another thread forks stays held forever. Two
            # threads that turn the generations at once lose names, and look them up again.
            if len(self._young) >= MAX_CACHED_NAMES:
                self._old, self._young, self.recent = self._young, {}, {}
            self._young[names] = found
        self.recent[model] = (provider, service_tier, region, found)
        return found

    def found(
        self, provider: str, model: str, service_tier: str | None, region: str | None
    ) -> PricedModel | None:
        """Look the names up in the table and in the price book."""
        found = find(self.table, provider, model)
        rules: tuple[Rule, ...] = ()
        if self.book is not None:
            asked = provider.strip().lower()
            sold_by = self.table.provider_id(provider) or asked
            rules = self.book.rules_for(
                sold_by, [model, found.row.model] if found else [model], service_tier
            )
            if found is None and any(rule.rates is not None for rule in rules):
                found = Found(Row(sold_by, model, ()), borrowed=False)
        if found is None:
            return None
        return PricedModel(found, service_tier=service_tier, region=region, rules=rules)


_prices = Prices(BUNDLED, None)


def use(*, table: Table | None = None, book: "PriceBook | None" = None) -> None:
    """Price this process's calls from now on by this table and this book; None: the bundled
    table, no book. A call that is being priced meanwhile gets the old price or the new one.
    """
    global _prices
    _prices = Prices(table or BUNDLED, book)


def in_use() -> Prices:
    """Return the prices of this process."""
    return _prices


def seconds(at: datetime | float | None) -> float:
    """Return a moment as Unix seconds; a datetime without a zone is UTC."""
    if at is None:
        return _prices.default_moment_s
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
    prices = _prices
    try:
        try:
            last_provider, last_tier, last_region, priced = prices.recent[model]
            same = provider == last_provider and service_tier == last_tier
            if not same or region != last_region:
                priced = prices.priced(provider, model, service_tier, region)
        except KeyError:
            priced = prices.priced(provider, model, service_tier, region)
        if priced is None or (type(usage) is not Usage and not isinstance(usage, Usage)):
            return prices.unknown
        at_s = at if type(at) is float or type(at) is int else seconds(at)
        start_s, end_s, price = priced.current
        if price is not None and start_s <= at_s < end_s:
            return price(usage)
        return priced.price_at(at_s)(usage)
    except (TypeError, ValueError, AttributeError, OverflowError):
        # Wrong types or a moment outside the calendar: no call of ours may break the host's.
        return prices.unknown
