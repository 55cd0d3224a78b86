"""Reads a price table from a file or a URL: our own form, or the JSON that genai-prices publishes.

genai-prices (https://github.com/pydantic/genai-prices) publishes a list of providers, each with
`models`, whose `prices` are numbers or {"base", "tiers"}, alone or as a list with a
`constraint`; `price_variants` where a release has them. Other fields are left alone.
"""

import hashlib
import http.client
import json
import urllib.error
import urllib.request
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from llm_cost.errors import ConfigurationError
from llm_cost.price_files import MAX_FILE_BYTES
from llm_cost.pricing.catalog import Listed, Table
from llm_cost.pricing.checking import check_row
from llm_cost.pricing.stored import FORM, table_of

FETCH_TIMEOUT_S: Final = 30
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_OPERATORS: Final = {"equals": "=", "starts_with": "^", "ends_with": "$", "contains": "~"}


class Source(NamedTuple):
    """A table, and what it was read from."""

    table: Table
    name: str
    sha256: str


def read_source(name: str, *, today: date) -> Source:
    """Return the table of a file or a URL; raises `ConfigurationError` that names it.

    `today` dates a table whose text carries no date of its own.
    """
    content = _fetched(name) if "://" in name else _file(Path(name))
    try:
        # Text, not floats: a price is what is written.
        document = json.loads(content, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{name} is not JSON: {error}") from None
    try:
        return Source(_table(document, today), name, hashlib.sha256(content).hexdigest())
    except ConfigurationError as error:
        raise ConfigurationError(f"{name}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(
            f"{name} is neither a price table of ours nor one of genai-prices: {error!r}"
        ) from None


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return _within_limit(str(path), file.read(MAX_FILE_BYTES + 1))
    except OSError as error:
        raise ConfigurationError(f"price file {path}: {error.strerror}") from None


def _fetched(url: str) -> bytes:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ConfigurationError(f"{url} can be changed on the way; use https, or a file")
    try:
        with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT_S) as answer:
            return _within_limit(url, answer.read(MAX_FILE_BYTES + 1))
    except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
        raise ConfigurationError(f"{url} cannot be read: {error}") from None


def _within_limit(name: str, content: bytes) -> bytes:
    if len(content) > MAX_FILE_BYTES:
        raise ConfigurationError(f"{name} is larger than {MAX_FILE_BYTES} bytes")
    return content


def _table(document: Any, today: date) -> Table:
    if isinstance(document, dict) and document.get("form") == FORM:
        return table_of(document)
    if not isinstance(document, list) or not document:
        raise ConfigurationError(
            f'is neither a price table of ours ("form": {FORM!r}) nor a list of providers as '
            "genai-prices publishes it"
        )
    listed = {provider["id"]: _provider(provider) for provider in document}
    return Table.of(listed, date=today.isoformat(), version=f"{today.isoformat()}.read")


def _provider(raw: dict[str, Any]) -> Listed:
    rows = [_row(model) for model in raw["models"]]
    for row in rows:
        check_row(raw["id"], row)
    return Listed(
        clause=_clause(raw["provider_match"]) if raw.get("provider_match") else None,
        borrows=tuple(raw.get("fallback_model_providers") or ()),
        rows=rows,
    )


def _row(model: dict[str, Any]) -> list[Any]:
    prices = model["prices"]
    dated = [{"prices": prices}] if isinstance(prices, dict) else prices
    made = [
        model["id"],
        _clause(model["match"]),
        [[_condition(each.get("constraint")), _rates(each["prices"])] for each in dated],
    ]
    if variants := model.get("price_variants"):
        made.append(
            [
                [each["when"], _condition(each.get("constraint")), _rates(each["prices"])]
                for each in variants
            ]
        )
    return made


def _clause(match: dict[str, Any]) -> list[Any]:
    ((operator, operand),) = match.items()
    if operator in ("or", "and"):
        return ["|" if operator == "or" else "&", *map(_clause, operand)]
    if operator == "regex":
        return ["r", operand]
    return [_OPERATORS[operator], operand.lower()]


def _rates(prices: dict[str, Any]) -> dict[str, Any]:
    return {key: _rate(price) for key, price in sorted(prices.items()) if price is not None}


def _rate(price: Any) -> Any:
    if isinstance(price, dict):
        return [
            _usd(price["base"]),
            *([tier["start"], _usd(tier["price"])] for tier in price["tiers"]),
        ]
    return _usd(price)


def _usd(number: Any) -> str:
    text = format(Decimal(number), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _condition(constraint: dict[str, Any] | None) -> Any:
    if constraint is None:
        return None
    if "start_date" in constraint:
        return constraint["start_date"]
    return [_second_of_day(constraint["start_time"]), _second_of_day(constraint["end_time"])]


def _second_of_day(text: str) -> int:
    """Return the second of the UTC day of "16:30:00Z"; another offset is refused, not guessed."""
    plain = text.removesuffix("Z").removesuffix("+00:00")
    hour, minute, second = (int(part) for part in (*plain.split(":"), "0")[:3])
    return hour * 3600 + minute * 60 + second
