"""A real Prometheus on loopback, scraping every second, and questions to it."""

import json
import re
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRAPE_INTERVAL_S = 1
START_TIMEOUT_S = 30
ANSWER_TIMEOUT_S = 30
_LISTENING = re.compile(r'msg="Listening on" address=(\S+)')
_READY = "Server is ready to receive web requests"


@dataclass(frozen=True)
class Series:
    """One answer of Prometheus: labels, and (unix time, value) pairs; an instant has one."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]

    @property
    def value(self) -> float:
        return self.points[-1][1]


class Prometheus:
    """A running server; `url` is where it answers."""

    def __init__(self, url: str) -> None:
        self.url = url

    def instant(self, expression: str, at: float | None = None) -> list[Series]:
        """The value of `expression` at one time, by default now."""
        when = {} if at is None else {"time": at}
        found = self._ask("query", query=expression, **when)
        if found["resultType"] == "scalar":
            return [Series({}, [_point(found["result"])])]
        return [Series(s["metric"], [_point(s["value"])]) for s in found["result"]]

    def over_time(
        self, expression: str, *, start: float, end: float, step_s: float
    ) -> list[Series]:
        """The course of `expression`."""
        found = self._ask("query_range", query=expression, start=start, end=end, step=step_s)
        return [Series(s["metric"], [_point(p) for p in s["values"]]) for s in found["result"]]

    def wait_for(self, expression: str, timeout_s: float = 30) -> list[Series]:
        """Ask until there is an answer; fails with the state of the targets otherwise."""
        deadline = time.monotonic() + timeout_s
        while not (found := self.instant(expression)):
            if time.monotonic() > deadline:
                raise AssertionError(f"nothing for {expression}; targets: {self.instant('up')}")
            time.sleep(0.2)
        return found

    def _ask(self, what: str, **parameters: Any) -> Any:
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=ANSWER_TIMEOUT_S) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters['query']}: {error.read().decode()}") from error


def _point(pair: Sequence[Any]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])


@contextmanager
def prometheus(targets: Sequence[str], *, data: Path | None = None) -> Iterator[Prometheus]:
    """A Prometheus that scrapes `targets` (host:port); with `data`, over what is stored there."""
    with tempfile.TemporaryDirectory(prefix="prometheus-") as folder:
        configuration = Path(folder, "prometheus.yml")
        log = Path(folder, "log")
        # JSON is YAML too.
        configuration.write_text(json.dumps(_configuration(targets)))
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={configuration}",
                    f"--storage.tsdb.path={data or Path(folder, 'data')}",
                    "--web.listen-address=127.0.0.1:0",
                ],
                stderr=stderr,
            )
        try:
            yield Prometheus(f"http://{_address(process, log)}")
        finally:
            process.kill()
            process.wait()


def _configuration(targets: Sequence[str]) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": f"{SCRAPE_INTERVAL_S}s"},
        "scrape_configs": [
            {"job_name": "llm-cost", "static_configs": [{"targets": list(targets)}]}
        ],
    }


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until it answers questions; return the address that the system gave it."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        said = log.read_text()
        if _READY in said and (listening := _LISTENING.search(said)):
            return listening[1]
        time.sleep(0.05)
    raise AssertionError(
        f"Prometheus is not ready (exit code {process.poll()}):\n{log.read_text()}"
    )
