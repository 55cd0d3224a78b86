"""Asking before a call: every fault of the service ends within the deadline."""

import asyncio
import logging
import socket
import threading
import time
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from llm_cost import faults
from llm_cost.policy.client import PolicyClient
from llm_cost.policy.decision import Action, Decision, Identity, OutageMode, OutagePolicy
from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost.settings import EVERY_OTHER_TIER, Settings
from support.policy_calls import ANNA, reservation, settlement
from support.scripted_policy_service import (
    Running,
    allow,
    deciding,
    eventually,
    refusing,
)

DEADLINE_S = 0.05
SLACK_S = 0.25  # two shared cores; the deadline itself is gRPC's
FIRST_CALL_S = 1.0  # the grace of a first connection


def client_of(endpoint: str, rule: OutagePolicy | None = None) -> PolicyClient:
    return PolicyClient(
        Settings(
            policy_endpoint=endpoint,
            on_unavailable={EVERY_OTHER_TIER: rule or OutagePolicy(OutageMode.BLOCK)},
        )
    )


def timed(client: PolicyClient) -> tuple[Decision, float]:
    started_s = time.perf_counter()
    decision = client.reserve(reservation())
    return decision, time.perf_counter() - started_s


def test_a_service_that_is_down_is_noticed_at_once() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = client_of(f"127.0.0.1:{unused.getsockname()[1]}")

        decision, took_s = timed(client)

    assert decision.action is Action.BLOCK
    assert not decision.available
    assert "UNAVAILABLE" in decision.reason
    assert took_s < DEADLINE_S + SLACK_S


def test_a_peer_that_accepts_and_says_nothing_costs_the_grace_once_and_then_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = client_of(f"127.0.0.1:{silent.getsockname()[1]}")

        _, first_s = timed(client)
        later_s = [timed(client)[1] for _ in range(3)]

    assert first_s < FIRST_CALL_S + SLACK_S
    assert max(later_s) < DEADLINE_S + SLACK_S


def test_a_service_that_hangs_is_waited_for_until_the_deadline(
    server: Running, client: PolicyClient
) -> None:
    client.reserve(reservation())
    server.service.on_reserve = server.service.hang

    decision, took_s = timed(client)

    assert decision.action is Action.BLOCK
    assert "DEADLINE_EXCEEDED" in decision.reason
    assert DEADLINE_S * 0.9 < took_s < DEADLINE_S + SLACK_S


async def test_an_event_loop_keeps_turning_while_the_service_hangs(
    server: Running, client: PolicyClient
) -> None:
    await client.reserve_async(reservation())
    server.service.on_reserve = server.service.hang
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.005)

    turning = asyncio.create_task(turn())
    started_s = time.perf_counter()
    decision = await client.reserve_async(reservation())
    took_s = time.perf_counter() - started_s
    turning.cancel()

    assert decision.action is Action.BLOCK
    assert took_s < DEADLINE_S + SLACK_S
    assert turns >= 3


def test_a_name_that_does_not_resolve_keeps_the_deadline() -> None:
    client = client_of("dns:///policy.invalid:443")
    timed(client)

    decision, took_s = timed(client)

    assert not decision.available
    assert took_s < DEADLINE_S + SLACK_S


def test_a_peer_that_speaks_no_grpc_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def babble() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                peer.sendall(b"HTTP/1.1 200 OK\r\n\r\nhello")
                peer.close()

        threading.Thread(target=babble, daemon=True).start()
        decision, took_s = timed(client_of(f"127.0.0.1:{listener.getsockname()[1]}"))
        listener.shutdown(socket.SHUT_RDWR)

    assert decision.action is Action.BLOCK
    assert not decision.available
    assert took_s < FIRST_CALL_S + SLACK_S


@pytest.mark.parametrize("action", [pb.ACTION_UNSPECIFIED, 99])
def test_an_action_that_is_not_known_is_never_an_allowance(
    server: Running, client: PolicyClient, action: int
) -> None:
    server.service.on_reserve = deciding(action=action)

    decision = client.reserve(reservation())

    assert decision.action is Action.BLOCK
    assert not decision.available
    assert f"unknown action {action}" in decision.reason


def test_a_refused_question_is_logged_with_the_words_of_the_service(
    server: Running, client: PolicyClient, caplog: pytest.LogCaptureFixture
) -> None:
    words = "subject.user_id: 'x' is too long; pass an id"
    server.service.on_reserve = refusing(grpc.StatusCode.INVALID_ARGUMENT, words)

    decision = client.reserve(reservation())

    assert decision.action is Action.BLOCK
    assert words in decision.reason
    assert any(words in r.getMessage() and r.levelno == logging.ERROR for r in caplog.records)


@pytest.mark.parametrize("estimate_nano_usd", [2**63, -(2**63) - 1])
def test_an_amount_that_the_wire_cannot_carry_goes_by_the_outage_rule(
    client: PolicyClient, estimate_nano_usd: int
) -> None:
    decision = client.reserve(reservation(estimate_nano_usd=estimate_nano_usd))

    assert decision.action is Action.BLOCK
    assert not decision.available


async def test_a_model_name_that_the_wire_cannot_carry_raises_nothing(
    client: PolicyClient,
) -> None:
    decision = await client.reserve_async(reservation(Identity(user_id="\ud800")))

    assert not decision.available


