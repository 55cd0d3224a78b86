from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_cost.errors import InvalidAmount
from llm_cost.money import (
    MAX_NANO_USD,
    checked,
    format_usd,
    parse_usd,
    round_half_even,
    usd_display,
)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("five", "not a number"),
        ("", "not a number"),
        ("NaN", "not finite"),
        ("inf", "not finite"),
        ("-1", "never negative"),
        ("0.0000000001", "finer than"),
        ("9223372036.854775808", "outside 0"),
        ("1e400", "out of range"),
        ("1e-400", "out of range"),
        (5.0, "write it as a string"),
        (True, "write it as a string"),
        (None, "write it as a string"),
    ],
)
def test_what_is_no_amount_is_refused_by_name(text: object, part: str) -> None:
    with pytest.raises(InvalidAmount, match=part) as caught:
        parse_usd(text)  # type: ignore[arg-type]  # the point of the test

    assert repr(text) in str(caught.value) or "nano-USD" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "nano_usd"),
    [
        ("$5.00", 5_000_000_000),
        (" 0.50 ", 500_000_000),
        ("0.000000001", 1),
        ("1e-9", 1),
        ("9223372036.854775807", MAX_NANO_USD),
        ("0", 0),
        (5, 5_000_000_000),
        (Decimal("29"), 29_000_000_000),
    ],
)
def test_an_amount_is_read_exactly(text: str | int | Decimal, nano_usd: int) -> None:
    assert parse_usd(text) == nano_usd


def test_the_callers_decimal_context_changes_nothing() -> None:
    with localcontext() as context:
        context.prec = 3

        assert parse_usd("123456.123456789") == 123_456_123_456_789


def test_halves_round_to_even() -> None:
    assert [round_half_even(n, 2) for n in (1, 3, 5, -1, -3)] == [0, 2, 2, 0, -2]


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**18))
def test_rounding_is_that_of_exact_arithmetic(numerator: int, denominator: int) -> None:
    rounded = round_half_even(numerator, denominator)

    assert abs(numerator - rounded * denominator) * 2 <= denominator
    if abs(numerator - rounded * denominator) * 2 == denominator:
        assert rounded % 2 == 0


@given(st.integers(0, MAX_NANO_USD))
def test_what_is_formatted_in_full_reads_back_the_same(nano_usd: int) -> None:
    assert parse_usd(format_usd(nano_usd, places=9).replace(",", "")) == nano_usd


def test_format_groups_thousands_and_rounds_for_the_reader() -> None:
    assert format_usd(1_234_567_890_000) == "$1,234.57"
    assert format_usd(995_000_000) == "$1.00"  # half to even of 99.5 cents
    assert format_usd(-500_000_000) == "-$0.50"
    assert format_usd(1_500_000_000, places=0) == "$2"


def test_a_negative_amount_is_named() -> None:
    with pytest.raises(InvalidAmount, match="limit -1 nano-USD"):
        checked(-1, name="limit")


def test_display_is_usd() -> None:
    assert usd_display(1_500_000_000) == 1.5
