"""The folder that keeps price tables: the one in use, every earlier one, and how they came.

table.json            what LLM_COST_PRICES=<folder> loads
tables/<version>.json each table that was ever in use; to go back, update from one of them
history.jsonl         a line per update: when, from what, its SHA-256, what was accepted
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from llm_cost.errors import ConfigurationError
from llm_cost.price_files import TABLE_NAME, read
from llm_cost.pricing.catalog import BUNDLED, Table

TABLES_NAME: Final = "tables"
HISTORY_NAME: Final = "history.jsonl"


def current(folder: Path) -> Table:
    """Return the table in use: the folder's, or the bundled one where it has none."""
    path = folder / TABLE_NAME
    if not path.exists():
        return BUNDLED
    table = read(path).table
    if table is None:
        raise ConfigurationError(f"price file {path} is a price book; name it book.json")
    return table


def write(folder: Path, document: Mapping[str, Any], entry: Mapping[str, Any]) -> Path:
    """Keep a table and make it the one in use; return where it is kept."""
    kept = folder / TABLES_NAME / f"{document['version']}.json"
    text = json.dumps(document, separators=(",", ":"))
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        _replace(kept, text)
        with (folder / HISTORY_NAME).open("a") as history:
            history.write(json.dumps(entry) + "\n")
        # Last: what is in use has been kept and written down before.
        _replace(folder / TABLE_NAME, text)
    except OSError as error:
        raise ConfigurationError(f"price folder {folder}: {error.strerror}") from None
    return kept


def _replace(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the new one, whole."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    os.replace(beside, path)
