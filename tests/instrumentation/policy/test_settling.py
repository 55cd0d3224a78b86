"""Reporting after a call: booked once, whatever happens on the way, and never lost silently."""

import logging
import signal
import time

import grpc
import pytest

from llm_cost import call_id
from llm_cost.policy import settling
from llm_cost.policy.channel import Connection
from llm_cost.policy.client import PolicyClient
from llm_cost.policy.settling import Settler
from llm_cost.policy.v1 import policy_pb2 as pb
from support.policy_calls import reservation, settlement
from support.scripted_policy_service import Running, eventually

FLUSH_S = 10.0


def test_an_invalid_report_is_logged_and_never_sent_again(
    server: Running, client: PolicyClient, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = settlement(), settlement()

    def refuse_bad(request: pb.SettleBatchRequest, context: object) -> pb.SettleBatchResponse:
        return pb.SettleBatchResponse(
            results=[
                pb.SettleResult(
                    call_id=s.call_id,
                    status=pb.SETTLE_STATUS_INVALID
                    if s.call_id == bad.call_id
                    else pb.SETTLE_STATUS_APPLIED,
                    error="usage: unknown bucket",
                )
                for s in request.settlements
            ]
        )

    server.service.on_settle = refuse_bad
    client.settle(bad)
    client.settle(good)

    assert client.flush(FLUSH_S)
    assert sum(bad.call_id in [s.call_id for s in b] for b in server.service.batches) == 1
    assert "usage: unknown bucket" in caplog.text
    assert bad.call_id.hex() in caplog.text


def test_a_conflict_is_logged_and_never_sent_again(
    server: Running, client: PolicyClient, caplog: pytest.LogCaptureFixture
) -> None:
    server.service.on_settle = lambda request, context: pb.SettleBatchResponse(
        results=[
            pb.SettleResult(
                call_id=s.call_id, status=pb.SETTLE_STATUS_CONFLICT, error="stands at 5"
            )
            for s in request.settlements
        ]
    )
    client.settle(settlement())

    assert client.flush(FLUSH_S)
    assert len(server.service.batches) == 1
    assert "stands at 5" in caplog.text


@pytest.mark.parametrize(
    "bad",
    [
        settlement(actual_nano_usd=2**63),
        settlement(price_status="guessed"),
        settlement(b"not text: \xff", price_status="exact", actual_nano_usd=-(2**63) - 1),
    ],
    ids=["overflow", "unknown price status", "underflow"],
)
def test_a_report_that_the_wire_cannot_carry_harms_no_other(
    server: Running, client: PolicyClient, bad: settling.Settlement
) -> None:
    good = settlement()
    client.settle(bad)
    client.settle(good)

    assert client.flush(FLUSH_S)
    assert set(server.service.ledger) == {good.call_id}


def test_one_report_that_spoils_a_message_is_found_and_the_rest_is_booked(
    server: Running, client: PolicyClient
) -> None:
    bad, good = settlement(), [settlement() for _ in range(20)]

    def refuse_whole(request: pb.SettleBatchRequest, context: grpc.ServicerContext) -> None:
        if any(s.call_id == bad.call_id for s in request.settlements):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "settlements[3]: no")

    server.service.on_settle = refuse_whole
    for report in [*good[:3], bad, *good[3:]]:
        client.settle(report)

    assert client.flush(FLUSH_S)
    assert set(server.service.ledger) == {s.call_id for s in good}


def test_an_answer_that_leaves_reports_out_has_them_sent_again(
    server: Running, client: PolicyClient
) -> None:
    reports = [settlement() for _ in range(4)]
    server.service.on_settle = lambda request, context: (
        pb.SettleBatchResponse(
            results=[
                pb.SettleResult(call_id=request.settlements[0].call_id, status=1),
                pb.SettleResult(call_id=b"nobody's", status=1),
                pb.SettleResult(call_id=request.settlements[1].call_id),
            ]
        )
        if len(server.service.batches) == 1
        else None
    )
    for report in reports:
        client.settle(report)

    assert client.flush(FLUSH_S)
    assert set(server.service.ledger) == {s.call_id for s in reports[1:]}


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAUTHENTICATED,
    ],
)
def test_a_passing_failure_is_retried_with_the_same_id_until_acknowledged(
    server: Running, client: PolicyClient, code: grpc.StatusCode
) -> None:
    def fail_twice(request: pb.SettleBatchRequest, context: grpc.ServicerContext) -> None:
        if len(server.service.batches) <= 2:
            context.abort(code, "not now")

    server.service.on_settle = fail_twice
    report = settlement()
    client.settle(report)

    assert client.flush(FLUSH_S)
    assert server.service.ledger == {report.call_id: 700}
    assert [b[0].call_id for b in server.service.batches] == [report.call_id] * 3


