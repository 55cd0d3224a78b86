"""Finds a model's row: the generated table, with the overlay in front of it."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from llm_cost.pricing import overlay, table
from llm_cost.pricing.names import PROVIDER_ALIASES, model_spellings, split_litellm
from llm_cost.pricing.rows import (
    Dated,
    Row,
    matches,
    read_condition,
    read_rates,
    read_row,
)

VERSION: Final = table.VERSION


class Found(NamedTuple):
    """A row, and whether it is the provider's own or borrowed from a vendor."""

    row: Row
    borrowed: bool


@cache  # Bounded by the number of providers: only ids of the table come here.
def _raw_rows(provider: str) -> list[Any]:
    """Return a provider's rows unread inside: most are never asked for."""
    rows: list[Any] = json.loads(table.PROVIDERS[provider][2])
    return rows


@cache
def _provider_clauses() -> list[tuple[str, Sequence[Any]]]:
    return [
        (provider, json.loads(clause))
        for provider, (clause, _, _) in table.PROVIDERS.items()
        if clause
    ]


def provider_id(name: str) -> str | None:
    """Return the table's id for a provider name, None if it has no such provider."""
    spelling = name.strip().lower()
    if spelling in table.PROVIDERS:
        return spelling
    if alias := PROVIDER_ALIASES.get(spelling):
        return alias
    return next(
        (provider for provider, clause in _provider_clauses() if matches(clause, spelling)), None
    )


def _own_row(provider: str, model: str) -> Row | None:
    """Return the row of `provider` itself for one spelling of a model."""
    raw = next((each for each in _raw_rows(provider) if matches(each[1], model)), None)
    row = read_row(provider, raw, VERSION) if raw else None
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


def find(provider_name: str, model_name: str) -> Found | None:
    """Return the row for a provider's model, None if there is none: never a similar one."""
    name, model = split_litellm(provider_name.strip().lower(), model_name)
    provider = provider_id(name)
    if provider is None:
        return None
    for spelling in model_spellings(provider, model):
        if row := _own_row(provider, spelling):
            return Found(row, borrowed=False)
        # One step only: a vendor that itself borrows would be a price of nobody's.
        for vendor in table.PROVIDERS[provider][1]:
            if row := _own_row(vendor, spelling):
                return Found(row, borrowed=True)
    return None
