"""Which prices a process uses: by a file, by a folder, and by the environment."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_cost import price_files, pricing, settings
from llm_cost.errors import ConfigurationError
from llm_cost.pricing import cost_of
from llm_cost.pricing.catalog import BUNDLED
from llm_cost.pricing.stored import document_of, table_of
from llm_cost.usage import Usage

ROOT = Path(__file__).parents[2]
HALF = {"rules": [{"percent_off": "50"}, {"account": "acme", "percent_off": "90"}]}


@pytest.fixture(autouse=True)
def _listed_prices_afterwards() -> Iterator[None]:
    yield
    pricing.use()


def _written(path: Path, document: Any) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def _total() -> int | None:
    return cost_of(Usage(1_000), provider="openai", model="gpt-4o").total_nano_usd


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ({"rules": [{}]}, "rule 1 needs"),
        ({"form": "llm-cost/price-table/1"}, "date of the price table|has a date"),
        ({"form": "llm-cost/price-table/1", "date": "2026-12-01", "providers": {}}, "was edited"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(document: Any, message: str, tmp_path: Path) -> None:
    path = _written(tmp_path / "prices.json", document)

    with pytest.raises(ConfigurationError, match=f"{path}.*({message})"):
        price_files.read(path)


def test_a_file_that_is_not_there_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.json: No such file"):
        price_files.read(tmp_path / "none.json")
    with pytest.raises(ConfigurationError, match=r"no table\.json and no book\.json"):
        price_files.read(tmp_path)


def test_a_folder_gives_its_table_and_its_book(tmp_path: Path) -> None:
    document = document_of(BUNDLED, came_from={"source": "a test"})
    _written(tmp_path / "table.json", document)
    _written(tmp_path / "book.json", HALF)

    price_files.use(tmp_path)

    cost = cost_of(Usage(1_000), provider="openai", model="gpt-4o")
    assert cost.total_nano_usd == 1_250_000
    assert cost.price_version.startswith(f"{document['version']}+book.")


def test_a_stored_table_says_what_the_bundled_one_says() -> None:
    stored = table_of(json.loads(json.dumps(document_of(BUNDLED, came_from={}))))

    assert stored.providers() == BUNDLED.providers()
    assert all(
        list(stored.listed(each).rows) == list(BUNDLED.listed(each).rows)
        for each in BUNDLED.providers()
    )
    for name in ("azure.ai.openai", "amazon-bedrock", "vertex", "nobody"):
        assert stored.provider_id(name) == BUNDLED.provider_id(name)


def test_settings_name_the_file_and_the_account() -> None:
    given = {"LLM_COST_PRICES": " prices ", "LLM_COST_PRICES_ACCOUNT": "acme"}

    assert settings.prices_path(given) == Path("prices")
    assert settings.prices_account(given) == "acme"
    assert settings.prices_path({}) is settings.prices_account({}) is None


def _in_a_process(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


PRICE_OF_A_CALL = """
from llm_cost.providers.openai import OpenAIInstrumentor
OpenAIInstrumentor().instrument()
from llm_cost.pricing import cost_of
from llm_cost.usage import Usage
print(cost_of(Usage(1000), provider="openai", model="gpt-4o").total_nano_usd)
"""


def test_an_instrumented_application_prices_by_what_its_environment_names(tmp_path: Path) -> None:
    book = _written(tmp_path / "book.json", HALF)

    done = _in_a_process(PRICE_OF_A_CALL, LLM_COST_PRICES=str(book))

    assert done.stdout.split() == ["1250000"]


def test_a_wrong_file_is_logged_and_the_bundled_prices_stay(tmp_path: Path) -> None:
    book = _written(tmp_path / "book.json", "{")

    done = _in_a_process(PRICE_OF_A_CALL, LLM_COST_PRICES=str(book))

    assert done.stdout.split() == ["2500000"]
    assert f"price file {book} is not JSON" in done.stderr


def test_the_processor_does_not_start_with_prices_that_it_cannot_read(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "llm_cost_processor"],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "LLM_COST_PRICES": str(tmp_path / "none.json")},
    )

    assert done.returncode == 2
    assert "none.json: No such file" in done.stderr
