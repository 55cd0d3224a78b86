"""A price table as a JSON document: how it is written, and read back with every row checked.

    {"form": "llm-cost/price-table/1", "date": "2026-12-01", "version": "2026-12-01.1a2b3c4d",
     "from": {...}, "providers": {"openai": {"match": clause, "borrows": [...], "rows": [...]}}}

The version ends in the hash of `providers`, so that a price version names one text and no
other. `from` says where the table came from, and is not read.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from llm_cost.errors import ConfigurationError
from llm_cost.pricing.catalog import Listed, Table
from llm_cost.pricing.checking import check_clause, check_condition, check_row

FORM: Final = "llm-cost/price-table/1"


def providers_document(table: Table) -> dict[str, Any]:
    """Return everything that the table says, as JSON."""
    made = {}
    for provider in table.providers():
        listed = table.listed(provider)
        made[provider] = {
            "match": listed.clause,
            "borrows": list(listed.borrows),
            "rows": list(listed.rows),
        }
    return made


def digest(providers: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what a table says."""
    # The order of the rows and of the providers decides a match, so it counts.
    return hashlib.sha256(json.dumps(providers, separators=(",", ":")).encode()).hexdigest()


def document_of(table: Table, *, came_from: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document of a table; its version is made anew from its text."""
    providers = providers_document(table)
    return {
        "form": FORM,
        "date": table.date,
        "version": f"{table.date}.{digest(providers)[:8]}",
        "from": dict(came_from),
        "providers": providers,
    }


def table_of(document: object) -> Table:
    """Return the table of a document; raises `ConfigurationError` for what cannot be used."""
    if not isinstance(document, Mapping) or document.get("form") != FORM:
        raise ConfigurationError(f'a price table begins with "form": {FORM!r}; write it anew')
    check_condition("date of the price table", document.get("date"))
    providers = document.get("providers")
    if not isinstance(providers, Mapping) or not isinstance(document.get("date"), str):
        raise ConfigurationError("a price table has a date and providers; write it anew")
    version = f"{document['date']}.{digest(providers)[:8]}"
    if document.get("version") != version:
        raise ConfigurationError(
            f"price table {document.get('version')!r} holds the text of {version}: it was edited; "
            "put changes into a price book, or write it anew with llm-cost prices update"
        )
    return Table.of(
        {name: _listed(name, raw) for name, raw in providers.items()},
        date=document["date"],
        version=version,
    )


def _listed(provider: str, raw: object) -> Listed:
    if not isinstance(raw, Mapping) or not isinstance(raw.get("rows"), list):
        raise ConfigurationError(f"provider {provider!r} has no rows; write the table anew")
    clause, borrows = raw.get("match"), raw.get("borrows", [])
    if clause is not None:
        check_clause(f"provider {provider!r}", clause)
    if not isinstance(borrows, list) or not all(isinstance(each, str) for each in borrows):
        raise ConfigurationError(f"provider {provider!r}: borrows {borrows!r} is no list of names")
    for row in raw["rows"]:
        check_row(provider, row)
    return Listed(clause, tuple(borrows), raw["rows"])
