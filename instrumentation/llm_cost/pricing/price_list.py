"""What one model costs, as a list: by service tier, by stretch of time, by long-context step."""

import math
from itertools import pairwise
from typing import Final, NamedTuple

from llm_cost.pricing import overlay
from llm_cost.pricing.buckets import PRICE_KEYS
from llm_cost.pricing.cost import PriceStatus
from llm_cost.pricing.lookup import Prices
from llm_cost.pricing.priced_model import Offer, PricedModel
from llm_cost.pricing.rows import SECONDS_PER_DAY, matches
from llm_cost.pricing.schedule import Seconds, Window

TIERS: Final = ("standard", "batch", "flex", "priority", "fast")

_UNITS: Final = {
    "mtok": "per million tokens",
    "kcount": "per 1,000",
    "kpages": "per 1,000 pages",
    "mchars": "per million characters",
    "hours": "per hour",
}


_OVERLAY: Final = [
    *((row.provider, row.clause, row.source, row.recorded) for row in overlay.ROWS),
    *((each.provider, each.clause, each.source, each.recorded) for each in overlay.FACTORS),
]


Hours = tuple[int, int] | None
"""From a second of the UTC day to before another, maybe past midnight; None for all day."""


class Line(NamedTuple):
    """One rate."""

    key: str
    """The price key, such as "cache_read_mtok"."""
    unit: str
    above_input_tokens: int
    usd: str
    """Exact decimal text."""


class Offered(NamedTuple):
    """What a tier costs in a stretch of time."""

    service_tier: str
    window: Window
    """By whole days."""
    hours: Hours
    status: PriceStatus
    version: str
    sources: tuple[str, ...]
    lines: tuple[Line, ...]


def unit_of(key: str) -> str:
    """Return what one published price buys."""
    return _UNITS.get(key.rpartition("_")[2], "per unit")


def exact_usd(numerator: int, denominator: int) -> str:
    """Return a rate as decimal text; it ends, as denominators are made of twos and fives."""
    digits = 0
    while numerator * 10**digits % denominator:
        digits += 1
    whole = numerator * 10**digits // denominator
    text = f"{whole:0{digits + 1}d}"
    return f"{text[:-digits]}.{text[-digits:]}" if digits else text


def _lines(offer: Offer) -> tuple[Line, ...]:
    return tuple(
        Line(key, unit_of(key), max(above, 0), exact_usd(numerator, denominator))
        for key, rate in sorted(offer.rates.items())
        if key in PRICE_KEYS
        for above, numerator, denominator in rate.steps
    )


def _sources(prices: Prices, provider: str, model: str, version: str) -> tuple[str, ...]:
    """Return what stands behind each part of a price version."""
    made: list[str] = []
    for part in version.split("+"):
        if part.startswith("overlay."):
            made += [
                f"overlay: {source} (recorded {recorded})"
                for listed_for, clause, source, recorded in _OVERLAY
                if (listed_for, f"overlay.{recorded}") == (provider, part)
                and matches(clause, model)
            ]
        elif part.startswith("book."):
            made.append(f"price book {part}")
        else:
            made.append(f"table {prices.table.version} of {prices.table.date}")
    return tuple(dict.fromkeys(made))


def _by_hour(priced: PricedModel, day_s: Seconds) -> list[tuple[Hours, Offer]]:
    """Return what is asked through a UTC day; one entry where the hour makes no difference."""
    edges = priced.edges_of_day()
    found: list[tuple[Hours, Offer]] = [
        ((start_s, end_s), priced.offer_at(day_s + start_s))
        for start_s, end_s in zip(edges, edges[1:] + edges[:1], strict=True)
    ]
    if len({(offer.version, *sorted(offer.rates.items())) for _, offer in found}) > 1:
        return found
    return [(None, priced.offer_at(day_s))]


def _stretches(
    priced: PricedModel, at_s: Seconds | None
) -> list[tuple[Window, list[tuple[Hours, Offer]]]]:
    """Return what is asked by stretch of days; with `at_s` only at that moment."""
    edges = [-math.inf, *priced.edges(), math.inf]
    found: list[tuple[Window, list[tuple[Hours, Offer]]]] = []
    for start_s, end_s in pairwise(edges):
        if at_s is not None:
            if start_s <= at_s < end_s:
                found.append((Window(start_s, end_s), [(None, priced.offer_at(at_s))]))
            continue
        day_s = start_s if math.isfinite(start_s) else min(end_s, 0) - SECONDS_PER_DAY
        asked = _by_hour(priced, day_s)
        if found and found[-1][1] == asked:
            found[-1] = (Window(found[-1][0].start_s, end_s), asked)
        else:
            found.append((Window(start_s, end_s), asked))
    return found


def offers(
    prices: Prices,
    *,
    provider: str,
    model: str,
    service_tier: str | None = None,
    at_s: Seconds | None = None,
) -> list[Offered]:
    """Return what a model costs: each tier, or the one asked for; every date, or one moment.

    A tier that the model does not sell is left out unless it is asked for. Empty for a model
    without a price.
    """
    made: list[Offered] = []
    for tier in (service_tier,) if service_tier else TIERS:
        priced = prices.found(provider, model, tier, None)
        if priced is None:
            continue
        for window, asked in _stretches(priced, at_s):
            for hours, offer in asked:
                unsold = offer.status is PriceStatus.FALLBACK and tier != TIERS[0]
                if offer.status is not PriceStatus.UNKNOWN and (service_tier or not unsold):
                    sources = _sources(prices, priced.provider, model.lower(), offer.version)
                    made.append(
                        Offered(
                            tier, window, hours, offer.status, offer.version, sources, _lines(offer)
                        )
                    )
    return made