def test_a_report_whose_acknowledgement_was_lost_counts_once(
    server: Running, client: PolicyClient
) -> None:
    def book_and_fail(request: pb.SettleBatchRequest, context: grpc.ServicerContext) -> None:
        if len(server.service.batches) == 1:
            for s in request.settlements:
                server.service._book(s)
            context.abort(grpc.StatusCode.UNAVAILABLE, "the line broke")

    server.service.on_settle = book_and_fail
    report = settlement()
    client.settle(report)

    assert client.flush(FLUSH_S)
    assert server.service.ledger == {report.call_id: 700}
    assert server.service.deliveries[report.call_id] == 2


def test_reports_of_an_outage_arrive_once_each_after_the_restart(
    server: Running, client: PolicyClient
) -> None:
    client.reserve(reservation())
    server.stop()
    reports = [settlement() for _ in range(50)]
    for report in reports:
        client.settle(report)
    assert not client.flush(0.3)
    server.start()

    assert client.flush(FLUSH_S)
    assert server.service.ledger == {s.call_id: 700 for s in reports}
    assert set(server.service.deliveries.values()) == {1}


def test_a_full_queue_counts_and_names_the_money_it_leaves_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(settling, "_WAITING_LIMIT", 10)
    settler = Settler(Connection("127.0.0.1:1"), lambda events: None)
    with caplog.at_level(logging.ERROR):
        for _ in range(600):
            settler.settle(settlement(actual_nano_usd=3))
    calls, nano_usd, _ = settler.unacknowledged()
    settler.close()

    assert settler.dropped + calls == 600
    assert settler.dropped_nano_usd + nano_usd == 600 * 3
    assert settler.dropped >= 600 - 10 - settling._BATCH_LIMIT
    assert "are left out so far" in caplog.text


def test_reports_travel_in_batches_within_the_limit(server: Running, client: PolicyClient) -> None:
    for _ in range(1_200):
        client.settle(settlement())

    assert client.flush(FLUSH_S)
    assert len(server.service.ledger) == 1_200
    assert max(map(len, server.service.batches)) <= 500
    assert len(server.service.batches) < 20


def test_reports_from_inside_a_signal_handler_deadlock_nothing(
    server: Running, client: PolicyClient
) -> None:
    # What a garbage collection does too: a report in the middle of a report, in one thread.
    nested = [settlement() for _ in range(200)]
    left = iter(nested)

    def report(*_: object) -> None:
        for one in left:
            client.settle(one)
            return

    before = signal.signal(signal.SIGALRM, report)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    own = [settlement() for _ in range(5_000)]
    for one in own:
        client.settle(one)
    assert eventually(lambda: next(left, None) is None)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)

    assert client.flush(FLUSH_S)
    assert {s.call_id for s in own} <= set(server.service.ledger)


def test_a_void_is_sent(server: Running, client: PolicyClient) -> None:
    name = call_id.new()
    client.void(name)

    assert client.flush(FLUSH_S)
    assert server.service.voided == [name]


def test_a_flush_of_nothing_is_true_at_once() -> None:
    settler = Settler(Connection("127.0.0.1:1"), lambda events: None)
    started_s = time.perf_counter()

    assert settler.flush(5)
    assert time.perf_counter() - started_s < 0.1


def test_an_absent_price_arrives_absent_and_not_as_zero(
    server: Running, client: PolicyClient
) -> None:
    client.settle(settlement(actual_nano_usd=None, price_status="unknown"))
    client.flush(FLUSH_S)

    ((sent,),) = server.service.batches
    assert not sent.HasField("actual_nano_usd")
    assert sent.price_status == pb.PRICE_STATUS_UNKNOWN


def test_a_report_is_carried_whole(server: Running, client: PolicyClient) -> None:
    report = settlement()
    client.settle(report)
    client.flush(FLUSH_S)

    ((sent,),) = server.service.batches
    assert sent.call_id == report.call_id
    assert sent.actual_nano_usd == 700
    assert dict(sent.usage) == {"input_text_tokens": 10, "output_text_tokens": 3}
    assert (sent.subject.user_id, sent.subject.tier, sent.subject.group) == ("anna", "free", "chat")
    assert (sent.usage_source, sent.outcome) == (pb.USAGE_SOURCE_REPORTED, pb.OUTCOME_OK)
    assert (sent.operation, sent.price_version) == ("chat", "2026-11-01")
    assert sent.ended_at_unix_ms == report.ended_at_unix_ms


def test_a_connection_that_stays_silent_is_replaced(
    server: Running, client: PolicyClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "_SETTLE_DEADLINE_S", 0.1)
    client.reserve(reservation())
    before = client._connection.stub
    server.service.on_settle = lambda request, context: (
        server.service.hang(request, context) and None  # type: ignore[func-returns-value]
    )
    client.settle(settlement())

    assert eventually(lambda: client._connection.stub is not before)
    server.service.on_settle = lambda request, context: None
    server.service.hanging.set()
    assert client.flush(FLUSH_S)
