"""Text for a plain terminal: aligned tables, bars, amounts. Pure but for `Style.detect`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from llm_cost.money import NANO_PER_USD, format_usd
from llm_cost_cli import settings

_CELL_LIMIT: Final = 40  # a user id may have 256 bytes; a row has one line


@dataclass(frozen=True, slots=True)
class Style:
    """Escape codes, or nothing at all where they would be noise."""

    colour: bool = False

    @classmethod
    def detect(cls) -> "Style":
        """Return the style of this process's terminal."""
        return cls(colour=settings.wants_colour())

    def bold(self, text: str) -> str:
        """Emphasise."""
        return self._in("1", text)

    def dim(self, text: str) -> str:
        """Step back."""
        return self._in("2", text)

    def good(self, text: str) -> str:
        """Green."""
        return self._in("32", text)

    def bad(self, text: str) -> str:
        """Red."""
        return self._in("31", text)

    def _in(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column; numbers stand right."""

    title: str
    side: Literal["left", "right"] = "right"


def left(title: str) -> Column:
    """Return a column of words."""
    return Column(title, "left")


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], style: Style) -> str:
    """Return `rows` under their titles, each column as wide as it must be."""
    cells = [[_fit(cell) for cell in row] for row in rows]
    widths = [
        max(len(column.title), *(len(row[at]) for row in cells), 0)
        for at, column in enumerate(columns)
    ]
    titles = _line([column.title for column in columns], columns, widths)
    rule = "  ".join("─" * width for width in widths)
    lines = [_line(row, columns, widths) for row in cells]
    return "\n".join([style.bold(titles), style.dim(rule), *lines])


def bar(part: int, whole: int | None, *, width: int = 10) -> str:
    """Return how much of `whole` is used, as a bar and a percentage."""
    if whole is None:
        return "no limit"
    percent = part * 100 // whole if whole else 100
    full = min(width, part * width // whole if whole else width)
    return f"{'█' * full}{'░' * (width - full)} {percent:>3}%"


def usd(nano_usd: int | None, *, places: int = 2) -> str:
    """Return an amount for a reader; what is too small to show says so."""
    if nano_usd is None:
        return "-"
    smallest_nano_usd = NANO_PER_USD // 10**places
    if 0 < nano_usd <= smallest_nano_usd // 2:
        return f"<{format_usd(smallest_nano_usd, places=places)}"
    return format_usd(nano_usd, places=places)


def exact_usd(nano_usd: int | None) -> str | None:
    """Return an amount for a program: "1234.500000000", to the nano-USD."""
    if nano_usd is None:
        return None
    return format_usd(nano_usd, places=9).replace("$", "").replace(",", "")


def _line(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    placed = (
        cell.ljust(width) if column.side == "left" else cell.rjust(width)
        for cell, column, width in zip(cells, columns, widths, strict=True)
    )
    return "  ".join(placed).rstrip()


def _fit(cell: str) -> str:
    """Keep a foreign text to one line, and its control characters from the terminal."""
    plain = "".join(character if character.isprintable() else "�" for character in cell)
    return plain if len(plain) <= _CELL_LIMIT else plain[: _CELL_LIMIT - 1] + "…"
