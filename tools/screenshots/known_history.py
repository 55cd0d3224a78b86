"""Takes the picture of a dashboard over six hours of known, synthetic spend. Developers only.

    PYTHONPATH=tests .venv/bin/python tools/screenshots/known_history.py OUT.png

The history is that of `tests/support/known_spend.py` with waves, written into a Prometheus by
promtool; no service of ours has part in it.
"""

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest

from support.known_spend import KnownSpend
from support.prometheus import prometheus

HISTORY_S = 6 * 3600
STEP_S = 15
AHEAD_S = 180  # the page is built first, and must find samples up to its own present
WAVE_S = {"free": 7_000, "pro": 11_000, "enterprise": 16_000}
RIPPLE_S = 1_900
ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "grafana" / "dashboards" / "unit-economics.json"


def busy_seconds(tier: str, elapsed_s: float) -> float:
    """Elapsed time, stretched and squeezed in waves; never running backwards."""

    def wave(period_s: float, depth: float) -> float:
        return depth * period_s / math.tau * (1 - math.cos(math.tau * elapsed_s / period_s))

    return elapsed_s + wave(WAVE_S[tier], 0.55) + wave(RIPPLE_S, 0.25)


class History:
    """Every sample of the last hours, each with its time, as one exposition."""

    def __init__(self, end: float) -> None:
        self._end = end

    def collect(self) -> Iterator[Metric]:
        """Return the families of `KnownSpend` with the samples of every step."""
        families: dict[str, Metric] = {}
        for elapsed_s in range(0, HISTORY_S + 1, STEP_S):
            at = self._end - HISTORY_S + elapsed_s
            for family in KnownSpend(lambda tier, s=elapsed_s: busy_seconds(tier, s)).collect():
                merged = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    merged.add_sample(sample.name, sample.labels, sample.value, timestamp=at)
        yield from families.values()


def main(out: str) -> None:
    """Write the history, start a Prometheus over it, take the picture."""
    with tempfile.TemporaryDirectory(prefix="known-history-") as folder:
        exposition, data = Path(folder, "history.txt"), Path(folder, "data")
        exposition.write_bytes(generate_latest(History(time.time() + AHEAD_S)))
        subprocess.run(
            ["promtool", "tsdb", "create-blocks-from", "openmetrics", exposition, data],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        with prometheus([], data=data) as server:
            take = Path(__file__).with_name("take.sh")
            subprocess.run(
                [take, server.url, DASHBOARD, out, str(HISTORY_S), str(STEP_S)], check=True
            )


if __name__ == "__main__":
    main(sys.argv[1])
