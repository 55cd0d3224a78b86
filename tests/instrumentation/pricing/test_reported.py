"""Costs that a provider reports: exact from JSON, or unknown, and never an exception."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_cost.pricing import PriceStatus, cost_of, cost_reported
from llm_cost.usage import Usage


@pytest.mark.parametrize(
    "amount",
    [
        None, True, -0.01, "-1", float("nan"), float("inf"), "", "free", b"1", [1], {}, "1e999999",
        Decimal("sNaN"), "9" * 100, 10**20, 1e300, 1e-300,
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_amount_is_unknown(amount: Any) -> None:
    cost = cost_reported(amount, by="openrouter")

    assert (cost.total_nano_usd, cost.status) == (None, PriceStatus.UNKNOWN)


@pytest.mark.parametrize(
    ("amount", "nano_usd"),
    [
        (0.0000125, 12_500),
        (0.00493, 4_930_000),
        ("0.00493", 4_930_000),
        (Decimal("1.5e-9"), 2),
        (2.5e-9, 2),
        (0.1 + 0.2, 300_000_000),
        (3, 3_000_000_000),
        (-0.0, 0),
    ],
)
def test_an_amount_is_read_by_its_text_and_rounded_half_to_even(amount: Any, nano_usd: int) -> None:
    cost = cost_reported(amount, by="openrouter")

    assert (cost.total_nano_usd, cost.status) == (nano_usd, PriceStatus.EXACT)
    assert (cost.price_version, cost.source) == ("reported.openrouter", "provider")


@given(st.integers(0, 10**15))
def test_every_nano_usd_survives_json(nano_usd: int) -> None:
    text = f"{nano_usd // 10**9}.{nano_usd % 10**9:09d}"

    assert cost_reported(json.loads(text), by="x").total_nano_usd == nano_usd


def test_parts_that_are_told_are_kept_and_the_rest_is_unallocated() -> None:
    cost = cost_reported(
        0.0106, by="perplexity", input_amount=0.0001, output_amount=0.0005, tools_amount="junk"
    )

    assert (cost.input_nano_usd, cost.output_nano_usd, cost.tools_nano_usd) == (
        100_000,
        500_000,
        0,
    )
    assert cost.unallocated_nano_usd == 10_000_000


def test_parts_beyond_their_total_are_left_out() -> None:
    cost = cost_reported(0.001, by="x", input_amount=0.002)

    assert (cost.input_nano_usd, cost.unallocated_nano_usd) == (0, 1_000_000)


def test_a_zero_of_those_who_write_it_for_the_unknown_is_unknown() -> None:
    assert cost_reported(0.0, by="litellm", zero_is_unknown=True).total_nano_usd is None
    assert cost_reported(0.0, by="openrouter").total_nano_usd == 0


def test_a_cost_of_ours_is_local_and_has_every_part() -> None:
    cost = cost_of(Usage(1_000, output_text_tokens=5), provider="openai", model="gpt-4o")

    assert (cost.source, cost.unallocated_nano_usd) == ("local", 0)
