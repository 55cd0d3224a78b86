"""`llm-cost prices`: what is shown, what a new table would change, and what is refused."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from genai_prices import types
from genai_prices.data_snapshot import get_snapshot

from llm_cost import price_files, pricing
from llm_cost.pricing import cost_of, table
from llm_cost.pricing.catalog import BUNDLED
from llm_cost.pricing.comparison import compare
from llm_cost.usage import Usage
from llm_cost_cli.__main__ import main
from llm_cost_cli.price_sources import read_source

TODAY = date(2026, 12, 1)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LLM_COST_PRICES", raising=False)
    monkeypatch.delenv("LLM_COST_DATA", raising=False)
    yield
    pricing.use()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, str]]:
    def command(*arguments: str, expected: int = 0) -> tuple[str, str]:
        code = main(["prices", *arguments])
        printed = capsys.readouterr()
        assert code == expected, printed.err
        return printed.out, printed.err

    return command


# --- the form that genai-prices publishes, made of the installed release ------------------


def _clause(match: Any) -> dict[str, Any]:
    if isinstance(match, types.ClauseOr):
        return {"or": [_clause(each) for each in match.or_]}
    if isinstance(match, types.ClauseAnd):
        return {"and": [_clause(each) for each in match.and_]}
    ((name, text),) = vars(match).items()
    return {name: text}


def _number(price: Any) -> Any:
    if isinstance(price, types.TieredPrices):
        tiers = [{"start": tier.start, "price": _number(tier.price)} for tier in price.tiers]
        return {"base": _number(price.base), "tiers": tiers}
    return json.loads(format(price, "f"))


def _rates(prices: types.ModelPrice) -> dict[str, Any]:
    return {key: _number(price) for key, price in vars(prices).items() if price is not None}


def _held(each: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"prices": _rates(each.prices)}
    constraint = each.constraint
    if isinstance(constraint, types.StartDateConstraint):
        made["constraint"] = {"start_date": constraint.start_date.isoformat()}
    elif constraint is not None:
        made["constraint"] = {
            "start_time": constraint.start_time.isoformat().replace("+00:00", "Z"),
            "end_time": constraint.end_time.isoformat().replace("+00:00", "Z"),
        }
    return made


def _published() -> list[dict[str, Any]]:
    return [
        {
            "id": provider.id,
            "name": provider.name,
            "provider_match": provider.provider_match and _clause(provider.provider_match),
            "fallback_model_providers": provider.fallback_model_providers,
            "models": [
                {
                    "id": model.id,
                    "match": _clause(model.match),
                    "prices": _rates(model.prices)
                    if isinstance(model.prices, types.ModelPrice)
                    else [_held(each) for each in model.prices],
                    "price_variants": [
                        {"when": each.when, **_held(each)} for each in model.price_variants or ()
                    ],
                }
                for model in provider.models
            ],
        }
        for provider in get_snapshot().providers
    ]


def _of(published: list[dict[str, Any]], provider: str, model: str) -> dict[str, Any]:
    models = next(each["models"] for each in published if each["id"] == provider)
    found: dict[str, Any] = next(each for each in models if each["id"] == model)
    return found


@pytest.fixture(scope="module")
def published_text() -> str:
    return json.dumps(_published())


@pytest.fixture
def published(published_text: str) -> Any:
    return json.loads(published_text)


def _written(path: Path, document: Any) -> str:
    path.write_text(json.dumps(document))
    return str(path)


# --- bad input ----------------------------------------------------------------------------

WRONG: list[tuple[str, str]] = [
    ("{", "is not JSON"),
    ("[]", "neither a price table of ours"),
    ('{"form": "other"}', "neither a price table of ours"),
    ('[{"id": "a"}]', "neither a price table of ours nor one of genai-prices"),
    ('[{"id": "a", "models": [{"id": "m", "match": {"regex": "("}, "prices": {}}]}]', "pattern"),
    (
        '[{"id": "a", "models": [{"id": "m", "match": {"equals": "m"}, '
        '"prices": {"input_mtok": -1}}]}]',
        "'-1' is not USD",
    ),
    (
        '[{"id": "a", "models": [{"id": "m", "match": {"equals": "m"}, '
        '"prices": {"input_mtok": NaN}}]}]',
        "is not USD",
    ),
    (
        '[{"id": "a", "models": [{"id": "m", "match": {"equals": "m"}, "prices": '
        '[{"constraint": {"start_date": "soon"}, "prices": {"input_mtok": 1}}]}]}]',
        "'soon' is not null",
    ),
]


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[text[:30] for text, _ in WRONG])
def test_a_file_that_is_no_table_is_refused_by_name(
    text: str, message: str, tmp_path: Path, run: Callable[..., tuple[str, str]]
) -> None:
    path = tmp_path / "prices.json"
    path.write_text(text)

    for verb in ("diff", "update"):
        _, error = run(verb, "--from", str(path), expected=2)

        assert message in error
        assert str(path) in error


def test_a_file_that_is_not_there_is_named(run: Callable[..., tuple[str, str]]) -> None:
    assert "nowhere.json: No such file" in run("diff", "--from", "nowhere.json", expected=2)[1]


def test_prices_are_not_fetched_in_the_clear(run: Callable[..., tuple[str, str]]) -> None:
    _, error = run("update", "--from", "http://prices.example/data.json", expected=2)

    assert "use https" in error


def test_an_edited_table_is_refused(
    tmp_path: Path, published: Any, run: Callable[..., tuple[str, str]]
) -> None:
    _of(published, "openai", "gpt-4o")["prices"]["input_mtok"] = 2
    run("update", "--from", _written(tmp_path / "new.json", published), "--yes")
    path = tmp_path / ".llm-cost/prices/table.json"
    path.write_text(path.read_text().replace('"2"', '"1"', 1))

    assert "it was edited" in run("diff", "--from", str(tmp_path / "new.json"), expected=2)[1]


# --- show ---------------------------------------------------------------------------------


def test_an_unknown_model_is_named(run: Callable[..., tuple[str, str]]) -> None:
    assert "no price for model 'gpt-none'" in run("show", "gpt-none", expected=1)[1]


def test_dates_tiers_and_steps_of_a_model_are_shown(run: Callable[..., tuple[str, str]]) -> None:
    out, _ = run("show", "gemini-2.5-pro", "--provider", "google")

    assert "google, standard, always: exact" in out
    assert "google, batch, from 2026-10-14: exact" in out
    assert ["input", "above", "200,000", "$2.5", "per", "million", "tokens"] in [
        line.split() for line in out.splitlines()
    ]
    assert f"table {table.VERSION}" in out


def test_one_day_and_one_tier_for_a_program(run: Callable[..., tuple[str, str]]) -> None:
    out, _ = run(
        "show", "deepseek-chat", "--provider", "deepseek", "--at", "2026-05-01",
        "--service-tier", "standard", "--json",
    )  # fmt: skip

    (offer,) = json.loads(out)["offers"]
    assert (offer["since"], offer["status"]) == ("2026-04-01", "exact")
    assert {rate["price"]: rate["usd"] for rate in offer["rates"]} == {
        "input_mtok": "0.28", "cache_read_mtok": "0.028", "output_mtok": "0.42",
    }  # fmt: skip
    assert offer["sources"][0].startswith("overlay: DeepSeek price list of April 2026")


def test_what_is_shown_is_what_a_call_costs_with_a_book(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., tuple[str, str]]
) -> None:
    book = _written(tmp_path / "book.json", {"rules": [{"model": "gpt-4o", "percent_off": "20"}]})
    monkeypatch.setenv("LLM_COST_PRICES", book)
    price_files.use(Path(book))

    out, _ = run("show", "gpt-4o", "--provider", "openai", "--service-tier", "standard", "--json")

    rates = {r["price"]: r["usd"] for r in json.loads(out)["offers"][0]["rates"]}
    cost = cost_of(Usage(1_000_000), provider="openai", model="gpt-4o")
    assert (rates["input_mtok"], cost.total_nano_usd) == ("2", 2_000_000_000)


# --- diff ---------------------------------------------------------------------------------


def test_the_published_form_of_the_same_release_changes_nothing(
    tmp_path: Path, published: Any
) -> None:
    path = _written(tmp_path / "same.json", published)

    assert compare(BUNDLED, read_source(path, today=TODAY).table) == []


def test_changed_added_and_removed_prices_are_listed_with_their_percentage(
    tmp_path: Path, published: Any, run: Callable[..., tuple[str, str]]
) -> None:
    gpt = _of(published, "openai", "gpt-4o")
    gpt["prices"]["input_mtok"] = 3
    published[0]["models"].append(
        {"id": "new-model", "match": {"equals": "new-model"}, "prices": {"input_mtok": 1}}
    )
    models = next(each["models"] for each in published if each["id"] == "groq")
    gone = models.pop()["id"]
    path = _written(tmp_path / "new.json", published)

    found = json.loads(run("diff", "--from", path, "--json")[0])
    text, _ = run("diff", "--from", path)

    assert found["counts"] == {"added": 1, "removed": 1, "changed": 1, "odd": 0}
    changed = next(each for each in found["changes"] if each["kind"] == "changed")
    assert (changed["model"], changed["key"]) == ("gpt-4o", "input_mtok")
    assert (changed["before"], changed["after"], changed["percent"]) == ("2.5", "3", "+20.0%")
    assert gone in text
    assert "new-model" in text


def test_a_new_row_that_catches_an_old_name_shows_as_a_change_of_that_model(
    tmp_path: Path, published: Any, run: Callable[..., tuple[str, str]]
) -> None:
    models = next(each["models"] for each in published if each["id"] == "openai")
    models.insert(
        0, {"id": "catch-all", "match": {"contains": "gpt-4o"}, "prices": {"input_mtok": 99}}
    )
    path = _written(tmp_path / "new.json", published)

    changes = json.loads(run("diff", "--from", path, "--json")[0])["changes"]

    caught = [each for each in changes if each["model"] == "gpt-4o-mini"]
    assert any("is matched by catch-all instead" in (each["concern"] or "") for each in caught)


# --- update -------------------------------------------------------------------------------


def test_without_yes_nothing_is_written(
    tmp_path: Path, published: Any, run: Callable[..., tuple[str, str]]
) -> None:
    _of(published, "openai", "gpt-4o")["prices"]["input_mtok"] = 3
    path = _written(tmp_path / "new.json", published)

    _, error = run("update", "--from", path, expected=2)

    assert "repeat with --yes" in error
    assert not (tmp_path / ".llm-cost").exists()


@pytest.mark.parametrize("usd", [0, 0.25, 25, "dated"])
def test_an_odd_rate_is_refused_until_its_model_is_accepted(
    usd: Any, tmp_path: Path, published: Any, run: Callable[..., tuple[str, str]]
) -> None:
    gpt = _of(published, "openai", "gpt-4o")
    if usd == "dated":
        # A slipped digit hides just as well behind a start date.
        later = {**gpt["prices"], "input_mtok": 25}
        gpt["prices"] = [
            {"prices": gpt["prices"]},
            {"prices": later, "constraint": {"start_date": "2026-12-01"}},
        ]
    else:
        gpt["prices"]["input_mtok"] = usd
    path = _written(tmp_path / "new.json", published)

    _, error = run("update", "--from", path, "--yes", expected=1)
    assert "openai/gpt-4o" in error
    assert not (tmp_path / ".llm-cost").exists()

    run("update", "--from", path, "--yes", "--accept", "gpt-4o")
    assert (tmp_path / ".llm-cost/prices/table.json").exists()


def test_an_update_is_kept_dated_hashed_and_priced_by(
    tmp_path: Path, published: Any, run: Callable[..., tuple[str, str]]
) -> None:
    _of(published, "openai", "gpt-4o")["prices"]["input_mtok"] = 3
    next(each["models"] for each in published if each["id"] == "groq").clear()
    path = _written(tmp_path / "new.json", published)
    folder = tmp_path / "kept"

    out, _ = run("update", "--from", path, "--yes", "--folder", str(folder))
    again, _ = run("update", "--from", path, "--yes", "--folder", str(folder))

    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert len(history) == 1
    assert len(history[0]["sha256"]) == 64
    assert history[0]["replaces"] == table.VERSION
    version = history[0]["version"]
    assert (folder / "tables" / f"{version}.json").exists()
    assert "+20.0%" in out
    assert "nothing to write" in again
    price_files.use(folder)
    cost = cost_of(Usage(1_000_000), provider="openai", model="gpt-4o")
    assert (cost.total_nano_usd, cost.price_version) == (3_000_000_000, version)
    # What the new file no longer lists keeps its price: last year's calls need one.
    old = cost_of(Usage(1_000_000), provider="groq", model="llama-3.1-8b-instant")
    assert old.total_nano_usd == 50_000_000


def test_an_earlier_table_comes_back_by_an_update_from_it(
    tmp_path: Path, published: Any, run: Callable[..., tuple[str, str]]
) -> None:
    gpt = _of(published, "openai", "gpt-4o")
    for usd in (3, 4):
        gpt["prices"]["input_mtok"] = usd
        run("update", "--from", _written(tmp_path / "new.json", published), "--yes")
    history = (tmp_path / ".llm-cost/prices/history.jsonl").read_text().splitlines()
    first = json.loads(history[0])["version"]

    run("update", "--from", f".llm-cost/prices/tables/{first}.json", "--yes")

    price_files.use(tmp_path / ".llm-cost/prices")
    cost = cost_of(Usage(1_000_000), provider="openai", model="gpt-4o")
    assert (cost.total_nano_usd, cost.price_version) == (3_000_000_000, first)


def test_a_table_is_fetched_over_http_from_this_machine(
    tmp_path: Path, published: Any, run: Callable[..., tuple[str, str]]
) -> None:
    _of(published, "openai", "gpt-4o")["prices"]["input_mtok"] = 3
    _written(tmp_path / "data.json", published)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"

        missing = run("update", "--from", f"{address}/none.json", "--yes", expected=2)[1]
        run("update", "--from", f"{address}/data.json", "--yes")
        server.shutdown()

    assert "404" in missing
    assert (tmp_path / ".llm-cost/prices/table.json").exists()
