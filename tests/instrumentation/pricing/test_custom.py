"""The price book: which rule decides, what it does to a price, and what it refuses."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_cost import pricing
from llm_cost.errors import ConfigurationError
from llm_cost.pricing import Cost, PriceStatus, cost_of, table
from llm_cost.pricing.custom import PriceBook
from llm_cost.usage import Usage

TEXT = Usage(input_text_tokens=1_000, output_text_tokens=100)
LIST_NANO_USD = 3_500_000  # gpt-4o: 1000 at $2.50 and 100 at $10 per million


@pytest.fixture(autouse=True)
def _listed_prices_afterwards() -> Iterator[None]:
    yield
    pricing.use()


def _book(*rules: dict[str, Any]) -> PriceBook:
    return PriceBook.from_json({"rules": list(rules)})


def _price(model: str = "gpt-4o", provider: str = "openai", **more: Any) -> Cost:
    return cost_of(TEXT, provider=provider, model=model, **more)


REFUSED: list[tuple[Any, str]] = [
    (None, "a price book is"),
    ([], "a price book is"),
    ({"rules": {}}, "a price book is"),
    ({"rules": [7]}, "rule 1 is 7"),
    ({"rules": [{"model": "a"}]}, "either 'rates' or 'percent_off'"),
    ({"rules": [{"rates": {"input_mtok": "1"}, "percent_off": "5"}]}, "one of the two"),
    ({"rules": [{"percent_off": "5", "modle": "a"}]}, "modle"),
    ({"rules": [{"percent_off": 5.5}]}, "percent_off 5.5"),
    ({"rules": [{"percent_off": "100.1"}]}, "outside -900 to 100"),
    ({"rules": [{"percent_off": "-901"}]}, "outside -900 to 100"),
    ({"rules": [{"percent_off": "1e2"}]}, "percent_off '1e2'"),
    ({"rules": [{"rates": {}}]}, "rates {}"),
    ({"rules": [{"rates": {"input": "1"}}]}, "input_mtok"),
    ({"rules": [{"rates": {"input_mtok": 1.5}}]}, "input_mtok 1.5"),
    ({"rules": [{"rates": {"input_mtok": "-1"}}]}, "'-1' is not USD"),
    ({"rules": [{"rates": {"input_mtok": "nan"}}]}, "'nan' is not USD"),
    ({"rules": [{"rates": {"input_mtok": ["1", [0, "2"]]}}]}, "above 0 tokens"),
    ({"rules": [{"percent_off": "5", "since": "soon"}]}, "since 'soon' is not a day"),
    ({"rules": [{"percent_off": "5", "since": [0, 5]}]}, "is not a day"),
    ({"rules": [{"percent_off": "5", "since": "2026-02-01", "until": "2026-02-01"}]}, "never"),
    ({"rules": [{"percent_off": "5", "model": 3}]}, "model 3 is not a name"),
    ({"rules": [{"percent_off": "5", "account": ""}]}, "account '' is not a name"),
]


@pytest.mark.parametrize(("document", "message"), REFUSED, ids=lambda each: str(each)[:50])
def test_a_book_that_makes_no_sense_is_refused_by_name(document: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message.replace("(", r"\(")):
        PriceBook.from_json(document)


def test_a_discount_is_taken_of_the_listed_price_and_named_in_the_version() -> None:
    book = _book({"provider": "openai", "model": "gpt-4o", "percent_off": "12.5"})
    pricing.use(book=book)

    cost = _price()

    assert (cost.total_nano_usd, cost.status) == (LIST_NANO_USD * 7 // 8, PriceStatus.EXACT)
    assert cost.price_version == f"{table.VERSION}+{book.version}"
    assert book.version.startswith("book.")


def test_a_discount_reaches_the_dated_names_of_the_same_row_and_nothing_else() -> None:
    pricing.use(book=_book({"provider": "openai", "model": "gpt-4o", "percent_off": "50"}))

    assert _price("gpt-4o-2024-11-20").total_nano_usd == LIST_NANO_USD // 2
    assert _price("gpt-4o-mini").price_version == table.VERSION
    assert _price("gpt-4o", "azure.ai.openai").price_version == table.VERSION


def test_rates_of_ones_own_replace_the_listed_ones_and_are_exact() -> None:
    book = _book({"model": "gpt-4o", "rates": {"input_mtok": "2", "output_mtok": "7"}})
    pricing.use(book=book)

    cost = _price(provider="azure.ai.openai")

    assert cost.total_nano_usd == 2_000_000 + 700_000
    assert (cost.status, cost.price_version) == (PriceStatus.EXACT, book.version)


def test_a_bucket_that_the_contract_does_not_name_is_partial() -> None:
    pricing.use(book=_book({"model": "gpt-4o", "rates": {"input_mtok": "2"}}))

    assert _price().status is PriceStatus.PARTIAL


def test_a_model_that_no_table_knows_gets_its_price_from_the_book() -> None:
    pricing.use(
        book=_book(
            {
                "provider": "vllm",
                "model": "llama-*",
                "rates": {"input_mtok": "1", "output_mtok": "1"},
            },
            {"provider": "vllm", "percent_off": "10"},
        )
    )

    assert _price("llama-4-70b", "vllm").total_nano_usd == 1_100_000
    assert _price("qwen", "vllm").status is PriceStatus.UNKNOWN


def test_the_first_rule_that_fits_decides() -> None:
    pricing.use(
        book=_book(
            {"provider": "openai", "model": "gpt-4o", "percent_off": "10"},
            {"provider": "*", "model": "*", "percent_off": "50"},
        )
    )

    assert _price().total_nano_usd == LIST_NANO_USD * 9 // 10
    assert _price("gpt-4o-mini").total_nano_usd == 210_000 // 2


def test_a_contract_holds_from_its_first_day_to_before_its_last() -> None:
    pricing.use(book=_book({"percent_off": "50", "since": "2026-11-01", "until": "2026-12-01"}))
    start, end = (datetime(2026, month, 1, tzinfo=UTC).timestamp() for month in (11, 12))

    totals = [_price(at=at).total_nano_usd for at in (start - 0.5, start, end - 0.5, end, start)]

    half = LIST_NANO_USD // 2
    assert totals == [LIST_NANO_USD, half, half, LIST_NANO_USD, half]


def test_rates_speak_for_the_standard_tier_and_a_percentage_for_every_one() -> None:
    pricing.use(book=_book({"model": "gpt-4o", "rates": {"input_mtok": "2", "output_mtok": "7"}}))
    batch_beside_rates = _price(service_tier="batch")
    pricing.use(book=_book({"model": "gpt-4o", "percent_off": "20"}))
    batch_with_discount = _price(service_tier="batch")

    assert batch_beside_rates.total_nano_usd == LIST_NANO_USD // 2
    assert batch_beside_rates.price_version == table.VERSION
    assert batch_with_discount.total_nano_usd == LIST_NANO_USD // 2 * 4 // 5


def test_a_rule_for_one_tier_leaves_the_others() -> None:
    pricing.use(book=_book({"service_tier": "batch", "percent_off": "100"}))

    assert _price(service_tier="batch").total_nano_usd == 0
    assert _price().total_nano_usd == _price(service_tier="default").total_nano_usd == LIST_NANO_USD


def test_a_discount_does_not_make_a_borrowed_price_exact() -> None:
    pricing.use(book=_book({"provider": "azure", "percent_off": "10"}))

    assert _price("claude-sonnet-4-5", "azure.ai.inference").status is PriceStatus.FALLBACK


def test_each_account_sees_its_own_rules_and_those_for_all() -> None:
    book = _book(
        {"account": "acme", "percent_off": "50"},
        {"account": "other", "percent_off": "25"},
        {"percent_off": "10"},
    )
    totals = []
    for account in ("acme", "other", "third", None):
        pricing.use(book=book.for_account(account))
        totals.append(_price().total_nano_usd)

    assert totals == [LIST_NANO_USD * rest // 100 for rest in (50, 75, 90, 90)]


def test_without_a_book_the_listed_price_is_back() -> None:
    pricing.use(book=_book({"percent_off": "50"}))
    discounted = _price()
    pricing.use()

    assert discounted.total_nano_usd == LIST_NANO_USD // 2
    assert _price().total_nano_usd == LIST_NANO_USD


@given(tokens=st.integers(0, 2_000_000), tenths=st.integers(-9_000, 1_000))
def test_the_percentage_is_taken_before_the_one_rounding(tokens: int, tenths: int) -> None:
    percent = f"{'-' if tenths < 0 else ''}{abs(tenths) // 10}.{abs(tenths) % 10}"
    pricing.use(book=_book({"percent_off": percent}))

    cost = cost_of(Usage(tokens), provider="google", model="gemini-2.5-flash-lite")

    paid = 1 - Fraction(percent) / 100
    assert cost.input_nano_usd == round(Fraction("0.1") * 1_000 * tokens * paid)


def test_an_application_without_a_book_does_not_load_its_reader() -> None:
    code = (
        "import sys; import llm_cost.pricing as p; from llm_cost.usage import Usage; "
        "p.cost_of(Usage(5), provider='openai', model='gpt-4o'); "
        "print('llm_cost.pricing.custom' in sys.modules, 'hashlib' in sys.modules)"
    )

    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout

    assert loaded.split() == [b"False", b"False"]
