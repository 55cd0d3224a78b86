"""Finds a model's row: a price table, with the overlay in front of it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from llm_cost.pricing import overlay, table
from llm_cost.pricing.names import PROVIDER_ALIASES, model_spellings, split_litellm
from llm_cost.pricing.rows import (
    Clause,
    Dated,
    Row,
    matches,
    read_condition,
    read_rates,
    read_row,
)

RawRow = Sequence[Any]
"""A row as `rows.py` describes it, unread inside: most are never asked for."""


class Listed(NamedTuple):
    """What a table says of one provider."""

    clause: Clause | None
    """Which other names are this provider's; None for its id alone."""
    borrows: tuple[str, ...]
    """Vendors whose prices stand in for what the provider does not list."""
    rows: Sequence[RawRow]
    """In the order in which they are matched."""


class Table:
    """Prices by provider and model. A provider's text is parsed when it is first asked for."""

    def __init__(
        self, *, date: str, version: str, providers: Mapping[str, tuple[str, tuple[str, ...], str]]
    ) -> None:
        self.date, self.version = date, version
        self._texts = providers
        # Bounded by the number of providers, and so are the clauses.
        self._listed: dict[str, Listed] = {}
        self._clauses: list[tuple[str, Clause]] | None = None

    @classmethod
    def of(cls, listed: Mapping[str, Listed], *, date: str, version: str) -> "Table":
        """Return a table of rows that are parsed already."""
        made = cls(date=date, version=version, providers={})
        made._listed = {**dict.fromkeys(overlay.PROVIDERS, Listed(None, (), [])), **listed}
        return made

    def __contains__(self, provider: object) -> bool:
        return provider in self._listed or provider in self._texts

    def providers(self) -> list[str]:
        """Return the ids of all providers, in order."""
        return [*self._texts, *(each for each in self._listed if each not in self._texts)]

    def listed(self, provider: str) -> Listed:
        """Return what the table says of `provider`, which is an id of `providers()`."""
        found = self._listed.get(provider)
        if found is None:
            clause, borrows, rows = self._texts[provider]
            found = Listed(json.loads(clause) if clause else None, borrows, json.loads(rows))
            self._listed[provider] = found
        return found

    def provider_id(self, name: str) -> str | None:
        """Return the id for a provider name, None if the table has no such provider."""
        spelling = name.strip().lower()
        if spelling in self:
            return spelling
        if alias := PROVIDER_ALIASES.get(spelling):
            return alias if alias in self else None
        if self._clauses is None:
            self._clauses = self._read_clauses()
        return next((id_ for id_, clause in self._clauses if matches(clause, spelling)), None)

    def _read_clauses(self) -> list[tuple[str, Clause]]:
        # Not by `listed`: that would parse every row of every provider.
        texts = [(id_, json.loads(text)) for id_, (text, _, _) in self._texts.items() if text]
        others = self._listed.items() if not self._texts else ()
        return texts + [(id_, each.clause) for id_, each in others if each.clause]


_OVERLAY_ONLY: Final = dict.fromkeys(overlay.PROVIDERS, ("", (), "[]"))
BUNDLED: Final = Table(
    date=table.DATE, version=table.VERSION, providers={**_OVERLAY_ONLY, **table.PROVIDERS}
)


class Found(NamedTuple):
    """A row, and whether it is the provider's own or borrowed from a vendor."""

    row: Row
    borrowed: bool


def raw_row(prices: Table, provider: str, model: str) -> RawRow | None:
    """Return the table's first row that matches a model in lower case."""
    return next((each for each in prices.listed(provider).rows if matches(each[1], model)), None)


def _own_row(prices: Table, provider: str, model: str) -> Row | None:
    """Return the row of `provider` itself for one spelling of a model."""
    raw = raw_row(prices, provider, model)
    row = read_row(provider, raw, prices.version) if raw else None
    for ours in overlay.ROWS:
        if ours.provider == provider and matches(ours.clause, model):
            version = f"overlay.{ours.recorded}"
            dated = Dated(read_condition(ours.since), read_rates(ours.rates), version)
            # Last, because of the dated rates the last active one holds.
            row = (
                row._replace(dated=(*row.dated, dated))
                if row
                else Row(provider, ours.model, (dated,))
            )
    return row


def find(prices: Table, provider_name: str, model_name: str) -> Found | None:
    """Return the row for a provider's model, None if there is none: never a similar one."""
    name, model = split_litellm(provider_name.strip().lower(), model_name)
    provider = prices.provider_id(name)
    if provider is None:
        return None
    for spelling in model_spellings(provider, model):
        if row := _own_row(prices, provider, spelling):
            return Found(row, borrowed=False)
        # One step only: a vendor that itself borrows would be a price of nobody's.
        for vendor in prices.listed(provider).borrows:
            if vendor in prices and (row := _own_row(prices, vendor, spelling)):
                return Found(row, borrowed=True)
    return None
