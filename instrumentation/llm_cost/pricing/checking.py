"""Refuses rows and rates of a file that `rows.py` would misread, by name and with the way out."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from llm_cost.errors import ConfigurationError
from llm_cost.pricing.rows import SECONDS_PER_DAY, read_condition

MAX_CLAUSE_DEPTH: Final = 8
"""No published clause is deeper than three."""

_USD: Final = re.compile(r"\d{1,15}(?:\.\d{1,20})?", re.ASCII)
_TEXT_OPERATORS: Final = frozenset("=^$~r")


def check_rate(what: str, raw: object) -> None:
    """Refuse what is neither USD as decimal text nor [base, [above, USD], ...]."""
    base, *steps = raw if isinstance(raw, list) and raw else [raw]
    pairs = [step for step in steps if isinstance(step, list) and len(step) == 2]
    if len(pairs) != len(steps):
        raise ConfigurationError(f"{what} {raw!r}: a step is [above input tokens, USD]")
    for usd in (base, *(step[1] for step in pairs)):
        if not isinstance(usd, str) or not _USD.fullmatch(usd):
            raise ConfigurationError(f"{what} {usd!r} is not USD; write text such as '2.50'")
    starts = [step[0] for step in pairs]
    if any(type(start) is not int or start <= 0 for start in starts) or starts != sorted(starts):
        raise ConfigurationError(f"{what} {raw!r}: steps begin above 0 tokens and ascend")


def check_rates(what: str, raw: object) -> None:
    """Refuse what is not rates by price key."""
    if not isinstance(raw, Mapping):
        raise ConfigurationError(f'{what} {raw!r} is not like {{"input_mtok": "2.50"}}')
    for key, rate in raw.items():
        check_rate(f"{what}, {key}", rate)


def check_clause(what: str, raw: object, depth: int = 0) -> None:
    """Refuse a match clause that cannot be evaluated."""
    if not isinstance(raw, Sequence) or isinstance(raw, str) or not raw or depth > MAX_CLAUSE_DEPTH:
        raise ConfigurationError(f'{what}: clause {raw!r} is not like ["=", "gpt-4o"]')
    operator, *operands = raw
    if operator in ("|", "&"):
        for each in operands:
            check_clause(what, each, depth + 1)
        return
    if operator not in _TEXT_OPERATORS or len(operands) != 1 or not isinstance(operands[0], str):
        raise ConfigurationError(f"{what}: clause {raw!r} has none of the operators = ^ $ ~ r | &")
    if operator == "r":
        try:
            re.compile(operands[0])
        except re.error as error:
            raise ConfigurationError(f"{what}: pattern {operands[0]!r}: {error}") from None


def check_condition(what: str, raw: object) -> None:
    """Refuse what is neither null, a start date, nor two seconds of the day."""
    try:
        if raw is None or (isinstance(raw, str) and read_condition(raw) is not None):
            return
    except ValueError:
        pass
    in_day = range(SECONDS_PER_DAY)
    if isinstance(raw, list) and len(raw) == 2 and all(type(e) is int and e in in_day for e in raw):
        return
    raise ConfigurationError(
        f"{what}: condition {raw!r} is not null, a day such as '2026-12-01', or [start, end] in "
        "seconds of the UTC day"
    )


def check_row(provider: str, raw: Any) -> None:
    """Refuse what is not a row of `provider` in the form that `rows.py` describes."""
    if not isinstance(raw, list) or len(raw) not in (3, 4) or not isinstance(raw[0], str):
        raise ConfigurationError(f"provider {provider!r}: row {str(raw)[:80]!r} is not a price row")
    what = f"{provider}/{raw[0]}"
    check_clause(what, raw[1])
    dated, variants = raw[2], raw[3] if len(raw) == 4 else []
    if not isinstance(dated, list) or not dated or not isinstance(variants, list):
        raise ConfigurationError(f"{what} has no dated rates; write [[null, {{...}}]]")
    for entry, size in (*((each, 2) for each in dated), *((each, 3) for each in variants)):
        if not isinstance(entry, list) or len(entry) != size:
            raise ConfigurationError(f"{what}: {str(entry)[:80]!r} is not rates and when they hold")
        check_condition(what, entry[-2])
        check_rates(what, entry[-1])
    if not all(isinstance(each[0], Mapping) for each in variants):
        raise ConfigurationError(f"{what}: a variant begins with what it asks for, an object")
