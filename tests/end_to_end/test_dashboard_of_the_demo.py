"""The dashboard over the real system: `llm-cost demo`, scraped by a real Prometheus."""

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llm_cost import attributes as names
from support.dashboards import EVERY_TARGET, Target, ask, filled_in, target_of
from support.prometheus import Prometheus, prometheus

USERS, CALLS = 30, 200
DEMO_TIMEOUT_S = 100
MORE_CALLS = 24
RANGE_S = 300
TIER_TABLE = "Cost to serve by tier, this month"
_TARGETS = re.compile(r"targets: (\[.*?\])")
_APP = re.compile(r"http://(\S+)/assistant")


@dataclass(frozen=True)
class Demo:
    """The demo, played and left running."""

    app: str
    metrics: list[str]
    outcome: dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """What Prometheus has of it."""

    demo: Demo
    server: Prometheus
    played_at: float


@contextmanager
def _demo(folder: Path) -> Iterator[Demo]:
    outcome, said = folder / "outcome.json", folder / "said.txt"
    with said.open("w") as output:
        process = subprocess.Popen(
            [
                Path(sys.executable).with_name("llm-cost"), "demo", "--keep",
                "--users", str(USERS), "--calls", str(CALLS), "--json", outcome,
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        metrics, app = _addresses(process, said)
        yield Demo(app=app, metrics=metrics, outcome=json.loads(outcome.read_text()))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _addresses(process: subprocess.Popen[bytes], said: Path) -> tuple[list[str], str]:
    deadline = time.monotonic() + DEMO_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        text = said.read_text()
        if (metrics := _TARGETS.search(text)) and (app := _APP.search(text)):
            return json.loads(metrics[1]), app[1]
        time.sleep(0.2)
    raise AssertionError(f"the demo is not left running ({process.poll()}):\n{said.read_text()}")


def _chat(app: str, number: int) -> None:
    plan = ("free", "pro", "enterprise")[number % 3]
    request = urllib.request.Request(
        f"http://{app}/assistant",
        data=json.dumps({"text": "What is new?"}).encode(),
        headers={
            "x-user-id": f"late-{number % 6}",
            "x-plan": plan,
            "content-type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    with _demo(tmp_path_factory.mktemp("demo")) as demo, prometheus(demo.metrics) as server:
        server.wait_for(
            f"min(count_over_time(up[1m])) >= 3 and count(up == 1) == {len(demo.metrics)}"
        )
        yield Seen(demo, server, played_at=time.time())


@pytest.fixture(scope="module")
def busy(seen: Seen) -> Seen:
    """Further calls, so that Prometheus sees the counters grow."""
    calls = f"sum({names.METRIC_CALLS})"
    (before,) = seen.server.instant(calls)
    with ThreadPoolExecutor(4) as people:
        list(people.map(lambda number: _chat(seen.demo.app, number), range(MORE_CALLS)))
    seen.server.wait_for(f"{calls} >= {before.value + MORE_CALLS}")
    time.sleep(2)  # two more scrapes, so that the growth lies inside the last rate
    return seen


def _tier_column(seen: Seen, ref_id: str) -> dict[str, float]:
    answers = ask(seen.server, target_of(TIER_TABLE, ref_id), end=seen.played_at)
    return {answer.labels[names.LABEL_TIER]: answer.value for answer in answers}


def _ledger(seen: Seen, field: str) -> dict[str, int]:
    return {tier["tier"]: tier[field] for tier in seen.demo.outcome["tiers"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "field"),
    [
        ("spend", "spent_nano_usd"),
        ("average", "avg_per_user_nano_usd"),
        ("p95", "p95_per_user_nano_usd"),
        ("costliest", "max_per_user_nano_usd"),
        ("limit", "limit_nano_usd"),
        ("margin", "margin_nano_usd"),
    ],
)
def test_the_tier_table_shows_the_ledgers_money(seen: Seen, column: str, field: str) -> None:
    shown = {tier: round(usd * 1e9) for tier, usd in _tier_column(seen, column).items()}

    told = {tier: amount for tier, amount in _ledger(seen, field).items() if amount is not None}
    assert told
    assert shown == told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "field"),
    [
        ("users", "users"),
        ("calls", "calls"),
        ("at_80", "users_at_80_percent"),
        ("at_100", "users_at_100_percent"),
    ],
)
def test_the_tier_table_shows_the_ledgers_counts(seen: Seen, column: str, field: str) -> None:
    assert _tier_column(seen, column) == _ledger(seen, field)


@pytest.mark.slow
def test_spend_in_range_is_what_the_providers_billed(seen: Seen) -> None:
    # Prometheus saw only the end of the run; the panel must not show growth since then alone.
    (shown,) = ask(
        seen.server, target_of("Spend in range", "value"), end=seen.played_at, range_s=RANGE_S
    )

    assert round(shown.value * 1e9) == seen.demo.outcome["served_nano_usd"]


@pytest.mark.slow
def test_blocked_calls_are_those_that_the_ledger_counts(seen: Seen) -> None:
    (shown,) = ask(
        seen.server, target_of("Blocked calls", "value"), end=seen.played_at, range_s=RANGE_S
    )

    assert shown.value == seen.demo.outcome["decisions"]["block"]


@pytest.mark.slow
def test_the_top_users_are_the_ledgers(seen: Seen) -> None:
    target = target_of("Top 10 users by spend, this month", "spend")
    shown = {
        answer.labels[names.LABEL_USER_ID]: round(answer.value * 1e9)
        for answer in ask(seen.server, target, end=seen.played_at)
    }

    told = {user["user_id"]: user["spent_nano_usd"] for user in seen.demo.outcome["top_users"]}
    assert sorted(shown.values()) == sorted(told.values())


@pytest.mark.slow
@pytest.mark.parametrize("target", EVERY_TARGET, ids=str)
def test_every_query_of_every_panel_has_data(busy: Seen, target: Target) -> None:
    answers = ask(busy.server, target, end=time.time(), range_s=60)

    assert answers, f"{target} shows nothing: {filled_in(target.expression)}"
