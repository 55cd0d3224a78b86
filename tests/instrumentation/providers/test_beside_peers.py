"""Beside another instrumentation: one span with usage and one cost an attempt, and one settle.

Each peer is really installed, in an environment of its own, and makes every kind of call.
"""

from functools import cache
from pathlib import Path
from typing import Any

import pytest

import support
from support import peers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]

SCRIPT = Path(support.__file__).parent / "peer_calls.py"
PEERS = ("base", "genai", "openllmetry", "openinference", "openlit", "logfire", "openai-v2")
ORDERS = ("ours-first", "theirs-first")
OURS = ("llm_cost", "ended span", "etach")
"""Complaints that we could cause; a peer logs others by itself."""


@pytest.fixture(scope="module", autouse=True)
def _environments() -> None:
    peers.build_all(PEERS)


@cache
def reports(peer: str, order: str) -> list[dict[str, Any]]:
    return peers.run(peer, SCRIPT, peer, order)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("peer", PEERS)
def test_every_attempt_has_one_span_with_usage_and_one_cost_and_one_settle(
    peer: str, order: str
) -> None:
    wrong = [
        (report["scenario"], report["with_usage"], report["with_cost"], report["settles"])
        for report in reports(peer, order)
        if not (
            len(report["with_usage"])
            == len(report["with_cost"])
            == len(report["settles"])
            == report["attempts"]
        )
        or not all(span["has_usage"] for span in report["with_cost"])
    ]

    assert not wrong
    assert len(reports(peer, order)) > 15


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("peer", PEERS)
def test_spans_tell_what_the_ledger_was_told_and_who_pays(peer: str, order: str) -> None:
    for report in reports(peer, order):
        told = sorted(span["nano_usd"] for span in report["with_cost"])

        assert told == sorted(settle[0] for settle in report["settles"]), report["scenario"]
        assert {span["user"] for span in report["with_cost"]} <= {"user-7"}
        assert len({span["call_id"] for span in report["with_cost"]}) == report["attempts"]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("peer", PEERS)
def test_nothing_is_raised_logged_or_left_attached(peer: str, order: str) -> None:
    wrong = [
        (report["scenario"], report["raised"], complaints)
        for report in reports(peer, order)
        if (complaints := [c for c in report["complaints"] if any(o in c for o in OURS)])
        or report["raised"]
        or report["is_left_attached"]
    ]

    assert not wrong


FRAMEWORKS = (
    ("langchain", "none"),
    ("langchain", "openinference"),
    ("langchain", "openinference and its openai"),
    ("langchain", "openllmetry"),
    ("langchain", "openllmetry and its openai"),
    ("llama-index", "openinference llama-index"),
    ("llama-index", "openllmetry llama-index"),
)


@pytest.mark.parametrize(("framework", "instrumentation"), FRAMEWORKS)
def test_a_call_through_a_framework_has_one_cost_and_its_sum_says_that_it_is_priced_below(
    framework: str, instrumentation: str
) -> None:
    script = SCRIPT.with_name("peer_frameworks.py")

    for report in peers.run(framework, script, framework, instrumentation):
        priced = [span["nano_usd"] for span in report["with_cost"]]
        unmarked = [
            span
            for span in report["with_usage"]
            if span["nano_usd"] is None and not span["is_priced_below"]
        ]

        assert not report["raised"]
        assert priced == [settle[0] for settle in report["settles"]], report["scenario"]
        assert len(priced) == 1, report["scenario"]
        assert not unmarked, report["scenario"]


@pytest.mark.parametrize("peer", PEERS)
def test_going_off_and_on_leaves_what_was_found_and_counts_once(peer: str) -> None:
    (report,) = peers.run(peer, SCRIPT.with_name("peer_switching.py"), peer)

    assert report["is_left_as_found"]
    assert report["costs_while_off"] == 0
    assert report["settles_while_off"] == 0
    assert report["costs_when_on_again"] == report["settles_when_on_again"] == 1
