"""Starts our services as real processes and waits for their ready line."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

READY_TIMEOUT_S = 30


class Service:
    """A process of ours that printed its ready line; `ready` is that line."""

    def __init__(self, process: subprocess.Popen[str], ready: Mapping[str, Any]) -> None:
        self.process = process
        self.ready = ready

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def terminate(self, timeout_s: float = 10) -> int:
        """Ask it to end; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


def start(arguments: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Service:
    """Start `python ARGUMENTS...` and return it once it has printed its ready line."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    watchdog = threading.Timer(READY_TIMEOUT_S, process.kill)
    watchdog.start()
    assert process.stdout is not None
    line = process.stdout.readline()
    watchdog.cancel()
    if not line:
        raise RuntimeError(f"{arguments} ended with {process.wait()} before it was ready")
    return Service(process, json.loads(line))


@contextmanager
def running(
    arguments: Sequence[str], *, environment: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """The process of `start`, killed at the end whatever happened."""
    service = start(arguments, environment=environment)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.kill()
        if service.process.stdout is not None:
            service.process.stdout.close()


def policy_service_arguments(database: Path, *, listen: str = "127.0.0.1:0") -> list[str]:
    """The command line of a policy service on free ports."""
    return [
        "-m", "llm_cost_policy", "--database", str(database), "--listen", listen,
        "--admin-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
    ]  # fmt: skip
