"""docs/coverage.md: client by way of calling, each cell what a test of that name saw.

A test that shows one way of calling says so by a marker:

    @pytest.mark.covers("cohere", "chat stream")

and its cell is then read from what the gate was told while it ran, not from the test's word.
Whether the cell is in the sync or the async column follows from the test function itself.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from support.recording import RecordingGate

DOCUMENT = Path(__file__).parents[2] / "docs" / "coverage.md"
COLUMNS = ("sync", "async")
NOT_TESTED = "—"

_INTRODUCTION = """# What is measured, by client and way of calling

Made by `make coverage-table` from the test run; every cell is what a test with the real client saw.

| cell | meaning |
|---|---|
| ok | the provider told the usage, and the price is exact |
| ok, price partial | the usage is told; a part of it has no price of its own (`docs/pricing.md`) |
| ok, price fallback | the usage is told; the price is the vendor's or the standard tier's |
| estimated | nobody told the usage; it is estimated and marked so |
| unknown | billed, and there is no price: unknown, never 0 |
| free | not billed, or billed elsewhere: no span, nothing reserved, nothing settled |
| later | work that goes on: booked at an estimate now, at its usage when its result is read |
| — | no test |
"""


class Cell(NamedTuple):
    client: str
    way: str
    column: str


def seen_by(gate: RecordingGate) -> str:
    """Return what a call came to, as the gate was told."""
    if not gate.settled:
        return "free" if not gate.reserved else "nothing settled"
    settled = gate.settled[-1]
    if gate.voided and settled.usage_source == "estimated":
        return "later"
    if settled.usage_source == "estimated":
        return "estimated"
    if settled.actual_nano_usd is None:
        return "unknown"
    return "ok" if settled.price_status == "exact" else f"ok, price {settled.price_status}"


class Coverage:
    """The cells of one run."""

    def __init__(self) -> None:
        self.cells: dict[Cell, str] = {}
        self.is_whole = False

    def saw(self, cell: Cell, seen: str) -> None:
        """Note what a test saw; two tests of one cell must agree, or both are shown."""
        before = self.cells.get(cell)
        both = {seen, *(before.split(" / ") if before else ())}
        self.cells[cell] = " / ".join(sorted(both))

    def completed(self, document: Path) -> dict[Cell, str]:
        """Return the cells of a whole run; of a part of one, with the rest as `document` has it."""
        if self.is_whole or not document.exists():
            return self.cells
        return {**read(document.read_text()), **self.cells}


def written(cells: dict[Cell, str]) -> str:
    """Return the document for `cells`."""
    lines = [_INTRODUCTION]
    for client in sorted({cell.client for cell in cells}):
        lines.append(f"\n## {client}\n\n| way of calling | sync | async |\n|---|---|---|\n")
        for way in sorted({cell.way for cell in cells if cell.client == client}):
            row = (cells.get(Cell(client, way, column), NOT_TESTED) for column in COLUMNS)
            lines.append(f"| {way} | {' | '.join(row)} |\n")
    return "".join(lines)


def read(document: str) -> dict[Cell, str]:
    """Return the cells of a document that `written` made."""
    cells: dict[Cell, str] = {}
    for section in re.split(r"^## ", document, flags=re.MULTILINE)[1:]:
        client, _, table = section.partition("\n")
        for way, *row in _rows(table.splitlines()):
            for column, seen in zip(COLUMNS, row, strict=True):
                if seen != NOT_TESTED:
                    cells[Cell(client.strip(), way, column)] = seen
    return cells


def _rows(lines: Iterable[str]) -> Iterable[list[str]]:
    rows = ([part.strip() for part in line.strip("|").split("|")] for line in lines if line)
    return [row for row in rows if row[0] != "way of calling" and not row[0].startswith("---")]
