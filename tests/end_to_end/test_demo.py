"""The whole demo at a small size: real services, clients and instrumentation, exact sums."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

LLM_COST = [sys.executable, "-m", "llm_cost_cli"]
LIMIT_S = 110


class Finished(NamedTuple):
    """What a small demo printed and wrote, and where its processes worked."""

    page: str
    outcome: dict[str, Any]
    scratch: Path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    scratch = tmp_path_factory.mktemp("demo")
    written = scratch / "outcome.json"
    ended = subprocess.run(
        [*LLM_COST, "demo", "--users", "30", "--calls", "300", "--json", str(written)],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return Finished(ended.stdout, json.loads(written.read_text()), scratch)


def test_a_story_too_small_to_tell_is_refused() -> None:
    ended = subprocess.run(
        [*LLM_COST, "demo", "--users", "3"],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )

    assert ended.returncode == 2
    assert "--users 3" in ended.stderr


@pytest.mark.slow
def test_bill_ledger_and_spans_agree_to_the_nano_usd(finished: Finished) -> None:
    outcome = finished.outcome

    assert outcome["findings"] == []
    assert outcome["served_nano_usd"] == outcome["ledger_nano_usd"] == outcome["spans_nano_usd"]
    assert outcome["served_nano_usd"] > 500 * 10**9
    assert outcome["served_calls"] == outcome["ledger_calls"] == outcome["spans"]


@pytest.mark.slow
def test_every_kind_of_decision_happens_and_no_call_is_lost(finished: Finished) -> None:
    outcome = finished.outcome
    decisions = outcome["decisions"]

    assert all(decisions[kind] > 0 for kind in ("allow", "warn", "block", "dry_run"))
    assert sum(decisions.values()) == outcome["calls"] == 300
    assert outcome["served_calls"] == 300 - decisions["block"]
    assert outcome["failed_calls"] == 0


@pytest.mark.slow
def test_the_override_holds_to_the_cent(finished: Finished) -> None:
    outcome = finished.outcome

    assert outcome["users"] == 30
    assert outcome["users_over_a_block_limit"] == 0
    assert sum(tier["spent_nano_usd"] for tier in outcome["tiers"]) == outcome["ledger_nano_usd"]
    free = next(tier for tier in outcome["tiers"] if tier["tier"] == "free")
    assert free["max_per_user_nano_usd"] <= 5 * 10**9
    assert free["users_at_80_percent"] >= 1


@pytest.mark.slow
def test_the_page_shows_tables_decisions_and_the_verdict(finished: Finished) -> None:
    page, outcome = finished.page, finished.outcome

    for heading in ("Top 10 users by spend", "What each tier costs to serve", "Decisions"):
        assert heading in page
    assert "✓ equal to the nano-USD" in page
    assert outcome["top_users"][0]["user_id"] in page
    assert "\x1b" not in page


@pytest.mark.slow
def test_nothing_is_left_running(finished: Finished) -> None:
    # Every process of that demo was started with its scratch folder in the environment.
    mark = f"TMPDIR={finished.scratch}".encode()
    left = [process for process in Path("/proc").glob("[0-9]*") if mark in _environment(process)]

    assert left == []


def _environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:  # it has just ended
        return b""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    process = subprocess.Popen(
        [*LLM_COST, "demo", "--calls", "2000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert process.stdout is not None
    assert any("of 2,000 calls" in line for line in process.stdout)  # it is in full swing

    process.send_signal(number)
    _, complaint = process.communicate(timeout=30)

    assert process.returncode == 130
    assert complaint == "llm-cost: interrupted\n"
    assert not any(
        f"TMPDIR={tmp_path}".encode() in _environment(process)
        for process in Path("/proc").glob("[0-9]*")
    )
    assert list(tmp_path.iterdir()) == []
