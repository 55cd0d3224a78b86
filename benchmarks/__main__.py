"""`make bench`: every measurement beside its budget, with the machine named."""

import importlib
import os
import platform
import sys
from pathlib import Path

PARTS = ("pricing", "instrumentation", "policy", "processor")
Row = tuple[str, str, str, str]


def machine() -> str:
    """Name the machine: a figure without it says nothing."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return (
        f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"
    )


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    header: Row = ("what", "measured", "must", "aim")
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(4)]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in [header, *rows]
    ]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def main() -> None:
    """Run the parts named on the command line, or all of them."""
    chosen = sys.argv[1:] or list(PARTS)
    print(f"machine: {machine()}\n", flush=True)
    for part in chosen:
        rows: list[Row] = importlib.import_module(f"benchmarks.{part}").measure()
        print(f"## {part}\n\n{table(rows)}\n", flush=True)


if __name__ == "__main__":
    main()
