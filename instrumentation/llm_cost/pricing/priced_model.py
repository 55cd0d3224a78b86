"""One model as somebody buys it: its row, service tier and region, priced at any moment."""

from collections.abc import Mapping
from typing import Final

from llm_cost.pricing import overlay
from llm_cost.pricing.buckets import MINIMUM_BILLED_AUDIO_MS
from llm_cost.pricing.catalog import Found
from llm_cost.pricing.compiled import PriceFunction, charges, straight_line
from llm_cost.pricing.cost import PriceStatus
from llm_cost.pricing.names import region_asked, tier_context
from llm_cost.pricing.rows import Rate, Rates, Row, matches
from llm_cost.pricing.schedule import Seconds, Window, holds, row_window, standard_index

_TOKEN_RATE_SUFFIX: Final = "_mtok"  # noqa: S105  # a price key, not a secret

Choice = tuple[int, tuple[int, ...]]
"""Which dated rates and which variants hold: what one compiled function stands for."""


def _factors(row: Row, region: str, tier: str) -> tuple[list[overlay.OverlayFactor], bool, bool]:
    """Return the factors for a region and a tier, and whether each of the two has one."""
    found = [
        factor
        for factor in overlay.FACTORS
        if factor.provider == row.provider
        and (factor.region == region if factor.region else factor.service_tier == tier)
        and matches(factor.clause, row.model)
    ]
    return found, any(f.region for f in found), any(f.service_tier for f in found)


def _multiplied(rates: Rates, factors: list[overlay.OverlayFactor]) -> Rates:
    """Return the rates with every token rate multiplied; fees per call stay."""
    made = dict(rates)
    for factor in factors:
        for key, rate in made.items():
            if key.endswith(_TOKEN_RATE_SUFFIX):
                made[key] = rate.times(factor.numerator, factor.denominator)
    return made


class PricedModel:
    """Compiles a price function per stretch of time and keeps the one in use."""

    __slots__ = ("_borrowed", "_compiled", "_context", "_region", "_row", "current")

    def __init__(self, found: Found, *, service_tier: str | None, region: str | None) -> None:
        self._row, self._borrowed = found
        self._context: Mapping[str, str] = tier_context(service_tier)
        self._region = region_asked(region)
        # Bounded by the row's own conditions: at most one per stretch between its dates.
        self._compiled: dict[Choice, PriceFunction] = {}
        self.current: tuple[Seconds, Seconds, PriceFunction] | None = None

    def price_at(self, at_s: Seconds) -> PriceFunction:
        """Return the price function for a moment, and remember until when it holds."""
        window: Window = row_window(self._row, at_s)
        choice = self._choice(at_s)
        price = self._compiled.get(choice)
        if price is None:
            price = self._compiled[choice] = self._compile(choice)
        # One assignment of one tuple: a reader sees the old stretch or the new one, whole.
        self.current = (window.start_s, window.end_s, price)
        return price

    def _choice(self, at_s: Seconds) -> Choice:
        row, context = self._row, self._context
        asked = () if self._borrowed or not context else enumerate(row.variants)
        return standard_index(row, at_s), tuple(
            index
            for index, variant in asked
            if variant.context.items() <= context.items() and holds(variant.condition, at_s)
        )

    def _compile(self, choice: Choice) -> PriceFunction:
        index, variants = choice
        row, standard = self._row, self._row.dated[index]
        rates: dict[str, Rate] = {}
        for variant in variants:
            # The first active variant decides, key by key.
            rates = {**row.variants[variant].rates, **rates}
        rates = {**standard.rates, **rates}
        factors, region_priced, tier_priced = _factors(
            row, self._region, self._context.get("service_tier", "")
        )
        if self._borrowed:
            factors, region_priced, tier_priced = [], False, False
        elif variants:
            factors = [factor for factor in factors if not factor.service_tier]
        missing = (self._region and not region_priced) or (
            self._context and not variants and not tier_priced
        )
        version = standard.version + (f"+overlay.{factors[0].recorded}" if factors else "")
        return straight_line(
            charges(
                _multiplied(rates, factors),
                status=PriceStatus.FALLBACK if self._borrowed or missing else PriceStatus.EXACT,
                version=version,
                minimum_audio_ms=MINIMUM_BILLED_AUDIO_MS.get((row.provider, row.model), 0),
            )
        )
