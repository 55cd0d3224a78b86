"""What each instrumentation adds to a call, side by side: `python -m benchmarks.peers`.

Every peer runs in a process and an environment of its own; the rounds go around, so that all
meet the same noise. CPU, not network: the transport is in the process. It needs the test
suite's peer environments, and builds the missing ones.
"""

import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from benchmarks.__main__ import machine

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from support import peers  # noqa: E402 - found only now

ROUNDS: Final = 11
CALLS: Final = {"chat": 30, "stream": 8}
WARM_UP: Final = {"chat": 30, "stream": 10}

# What is switched on, in which environment, and beside which uninstrumented client.
WORKERS: Final = {
    "uninstrumented": ("base", "base", ""),
    "uninstrumented (openai 2.54)": ("base", "openlit", ""),
    "otel-llm-cost, no policy": ("ours-open", "base", "uninstrumented"),
    "otel-llm-cost, policy in process": ("ours-deciding", "base", "uninstrumented"),
    "genai-openai (official)": ("genai", "genai", "uninstrumented"),
    "OpenLLMetry": ("openllmetry", "openllmetry", "uninstrumented"),
    "OpenInference": ("openinference", "openinference", "uninstrumented"),
    "OpenLIT": ("openlit", "openlit", "uninstrumented (openai 2.54)"),
    "Logfire": ("logfire", "logfire", "uninstrumented"),
}


class Worker:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def cpu_us(self, kind: str, count: int) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(kind, count, file=self._process.stdin, flush=True)
        while line := self._process.stdout.readline():
            try:
                return float(line)
            except ValueError:
                continue  # what a peer prints
        raise RuntimeError(f"{self._process.args} ended")


@contextmanager
def worker(peer: str, environment: str) -> Iterator[Worker]:
    folders = ":".join(str(ROOT / part) for part in ("instrumentation", "tests", "."))
    python = peers.environment(environment) / "bin" / "python"
    process = subprocess.Popen(
        [str(python), str(ROOT / "benchmarks" / "peer_load.py"), peer],
        env={"PYTHONPATH": folders, "TRACELOOP_TELEMETRY": "false", "HOME": str(Path.home())},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield Worker(process)
    finally:
        process.kill()
        process.wait()


def medians(kind: str, workers: dict[str, Worker]) -> dict[str, float]:
    for one in workers.values():
        one.cpu_us(kind, WARM_UP[kind])
    taken: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(ROUNDS):
        for name, one in workers.items():
            taken[name].append(one.cpu_us(kind, CALLS[kind]))
    return {name: statistics.median(times) for name, times in taken.items()}


def _version(environment: str, peer: str) -> str:
    if peer.startswith(("base", "ours")):
        return ""
    pins = peers.PINS[environment]
    return next(pin for pin in pins if environment in pin or "openai==" in pin[7:])


def main() -> None:
    peers.build_all(tuple({environment for _, environment, _ in WORKERS.values()}))
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(worker(peer, environment))
            for name, (peer, environment, _) in WORKERS.items()
        }
        chat, stream = medians("chat", workers), medians("stream", workers)
    print(f"machine: {machine()}\n")
    print("| what | package | added to a chat call, µs | added to a 50-chunk stream, µs |")
    print("|---|---|---|---|")
    for name, (peer, environment, bare) in WORKERS.items():
        if bare:
            added = (f"{times[name] - times[bare]:+.0f}" for times in (chat, stream))
        else:
            added = (f"({times[name]:.0f} in all)" for times in (chat, stream))
        print(f"| {name} | {_version(environment, peer)} | " + " | ".join(added) + " |")


if __name__ == "__main__":
    main()
