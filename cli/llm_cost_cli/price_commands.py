"""`llm-cost prices show`, `diff` and `update`."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from llm_cost import price_files
from llm_cost import settings as library_settings
from llm_cost.errors import ConfigurationError
from llm_cost.pricing import overlay
from llm_cost.pricing.catalog import BUNDLED, Table
from llm_cost.pricing.comparison import Change, compare, merged
from llm_cost.pricing.lookup import Prices
from llm_cost.pricing.price_list import Offered, offers
from llm_cost.pricing.stored import document_of
from llm_cost_cli import price_folder, settings
from llm_cost_cli.failures import NOT_TRIED, CommandFailed
from llm_cost_cli.price_sources import Source, read_source
from llm_cost_cli.terminal import Column, Style, left, table

MOST_LINES_SHOWN: Final = 200
"""More than a screen or four, nobody reads; the odd ones come first, and --json has them all."""
MOST_MODELS_NAMED: Final = 20


def add_prices(commands: Any) -> None:
    """Add the commands to `llm-cost`."""
    group = commands.add_parser("prices", help="the prices of models: show, diff, update")
    verbs = group.add_subparsers(metavar="VERB", required=True)
    it = _verb(verbs, "show", show, "what a model costs, by tier, date and context step")
    it.add_argument("model", metavar="MODEL")
    it.add_argument("--provider", metavar="P", help="only this one (every provider that lists it)")
    it.add_argument("--at", type=_day, metavar="DAY", help="at noon UTC of a day, as 2026-12-31")
    it.add_argument("--service-tier", metavar="T", help="only this one, for example batch")
    it = _verb(verbs, "diff", diff, "what would change if FILE took the table's place")
    it.add_argument("--from", dest="source", required=True, metavar="FILE", help=_FROM)
    _add_folder(it)
    it = _verb(verbs, "update", update, "price by FILE from now on, within bounds")
    it.add_argument("--from", dest="source", required=True, metavar="FILE|URL", help=_FROM)
    it.add_argument("--yes", action="store_true", help="do not ask")
    it.add_argument(
        "--accept", action="append", default=[], metavar="MODEL",
        help="take the odd change of this model (or PROVIDER/MODEL); may be repeated",
    )  # fmt: skip
    _add_folder(it)


_FROM: Final = "a table of ours, or the data.json that genai-prices publishes"


def _verb(
    verbs: Any, name: str, run: Callable[[argparse.Namespace], None], purpose: str
) -> argparse.ArgumentParser:
    it: argparse.ArgumentParser = verbs.add_parser(name, help=purpose, description=purpose)
    it.set_defaults(run=run)
    it.add_argument("--json", action="store_true", help="for programs, with stable keys")
    return it


def _add_folder(it: argparse.ArgumentParser) -> None:
    it.add_argument(
        "--folder", type=Path, metavar="DIR", default=_default_folder(),
        help=f"where tables are kept ({library_settings.PRICES}, else prices in the data folder)",
    )  # fmt: skip


def _default_folder() -> Path:
    return library_settings.prices_path() or settings.data_directory() / "prices"


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day such as 2026-12-31") from None


@contextmanager
def _said() -> Iterator[None]:
    """A wrong file ends a command with one line, not with a traceback."""
    try:
        yield
    except ConfigurationError as error:
        raise CommandFailed(str(error), exit_code=NOT_TRIED) from None


# --- show --------------------------------------------------------------------------------


def show(arguments: argparse.Namespace) -> None:
    """Print what a model costs."""
    with _said():
        path, account = library_settings.prices_path(), library_settings.prices_account()
        files = price_files.PriceFiles(None, None)
        if path is not None:
            files = price_files.read(path, account=account)
    prices = Prices(files.table or BUNDLED, files.book)
    noon = arguments.at and datetime.combine(arguments.at, datetime.min.time(), UTC)
    at_s = int(noon.timestamp()) + 12 * 3600 if noon else None
    # Overlay-only providers take any model's name: they are shown to those who name them.
    listing = [each for each in prices.table.providers() if each not in overlay.PROVIDERS]
    providers = [arguments.provider] if arguments.provider else listing
    found = {
        provider: listed
        for provider in providers
        if (
            listed := offers(
                prices,
                provider=provider,
                model=arguments.model,
                service_tier=arguments.service_tier,
                at_s=at_s,
            )
        )
    }
    if not found:
        where = f" of {arguments.provider!r}" if arguments.provider else ""
        raise CommandFailed(
            f"no price for model {arguments.model!r}{where}; add it to a price book "
            f"({library_settings.PRICES})"
        )
    if arguments.json:
        print(json.dumps({"model": arguments.model, "offers": _offer_documents(found)}, indent=2))
        return
    print(_offer_tables(found, Style.detect()))


def _offer_documents(found: dict[str, list[Offered]]) -> list[dict[str, Any]]:
    return [
        {
            "provider": provider,
            "service_tier": offer.service_tier,
            "since": _edge(offer.window.start_s),
            "until": _edge(offer.window.end_s),
            "hours_utc": _hours(offer),
            "status": offer.status.value,
            "price_version": offer.version,
            "sources": list(offer.sources),
            "rates": [
                {
                    "price": line.key,
                    "unit": line.unit,
                    "above_input_tokens": line.above_input_tokens,
                    "usd": line.usd,
                }
                for line in offer.lines
            ],
        }
        for provider, listed in found.items()
        for offer in listed
    ]


def _edge(moment_s: float) -> str | None:
    if abs(moment_s) == float("inf"):
        return None
    return datetime.fromtimestamp(moment_s, UTC).date().isoformat()


def _hours(offer: Offered) -> str | None:
    if offer.hours is None:
        return None
    return "-".join(f"{s // 3600:02}:{s // 60 % 60:02}" for s in offer.hours)


def _when(offer: Offered) -> str:
    since, until = _edge(offer.window.start_s), _edge(offer.window.end_s)
    days = " ".join(
        [*([f"from {since}"] if since else []), *([f"before {until}"] if until else [])]
    )
    return " ".join(filter(None, [days, _hours(offer)])) or "always"


def _offer_tables(found: dict[str, list[Offered]], style: Style) -> str:
    parts = []
    for provider, listed in found.items():
        for offer in listed:
            title = f"{provider}, {offer.service_tier}, {_when(offer)}: {offer.status}"
            rows = [
                [
                    line.key.rpartition("_")[0].replace("_", " "),
                    f"above {line.above_input_tokens:,}" if line.above_input_tokens else "",
                    f"${line.usd}",
                    line.unit,
                ]
                for line in offer.lines
            ]
            columns = [left("price"), left("input tokens"), Column("USD"), left("unit")]
            parts += [style.bold(title), table(columns, rows, style)]
            parts += [style.dim(source) for source in offer.sources] + [""]
    return "\n".join(parts).rstrip()


# --- diff --------------------------------------------------------------------------------


def diff(arguments: argparse.Namespace) -> None:
    """Print what would change."""
    with _said():
        base = price_folder.current(arguments.folder)
        source = read_source(arguments.source, today=datetime.now(UTC).date())
    changes = compare(base, source.table)
    if arguments.json:
        print(json.dumps(_diff_document(base, source, changes), indent=2))
        return
    print(_diff_text(base, source, changes, Style.detect()))


def _counts(changes: Sequence[Change]) -> dict[str, int]:
    counts = dict.fromkeys(("added", "removed", "changed"), 0)
    for change in changes:
        counts[change.kind] += 1
    return {**counts, "odd": sum(bool(change.concern) for change in changes)}


def _diff_document(base: Table, source: Source, changes: Sequence[Change]) -> dict[str, Any]:
    return {
        "against": base.version,
        "from": source.name,
        "sha256": source.sha256,
        "counts": _counts(changes),
        "changes": [
            {
                "kind": change.kind,
                "provider": change.provider,
                "model": change.model,
                **(change.place._asdict() if change.place else {}),
                "before": change.before,
                "after": change.after,
                "percent": change.percent,
                "concern": change.concern or None,
            }
            for change in changes
        ],
    }


def _diff_text(base: Table, source: Source, changes: Sequence[Change], style: Style) -> str:
    if not changes:
        return f"{source.name} says what table {base.version} says"
    ordered = sorted(changes, key=lambda change: not change.concern)
    columns = [
        left(""), left("provider"), left("model"), left("tier"), left("when"), left("price"),
        Column("before"), Column("after"), Column("change"), left("look at"),
    ]  # fmt: skip
    shown = table(columns, [_diff_row(change) for change in ordered[:MOST_LINES_SHOWN]], style)
    counts = ", ".join(f"{count:,} {kind}" for kind, count in _counts(changes).items())
    more = len(changes) - MOST_LINES_SHOWN
    rest = [f"… and {more:,} more; --json has them all"] if more > 0 else []
    return "\n".join([shown, *rest, style.dim(f"{counts}, against table {base.version}")])


def _diff_row(change: Change) -> list[str]:
    place = change.place
    where = ["", "", "whole model"]
    if place is not None:
        above = f" >{place.above_input_tokens:,}" if place.above_input_tokens else ""
        where = [place.tier, place.when, place.key + above]
    rates = [change.before or "-", change.after or "-", change.percent or ""]
    sign = {"added": "+", "removed": "-", "changed": "~"}[change.kind]
    return [sign, change.provider, change.model, *where, *rates, change.concern]


# --- update ------------------------------------------------------------------------------


def update(arguments: argparse.Namespace) -> None:
    """Price by another table from now on."""
    now = datetime.now(UTC)
    with _said():
        base = price_folder.current(arguments.folder)
        source = read_source(arguments.source, today=now.date())
    changes = compare(base, source.table)
    if not arguments.json:
        print(_diff_text(base, source, changes, Style.detect()))
    wanted = [change for change in changes if change.kind != "removed" or change.place]
    if not wanted:
        _finish(arguments, base.version, changes, "nothing to write")
        return
    _refuse_odd(changes, set(arguments.accept))
    _ask(arguments, len(wanted))
    came_from = {
        "source": source.name,
        "sha256": source.sha256,
        "written": now.isoformat(timespec="seconds"),
        "replaces": base.version,
        "accepted": sorted(arguments.accept),
    }
    document = document_of(merged(base, source.table), came_from=came_from)
    entry = {"version": document["version"], **came_from, "counts": _counts(changes)}
    with _said():
        kept = price_folder.write(arguments.folder, document, entry)
    _finish(arguments, document["version"], changes, f"kept as {kept}")


def _refuse_odd(changes: Sequence[Change], accepted: set[str]) -> None:
    odd = dict.fromkeys(
        f"{change.provider}/{change.model}"
        for change in changes
        if change.concern and not {change.model, f"{change.provider}/{change.model}"} & accepted
    )
    if odd:
        named = ", ".join(list(odd)[:MOST_MODELS_NAMED])
        more = f" and {len(odd) - MOST_MODELS_NAMED} more" if len(odd) > MOST_MODELS_NAMED else ""
        raise CommandFailed(
            f"nothing is written: look at {named}{more}, and repeat with --accept MODEL for each "
            "that is right"
        )


def _ask(arguments: argparse.Namespace, count: int) -> None:
    if arguments.yes:
        return
    if arguments.json or not sys.stdin.isatty():
        message = f"nothing is written: {count} changes; repeat with --yes"
        raise CommandFailed(message, exit_code=NOT_TRIED)
    if input(f"write {count} changes to {arguments.folder}? [y/N] ").strip().lower() != "y":
        raise CommandFailed("nothing is written")


def _finish(
    arguments: argparse.Namespace, version: str, changes: Sequence[Change], outcome: str
) -> None:
    if arguments.json:
        counts = _counts(changes)
        print(json.dumps({"version": version, "counts": counts, "outcome": outcome}, indent=2))
        return
    print(f"table {version}: {outcome}")
    if outcome != "nothing to write":
        print(f"to use it: {library_settings.PRICES}={arguments.folder}")
