"""One model as somebody buys it: its row, service tier and region, priced at any moment."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from llm_cost.pricing import overlay
from llm_cost.pricing.buckets import MINIMUM_BILLED_AUDIO_MS
from llm_cost.pricing.catalog import Found
from llm_cost.pricing.compiled import PriceFunction, charges
from llm_cost.pricing.cost import PriceStatus
from llm_cost.pricing.names import region_asked, tier_context
from llm_cost.pricing.rows import Condition, Dated, Rate, Rates, Row, matches
from llm_cost.pricing.schedule import Seconds, Window, holds, row_window, standard_index
from llm_cost.pricing.straight_line import straight_line

if TYPE_CHECKING:  # an application without a price book does not load its reader
    from llm_cost.pricing.custom import Rule

_TOKEN_RATE_SUFFIX: Final = "_mtok"  # noqa: S105  # a price key, not a secret

Choice = tuple[int | None, tuple[int, ...], int | None]
"""Which dated rates, which variants and which rule of the price book hold: what one compiled
function stands for."""


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


class Offer(NamedTuple):
    """What is asked for a model at a moment."""

    rates: Rates
    status: PriceStatus
    version: str


class PricedModel:
    """Compiles a price function per stretch of time and keeps the one in use."""

    __slots__ = ("_borrowed", "_compiled", "_context", "_region", "_row", "_rules", "current")

    def __init__(
        self,
        found: Found,
        *,
        service_tier: str | None,
        region: str | None,
        rules: "tuple[Rule, ...]" = (),
    ) -> None:
        self._row, self._borrowed = found
        self._context: Mapping[str, str] = tier_context(service_tier)
        self._region = region_asked(region)
        self._rules = rules
        # Bounded by the row's and the rules' own dates: at most one per stretch between them.
        self._compiled: dict[Choice, PriceFunction] = {}
        self.current: tuple[Seconds, Seconds, PriceFunction | None] = (0, 0, None)
        """From when to before when the function holds; at first never."""

    def price_at(self, at_s: Seconds) -> PriceFunction:
        """Return the price function for a moment, and remember until when it holds."""
        window = self.window(at_s)
        choice = self._choice(at_s)
        price = self._compiled.get(choice)
        if price is None:
            price = self._compiled[choice] = self._compile(self._offer(choice))
        # One assignment of one tuple: a reader sees the old stretch or the new one, whole.
        # Floats throughout, because a moment is one and two floats compare faster.
        self.current = (window.start_s + 0.0, window.end_s + 0.0, price)
        return price

    @property
    def provider(self) -> str:
        """The table's id of the one whose row it is."""
        return self._row.provider

    def window(self, at_s: Seconds) -> Window:
        """Return the stretch around a moment in which nothing changes."""
        window = row_window(self._row, at_s)
        for rule in self._rules:
            window = window.narrowed(rule.holds, at_s)
        return window

    def edges(self) -> list[Seconds]:
        """Return the moments at which a date of the row or of a rule begins or ends a price."""
        edges: list[Seconds] = [when for when in self._conditions() if isinstance(when, int)]
        edges += [edge for rule in self._rules for edge in rule.holds if math.isfinite(edge)]
        return sorted(set(edges))

    def edges_of_day(self) -> list[int]:
        """Return the seconds of the UTC day at which a price begins or ends."""
        hours = [when for when in self._conditions() if isinstance(when, tuple)]
        return sorted({edge for pair in hours for edge in pair})

    def _conditions(self) -> list[Condition]:
        dated = [each.condition for each in self._row.dated]
        return dated + [each.condition for each in self._row.variants]

    def offer_at(self, at_s: Seconds) -> Offer:
        """Return what `price_at` compiles, for those who show prices."""
        return self._offer(self._choice(at_s))

    def _choice(self, at_s: Seconds) -> Choice:
        row, context = self._row, self._context
        asked = () if self._borrowed or not context else enumerate(row.variants)
        return (
            standard_index(row, at_s) if row.dated else None,
            tuple(
                index
                for index, variant in asked
                if variant.context.items() <= context.items() and holds(variant.condition, at_s)
            ),
            next((i for i, rule in enumerate(self._rules) if self._decides(rule, at_s)), None),
        )

    def _decides(self, rule: "Rule", at_s: Seconds) -> bool:
        # A percentage needs a listed price to be taken of.
        listed = rule.rates is not None or bool(self._row.dated)
        return listed and rule.holds.start_s <= at_s < rule.holds.end_s

    def _compile(self, offer: Offer) -> PriceFunction:
        billed = (self._row.provider, self._row.model)
        least_audio_ms = MINIMUM_BILLED_AUDIO_MS.get(billed, 0)
        return straight_line(
            charges(
                offer.rates,
                status=offer.status,
                version=offer.version,
                minimum_audio_ms=least_audio_ms,
            )
        )

    def _offer(self, choice: Choice) -> Offer:
        index, variants, ruled = choice
        rule = None if ruled is None else self._rules[ruled]
        if rule is not None and rule.rates is not None:
            return Offer(rule.rates, PriceStatus.EXACT, rule.version)
        if index is None:
            # Only a rule of another day knows this model.
            return Offer({}, PriceStatus.UNKNOWN, self._rules[0].version)
        listed = self._listed(self._row.dated[index], variants)
        if rule is None:
            return listed
        rates = {key: rate.times(*rule.factor) for key, rate in listed.rates.items()}
        return Offer(rates, listed.status, f"{listed.version}+{rule.version}")

    def _listed(self, standard: Dated, variants: tuple[int, ...]) -> Offer:
        """Return what the table and the overlay ask."""
        row = self._row
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
        return Offer(
            _multiplied(rates, factors),
            PriceStatus.FALLBACK if self._borrowed or missing else PriceStatus.EXACT,
            standard.version + (f"+overlay.{factors[0].recorded}" if factors else ""),
        )
