"""Reads the prices that an operator names: a table, a price book, or a folder with both.

`pricing` itself is pure; this is the file in front of it. The files are JSON, so that an
application needs nothing more to read them.
"""

import json
import logging
from pathlib import Path
from typing import Any, Final, NamedTuple

from llm_cost import pricing, settings
from llm_cost.errors import ConfigurationError
from llm_cost.pricing.catalog import Table
from llm_cost.pricing.custom import PriceBook
from llm_cost.pricing.stored import FORM as TABLE_FORM
from llm_cost.pricing.stored import table_of

MAX_FILE_BYTES: Final = 32 << 20
"""The whole public table has half a mebibyte."""
TABLE_NAME: Final = "table.json"
BOOK_NAME: Final = "book.json"

_used: Final[list[Path]] = []
"""What the environment named when it was first asked."""
_log = logging.getLogger("llm_cost")


class PriceFiles(NamedTuple):
    """What an operator's files say; None where there is none."""

    table: Table | None
    book: PriceBook | None


def read(path: Path, *, account: str | None = None) -> PriceFiles:
    """Return what a file or a folder says; raises `ConfigurationError` that names the file."""
    if path.is_dir():
        table, book = path / TABLE_NAME, path / BOOK_NAME
        if not table.exists() and not book.exists():
            raise ConfigurationError(f"price folder {path} has no {TABLE_NAME} and no {BOOK_NAME}")
        return PriceFiles(
            _read(table, account).table if table.exists() else None,
            _read(book, account).book if book.exists() else None,
        )
    return _read(path, account)


def use(path: Path | None, *, account: str | None = None) -> None:
    """Price this process's calls by what `path` says; None: by the bundled table."""
    files = PriceFiles(None, None) if path is None else read(path, account=account)
    pricing.use(table=files.table, book=files.book)


def use_from_environment() -> None:
    """Price this process's calls by what `LLM_COST_PRICES` names, if anything; once.

    For an application: what cannot be read is logged, and the bundled table stays.
    """
    path = settings.prices_path()
    if path is None or _used:
        return
    _used.append(path)
    try:
        use(path, account=settings.prices_account())
    except ConfigurationError as error:
        _log.error("%s; calls are priced by the bundled table", error)


def read_json(path: Path) -> Any:
    """Return the JSON of a file; raises `ConfigurationError` that names it."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigurationError(f"price file {path} is larger than {MAX_FILE_BYTES} bytes")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"price file {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"price file {path} is not JSON: {error}") from None


def _read(path: Path, account: str | None) -> PriceFiles:
    document = read_json(path)
    try:
        if isinstance(document, dict) and document.get("form") == TABLE_FORM:
            return PriceFiles(table_of(document), None)
        return PriceFiles(None, PriceBook.from_json(document).for_account(account))
    except ConfigurationError as error:
        raise ConfigurationError(f"price file {path}: {error}") from None
