"""Prices of your own: contracts, discounts and models that no public table knows.

A book is a list of rules, and the first one that fits a call decides. It sets the rates, or
takes a percentage off what the table says, on the exact rational before anything is rounded.
Pure: `llm_cost/price_files.py` reads the file. Discounts that grow with a month's spend are
not here: they need to know the spend, and a price is a function of one call.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from llm_cost.errors import ConfigurationError
from llm_cost.pricing.buckets import PRICE_KEYS
from llm_cost.pricing.checking import check_rates
from llm_cost.pricing.names import PROVIDER_ALIASES, STANDARD_TIERS
from llm_cost.pricing.rows import Rates, read_condition, read_rates
from llm_cost.pricing.schedule import Window

MAX_RULES: Final = 10_000
"""Every new model name walks the rules once; more than this is a table, not a price book."""
MAX_PERCENT_OFF: Final = 100
MIN_PERCENT_OFF: Final = -900
"""A surcharge of ten times the list price is a slip of the pen."""

_DECIMAL: Final = re.compile(r"-?\d{1,15}(?:\.\d{1,15})?", re.ASCII)
_FIELDS: Final = frozenset(
    {"account", "provider", "model", "service_tier", "since", "until"}
    | {"rates", "percent_off", "note"}
)


class Rule(NamedTuple):
    """Who pays what: a rule of the book."""

    provider: str
    """The table's id or any name of your own; "*" for every provider."""
    model: re.Pattern[str]
    account: str | None
    """None for every account."""
    service_tier: str | None
    """None for the tiers that the kind of rule speaks for by itself."""
    holds: Window
    rates: Rates | None
    """In place of the table's; None for a percentage."""
    factor: tuple[int, int]
    """What of the table's rates is paid, as numerator and denominator."""
    version: str
    """The book's."""

    def fits(self, provider: str, models: Sequence[str], tier: str) -> bool:
        """Tell whether the rule speaks for a call; names in lower case."""
        if self.provider not in ("*", provider):
            return False
        if self.service_tier is None:
            # A price for standard calls says nothing about batches; a percentage does.
            if self.rates is not None and tier not in STANDARD_TIERS:
                return False
        elif self.service_tier != tier and {self.service_tier, tier} - STANDARD_TIERS:
            return False
        return any(self.model.fullmatch(model) for model in models)


@dataclass(frozen=True, slots=True)
class PriceBook:
    """Rules in the order in which they are tried, and the name of this very text."""

    rules: tuple[Rule, ...] = ()
    version: str = "book.empty"

    @classmethod
    def from_json(cls, document: object) -> "PriceBook":
        """Read {"rules": [...]}; `docs/pricing.md` describes a rule.

        Raises `ConfigurationError` that names the rule, the field and the way out.
        """
        rules = document.get("rules") if isinstance(document, Mapping) else None
        if not isinstance(rules, list) or len(rules) > MAX_RULES:
            raise ConfigurationError(
                f'a price book is {{"rules": [...]}} with at most {MAX_RULES} rules; '
                f"found {str(document)[:60]!r}"
            )
        canonical = json.dumps(rules, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        version = f"book.{digest[:8]}"
        read = (_rule(f"rule {number}", raw, version) for number, raw in enumerate(rules, 1))
        return cls(tuple(read), version)

    def for_account(self, account: str | None) -> "PriceBook":
        """Return the book as one account sees it."""
        kept = tuple(rule for rule in self.rules if rule.account in (None, account))
        return replace(self, rules=kept)

    def rules_for(self, provider: str, models: Sequence[str], tier: str | None) -> tuple[Rule, ...]:
        """Return the rules that may decide a call, in order; their days are not looked at."""
        asked = (tier or "").strip().lower()
        names = [model.lower() for model in models]
        return tuple(rule for rule in self.rules if rule.fits(provider, names, asked))


def _rule(where: str, raw: object, version: str) -> Rule:
    if not isinstance(raw, Mapping):
        raise ConfigurationError(f"{where} is {raw!r}; write an object with provider and model")
    if unknown := sorted(raw.keys() - _FIELDS):
        raise ConfigurationError(f"{where} has {unknown}; a rule has {sorted(_FIELDS)}")
    if ("rates" in raw) == ("percent_off" in raw):
        raise ConfigurationError(f"{where} needs either 'rates' or 'percent_off', one of the two")
    provider = _text(where, raw, "provider", default="*")
    tier = raw.get("service_tier")
    return Rule(
        provider=PROVIDER_ALIASES.get(provider, provider),
        model=_pattern(_text(where, raw, "model", default="*")),
        account=None if raw.get("account") is None else _account(where, raw["account"]),
        service_tier=None if tier is None else _text(where, raw, "service_tier"),
        holds=_window(where, raw),
        rates=_rates(where, raw["rates"]) if "rates" in raw else None,
        factor=_factor(where, raw["percent_off"]) if "percent_off" in raw else (1, 1),
        version=version,
    )


def _account(where: str, raw: object) -> str:
    # Compared as it is written: accounts are the caller's names, not a provider's.
    if not isinstance(raw, str) or not raw:
        raise ConfigurationError(f"{where}: account {raw!r} is not a name; leave it out for all")
    return raw


def _text(where: str, raw: Mapping[str, Any], field: str, *, default: str | None = None) -> str:
    value = raw.get(field, default)
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"{where}: {field} {value!r} is not a name; write text")
    return value.strip().lower()


def _pattern(text: str) -> re.Pattern[str]:
    """Return a pattern in which "*" stands for anything and all else for itself."""
    return re.compile(".*".join(map(re.escape, text.split("*"))), re.DOTALL)


def _window(where: str, raw: Mapping[str, Any]) -> Window:
    edges = []
    for field in ("since", "until"):
        day = raw.get(field)
        try:
            if day is not None and not isinstance(day, str):
                raise ValueError
            edge = read_condition(day)
        except ValueError:
            raise ConfigurationError(
                f"{where}: {field} {day!r} is not a day; write for example '2026-12-01'"
            ) from None
        edges.append(edge if isinstance(edge, int) else None)
    since, until = edges
    if since is not None and until is not None and since >= until:
        raise ConfigurationError(
            f"{where} holds from {raw['since']} to before {raw['until']}: never; swap the two"
        )
    always = Window.always()
    return Window(
        always.start_s if since is None else since, always.end_s if until is None else until
    )


def _rates(where: str, raw: object) -> Rates:
    if not isinstance(raw, Mapping) or not raw:
        raise ConfigurationError(f'{where}: rates {raw!r} is not like {{"input_mtok": "2.50"}}')
    if unknown := sorted(raw.keys() - PRICE_KEYS):
        raise ConfigurationError(f"{where}: rates has {unknown}; it may have {sorted(PRICE_KEYS)}")
    check_rates(f"{where}: rates", raw)
    return read_rates(raw)


def _factor(where: str, raw: object) -> tuple[int, int]:
    text = str(raw) if type(raw) is int else raw
    if not isinstance(text, str) or not _DECIMAL.fullmatch(text):
        raise ConfigurationError(f"{where}: percent_off {raw!r} is not like '12.5'; write text")
    whole, _, fraction = text.partition(".")
    scale = 10 ** len(fraction)
    percent = int(whole + fraction)
    if not MIN_PERCENT_OFF * scale <= percent <= MAX_PERCENT_OFF * scale:
        raise ConfigurationError(
            f"{where}: percent_off {raw!r} is outside {MIN_PERCENT_OFF} to {MAX_PERCENT_OFF}"
        )
    return 100 * scale - percent, 100 * scale
