"""Tables line up, amounts are never rounded away, and foreign text stays in its cell."""

import pytest

from llm_cost_cli.terminal import Column, Style, bar, exact_usd, left, table, usd

PLAIN = Style(colour=False)


def test_a_control_character_does_not_reach_the_terminal() -> None:
    drawn = table([left("user")], [["a\x1b[31mb\nc"]], PLAIN)

    assert "\x1b" not in drawn
    assert len(drawn.splitlines()) == 3


def test_a_long_cell_is_cut_and_says_so() -> None:
    drawn = table([left("user")], [["u" * 256]], PLAIN)

    assert drawn.splitlines()[2] == "u" * 39 + "…"


def test_columns_line_up() -> None:
    drawn = table([left("tier"), Column("spend")], [["free", "$1.00"], ["pro", "$1,234.50"]], PLAIN)

    assert drawn.splitlines() == [
        "tier      spend",
        "────  ─────────",
        "free      $1.00",
        "pro   $1,234.50",
    ]


def test_a_table_without_rows_is_its_titles() -> None:
    assert table([left("tier")], [], PLAIN).splitlines() == ["tier", "────"]


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [
        (0, 100, "░░░░░░░░░░   0%"),
        (99, 100, "█████████░  99%"),
        (100, 100, "██████████ 100%"),
        (250, 100, "██████████ 250%"),
        (0, 0, "██████████ 100%"),
        (5, None, "no limit"),
    ],
)
def test_a_bar_is_full_only_when_the_limit_is_reached(
    part: int, whole: int | None, expected: str
) -> None:
    assert bar(part, whole) == expected


@pytest.mark.parametrize(
    ("nano_usd", "expected"),
    [(None, "-"), (0, "$0.00"), (1, "<$0.01"), (5_000_000, "<$0.01"),
     (5_000_001, "$0.01"), (1_234_567_890_000, "$1,234.57"), (-2_500_000_000, "-$2.50")],
)  # fmt: skip
def test_an_amount_for_a_reader(nano_usd: int | None, expected: str) -> None:
    assert usd(nano_usd) == expected


def test_an_amount_too_small_for_its_places_is_not_shown_as_nothing() -> None:
    assert usd(400, places=4) == "<$0.0001"
    assert usd(50_001, places=4) == "$0.0001"


@pytest.mark.parametrize(
    ("nano_usd", "expected"),
    [(None, None), (1, "0.000000001"), (1_234_567_890_123, "1234.567890123")],
)
def test_an_amount_for_a_program_is_exact(nano_usd: int | None, expected: str | None) -> None:
    assert exact_usd(nano_usd) == expected


def test_no_colour_no_escape_codes() -> None:
    assert PLAIN.bold("x") == "x"
    assert Style(colour=True).bold("x") == "\x1b[1mx\x1b[0m"
