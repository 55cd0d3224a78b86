"""Turn the installed genai-prices into `llm_cost/pricing/table.py`.

Run it with `make prices`. The output depends on the installed release alone, so that a test
can generate it again and compare.
"""

import hashlib
import json
import sys
from datetime import time
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

from genai_prices import types
from genai_prices.data_snapshot import get_snapshot

# The wheel does not say when it was released; the table's date and its id come from here.
RELEASE_DATES = {"0.2.3": "2026-11-10"}

TABLE = Path(__file__).parents[1] / "instrumentation/llm_cost/pricing/table.py"

HEADER = '''"""Prices by provider and model, dated. Generated: run `make prices`, do not edit.

Data: genai-prices {release} of {date}, https://github.com/pydantic/genai-prices
SHA-256 of the rows: {digest}

The data carries this notice:

The MIT License (MIT)

Copyright (c) Pydantic Services Inc. 2025 to present

Permission is hereby granted, free of charge, to any person obtaining a copy of this software
and associated documentation files (the "Software"), to deal in the Software without
restriction, including without limitation the rights to use, copy, modify, merge, publish,
distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or
substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING
BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.

One line per model, in the order in which they are matched; `rows.py` describes the form.
"""

from typing import Final

DATE: Final = "{date}"
VERSION: Final = "{date}.{short}"

# Provider id -> (its match clause, providers whose prices it borrows, its rows), as JSON.
PROVIDERS: Final[dict[str, tuple[str, tuple[str, ...], str]]] = {{
'''

OPERATORS = {
    types.ClauseEquals: ("=", "equals"),
    types.ClauseStartsWith: ("^", "starts_with"),
    types.ClauseEndsWith: ("$", "ends_with"),
    types.ClauseContains: ("~", "contains"),
}


def clause(match: Any) -> list[Any]:
    """Return a match clause in the table's form."""
    if isinstance(match, types.ClauseOr):
        return ["|", *map(clause, match.or_)]
    if isinstance(match, types.ClauseAnd):
        return ["&", *map(clause, match.and_)]
    if isinstance(match, types.ClauseRegex):
        return ["r", match.regex]
    operator, field = OPERATORS[type(match)]
    return [operator, getattr(match, field).lower()]


def decimal(value: Decimal) -> str:
    """Return `value` in plain digits without trailing zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def rate(price: Any) -> Any:
    """Return a price: a decimal text, or a list of the base and [start, price] per step."""
    if isinstance(price, types.TieredPrices):
        return [decimal(price.base), *([t.start, decimal(t.price)] for t in price.tiers)]
    return decimal(price)


def rates(prices: types.ModelPrice) -> dict[str, Any]:
    """Return the prices that are set, by price key."""
    return {key: rate(p) for key, p in sorted(vars(prices).items()) if p is not None}


def seconds(of_day: time) -> int:
    """Return the second of the UTC day."""
    if of_day.utcoffset():
        raise ValueError(f"time of day {of_day} is not UTC; teach generate_prices to convert it")
    return of_day.hour * 3600 + of_day.minute * 60 + of_day.second


def condition(constraint: Any) -> Any:
    """Return when a price holds: null, a start date, or [start, end] in seconds of the UTC day."""
    if constraint is None:
        return None
    if isinstance(constraint, types.StartDateConstraint):
        return constraint.start_date.isoformat()
    return [seconds(constraint.start_time), seconds(constraint.end_time)]


def row(model: types.ModelInfo) -> list[Any]:
    """Return one model as a row of the table."""
    dated = (
        [types.ConditionalPrice(prices=model.prices)]
        if isinstance(model.prices, types.ModelPrice)
        else model.prices
    )
    made = [
        model.id,
        clause(model.match),
        [[condition(p.constraint), rates(p.prices)] for p in dated],
    ]
    if model.price_variants:
        made.append(
            [[v.when, condition(v.constraint), rates(v.prices)] for v in model.price_variants]
        )
    return made


def dense(value: Any) -> str:
    """Return compact JSON."""
    return json.dumps(value, separators=(",", ":"))


def provider_entry(provider: types.Provider) -> str:
    """Return one provider's item of the dictionary."""
    match = dense(clause(provider.provider_match)) if provider.provider_match else ""
    rows = ",\n".join(dense(row(model)) for model in provider.models)
    if "'" * 3 in rows or '"' * 3 in rows + match:
        raise ValueError(f"provider {provider.id!r} has a row with three quotes; escape it here")
    borrowed = "".join(f'"{name}", ' for name in provider.fallback_model_providers or ()).strip()
    if borrowed.count(",") > 1:
        borrowed = borrowed.removesuffix(",")
    lines = [f'    "{provider.id}": (']
    lines.append(f"        r'{match}'," if match else '        "",')
    lines.append(f"        ({borrowed}),")
    lines.append(f'        r"""[\n{rows}\n]""",')
    lines.append("    ),")
    return "\n".join(lines) + "\n"


def table() -> str:
    """Return the whole generated module."""
    release = version("genai-prices")
    if release not in RELEASE_DATES:
        raise SystemExit(f"genai-prices {release} has no date; add it to RELEASE_DATES")
    body = "".join(map(provider_entry, get_snapshot().providers))
    digest = hashlib.sha256(body.encode()).hexdigest()
    header = HEADER.format(
        release=release, date=RELEASE_DATES[release], digest=digest, short=digest[:8]
    )
    return header + body + "}\n"


def main() -> None:
    """Write the table to the path named on the command line, or into the library."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TABLE
    target.write_text(table())


if __name__ == "__main__":
    main()