def test_a_blocked_outage_call_releases_what_the_service_may_hold(
    server: Running, client: PolicyClient
) -> None:
    client.reserve(reservation())
    server.service.on_reserve = server.service.hang
    asked = reservation()
    client.reserve(asked)

    assert eventually(lambda: asked.call_id in server.service.voided)


async def test_a_cancelled_question_releases_what_the_service_may_hold(
    server: Running, client: PolicyClient
) -> None:
    server.service.on_reserve = server.service.hang
    asked = reservation()
    asking = asyncio.create_task(client.reserve_async(asked))
    await asyncio.sleep(0.02)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert await asyncio.to_thread(eventually, lambda: asked.call_id in server.service.voided)


def test_the_answer_is_carried_whole(server: Running, client: PolicyClient) -> None:
    resets_at = datetime(2026, 12, 1, tzinfo=UTC)
    server.service.on_reserve = deciding(
        action=pb.ACTION_DRY_RUN,
        would_be=pb.ACTION_BLOCK,
        reason="over",
        rule="tier:free",
        policy_version=7,
        limit_nano_usd=5,
        spent_nano_usd=6,
        held_nano_usd=1,
        remaining_nano_usd=0,
        period="2026-11",
        resets_at_unix_ms=int(resets_at.timestamp() * 1000),
        warned_threshold_percent=80,
    )

    decision = client.reserve(reservation())

    assert decision == Decision(
        action=Action.DRY_RUN,
        would_be=Action.BLOCK,
        reason="over",
        rule="tier:free",
        policy_version=7,
        limit_nano_usd=5,
        spent_nano_usd=6,
        held_nano_usd=1,
        remaining_nano_usd=0,
        period="2026-11",
        resets_at=resets_at,
        warned_threshold_percent=80,
        available=True,
    )


def test_the_question_is_carried_whole(server: Running, client: PolicyClient) -> None:
    asked = reservation()

    client.reserve(asked)

    (request,) = server.service.reserved
    assert request.call_id == asked.call_id
    assert (request.subject.user_id, request.subject.tier) == (ANNA.user_id, ANNA.tier)
    assert request.subject.group == ANNA.group
    assert (request.provider, request.model) == ("openai", "gpt-5-mini")
    assert request.estimate_nano_usd == 1_000
    assert request.price_status == pb.PRICE_STATUS_EXACT
    assert request.hold_ttl_ms == 60_000


def test_an_unknown_price_is_said_and_not_zero(server: Running, client: PolicyClient) -> None:
    client.reserve(reservation(estimate_nano_usd=None))

    assert server.service.reserved[0].price_status == pb.PRICE_STATUS_UNKNOWN


def test_a_blocked_user_stays_blocked_while_the_service_is_away(server: Running) -> None:
    client = client_of(server.endpoint, OutagePolicy(OutageMode.ALLOW))
    tomorrow_ms = int((datetime.now(UTC) + timedelta(days=1)).timestamp() * 1000)
    server.service.on_reserve = deciding(action=pb.ACTION_BLOCK, resets_at_unix_ms=tomorrow_ms)
    client.reserve(reservation())
    server.stop()

    blocked = client.reserve(reservation())
    other = client.reserve(reservation(Identity(user_id="ben", tier="free")))

    assert (blocked.action, blocked.available) == (Action.BLOCK, False)
    assert (other.action, other.available) == (Action.ALLOW, False)


def test_the_rule_that_the_service_told_outranks_the_environment(server: Running) -> None:
    client = client_of(server.endpoint, OutagePolicy(OutageMode.ALLOW))
    told = pb.OutagePolicy(mode=pb.OUTAGE_MODE_BLOCK)
    server.service.on_reserve = deciding(action=pb.ACTION_ALLOW, on_unavailable=told)
    client.reserve(reservation())
    server.stop()

    assert client.reserve(reservation()).action is Action.BLOCK


def test_a_restarted_service_is_found_again_within_seconds(
    server: Running, client: PolicyClient
) -> None:
    client.reserve(reservation())
    server.stop()
    assert not client.reserve(reservation()).available
    server.start()

    assert eventually(lambda: client.reserve(reservation()).available, within_s=5)


def test_a_service_that_stopped_hanging_is_asked_again(
    server: Running, client: PolicyClient
) -> None:
    client.reserve(reservation())
    server.service.on_reserve = server.service.hang
    assert not client.reserve(reservation()).available
    server.service.hanging.set()
    server.service.on_reserve = allow

    assert eventually(lambda: client.reserve(reservation()).available, within_s=5)


async def test_many_questions_at_once_are_all_answered(
    server: Running, client: PolicyClient
) -> None:
    await client.reserve_async(reservation())
    decisions = await asyncio.gather(*(client.reserve_async(reservation()) for _ in range(20)))

    assert all(d.action in (Action.ALLOW, Action.BLOCK) for d in decisions)
    assert sum(d.available for d in decisions) >= 15  # a busy machine may miss a deadline


def test_one_client_serves_one_event_loop_after_another(client: PolicyClient) -> None:
    first = asyncio.run(client.reserve_async(reservation()))
    second = asyncio.run(client.reserve_async(reservation()))

    assert (first.available, second.available) == (True, True)


def test_a_closed_client_raises_nothing(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(faults, "reraise", False)
    client = client_of(server.endpoint)
    client.close()

    client.settle(settlement())

    assert client.flush(0.1)
    assert "left out" in caplog.text
