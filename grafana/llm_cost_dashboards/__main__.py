"""Writes grafana/dashboards/*.json; with `--check` only compares and fails on a difference."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from llm_cost_dashboards import unit_economics

FOLDER: Final = Path(__file__).parents[1] / "dashboards"
_BUILDERS: Final = {"unit-economics.json": unit_economics.dashboard}


def dashboards() -> dict[str, str]:
    """Return the text of every dashboard by its file name."""
    encode = JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False).encode
    return {name: encode(build()) + "\n" for name, build in _BUILDERS.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the files; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m llm_cost_dashboards", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="default: %(default)s")
    options = parser.parse_args(arguments)
    return _check(options.folder) if options.check else _write(options.folder)


def _write(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in dashboards().items():
        (folder / name).write_text(text, encoding="utf-8")
    return 0


def _check(folder: Path) -> int:
    stale = [
        name
        for name, text in dashboards().items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    ]
    for name in stale:
        print(
            f"{folder / name} is not what the code builds; run `make dashboards`", file=sys.stderr
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
