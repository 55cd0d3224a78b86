"""Settlements reach the ledger once, whatever dies in between."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from llm_cost import attributes as names
from llm_cost import call_id
from llm_cost.policy.v1 import policy_pb2 as pb
from support.otlp_traffic import OPENAI_CALL, OPENAI_CALL_NANO_USD, request, span
from support.processor import Processor, processor
from support.scripted_downstream import Downstream, downstream
from support.scripted_policy_service import Running, eventually, running

CALLS = 300


@pytest.fixture
def policy() -> Iterator[Running]:
    with running() as service:
        yield service


@pytest.fixture
def next_hop() -> Iterator[Downstream]:
    with downstream() as started:
        yield started


def export_calls(to: Processor, first: int, count: int = CALLS) -> None:
    """In requests of 50."""
    for start in range(first, first + count, 50):
        to.export(request([span(OPENAI_CALL, number=n) for n in range(start, start + 50)]))


def test_a_priced_span_is_settled_with_all_that_the_ledger_keeps(
    policy: Running, next_hop: Downstream, tmp_path: Path
) -> None:
    with processor(forward=next_hop.endpoint, policy=policy.endpoint, spool=tmp_path) as running:
        sent = span(OPENAI_CALL | {names.GROUP: "team"}, number=9)
        running.export(request([sent]))
        assert eventually(lambda: bool(policy.service.ledger))

    [[settlement]] = policy.service.batches
    assert settlement.call_id == call_id.of_span(
        sent.trace_id, sent.span_id, sent.start_time_unix_nano
    )
    assert settlement.subject == pb.Subject(user_id="user_1", tier="free", group="team")
    assert settlement.actual_nano_usd == OPENAI_CALL_NANO_USD
    assert dict(settlement.usage) == {"input_text_tokens": 1_000, "output_text_tokens": 200}
    assert settlement.provider == "openai"
    assert settlement.model == "gpt-4o-mini-2024-07-18"
    assert settlement.operation == "chat"
    assert settlement.price_status == pb.PRICE_STATUS_EXACT
    assert settlement.usage_source == pb.USAGE_SOURCE_REPORTED
    assert settlement.outcome == pb.OUTCOME_OK
    assert settlement.ended_at_unix_ms == sent.end_time_unix_nano // 1_000_000


def test_an_unpriced_call_is_settled_without_an_amount(policy: Running, tmp_path: Path) -> None:
    model = {names.REQUEST_MODEL: "nobody-7", names.RESPONSE_MODEL: "nobody-7"}
    with processor(policy=policy.endpoint, spool=tmp_path) as running:
        running.export(request([span(OPENAI_CALL | model)]))
        assert eventually(lambda: bool(policy.service.batches))

    [[settlement]] = policy.service.batches
    assert not settlement.HasField("actual_nano_usd")
    assert settlement.price_status == pb.PRICE_STATUS_UNKNOWN


def test_a_span_delivered_three_times_is_one_entry_of_the_ledger(
    policy: Running, tmp_path: Path
) -> None:
    with processor(policy=policy.endpoint, spool=tmp_path) as running:
        for _ in range(3):
            running.export(request([span(OPENAI_CALL)]))
        assert eventually(lambda: sum(policy.service.deliveries.values()) == 3)
        assert eventually(
            lambda: running.metric("llm_cost_processor_settlements_total", status="replayed") == 2
        )

    assert list(policy.service.ledger.values()) == [OPENAI_CALL_NANO_USD]


def test_a_policy_service_that_is_away_holds_up_no_traces_and_is_told_later(
    policy: Running, next_hop: Downstream, tmp_path: Path
) -> None:
    policy.stop()
    with processor(forward=next_hop.endpoint, policy=policy.endpoint, spool=tmp_path) as running:
        export_calls(running, 1)
        assert len(next_hop.spans) == CALLS
        assert running.metric("llm_cost_processor_spool_settlements") == CALLS

        policy.start()
        assert eventually(lambda: len(policy.service.ledger) == CALLS)
        assert eventually(lambda: running.metric("llm_cost_processor_spool_settlements") == 0)
        assert running.metric("llm_cost_processor_settle_retries_total") > 0

    assert set(policy.service.deliveries.values()) == {1}
    in_order = [s.call_id for batch in policy.service.batches for s in batch]
    assert in_order[:50] == [
        call_id.of_span(s.trace_id, s.span_id, s.start_time_unix_nano) for s in next_hop.spans[:50]
    ]


def test_what_was_acknowledged_survives_a_kill(policy: Running, tmp_path: Path) -> None:
    policy.stop()
    with processor(policy=policy.endpoint, spool=tmp_path) as running:
        export_calls(running, 1)
        running.service.kill()

    policy.start()
    with processor(policy=policy.endpoint, spool=tmp_path) as again:
        assert eventually(lambda: len(policy.service.ledger) == CALLS)
        assert again.service.terminate() == 0

    assert sum(policy.service.ledger.values()) == CALLS * OPENAI_CALL_NANO_USD
    assert list(tmp_path.glob("*.spool")) == []  # drained, and ended in good order


def test_a_full_spool_makes_senders_wait_and_lets_them_in_again(
    policy: Running, next_hop: Downstream, tmp_path: Path
) -> None:
    policy.stop()
    with processor(
        forward=next_hop.endpoint, policy=policy.endpoint, spool=tmp_path,
        options=("--spool-max-mib", "1"),
    ) as running:  # fmt: skip
        first, refused = 1, None
        while refused is None:
            try:
                export_calls(running, first, 1_000)
                first += 1_000
            except grpc.RpcError as error:
                refused = error
        assert isinstance(refused, grpc.Call)
        assert refused.code() is grpc.StatusCode.UNAVAILABLE
        assert "--spool-max-mib" in str(refused.details())
        assert first > 1_000

        policy.start()
        assert eventually(lambda: running.metric("llm_cost_processor_spool_settlements") == 0)
        export_calls(running, first, 1_000)
        assert eventually(lambda: len(policy.service.ledger) == first + 999)

    assert set(policy.service.deliveries.values()) <= {1, 2}


def test_conflicts_and_invalid_settlements_are_counted_and_hold_up_nothing(
    policy: Running, tmp_path: Path
) -> None:
    def half(request: pb.SettleBatchRequest, context: object) -> pb.SettleBatchResponse:
        statuses = (pb.SETTLE_STATUS_CONFLICT, pb.SETTLE_STATUS_INVALID, pb.SETTLE_STATUS_KEPT)
        return pb.SettleBatchResponse(
            results=[
                pb.SettleResult(call_id=s.call_id, status=statuses[i % 3], error="scripted")
                for i, s in enumerate(request.settlements)
            ]
        )

    policy.service.on_settle = half
    with processor(policy=policy.endpoint, spool=tmp_path) as running:
        running.export(request([span(OPENAI_CALL, number=n) for n in range(1, 4)]))

        for status in ("conflict", "invalid", "kept"):
            assert eventually(
                lambda status=status: (
                    running.metric("llm_cost_processor_settlements_total", status=status) == 1
                )
            )
        assert running.metric("llm_cost_processor_spool_settlements") == 0


def test_one_settlement_that_spoils_its_batch_harms_no_other(
    policy: Running, tmp_path: Path
) -> None:
    spoilt = span(OPENAI_CALL, number=13)
    spoilt_id = call_id.of_span(spoilt.trace_id, spoilt.span_id, spoilt.start_time_unix_nano)

    def picky(
        request: pb.SettleBatchRequest, context: grpc.ServicerContext
    ) -> pb.SettleBatchResponse | None:
        if any(s.call_id == spoilt_id for s in request.settlements):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "scripted")
        return None

    policy.service.on_settle = picky
    with processor(policy=policy.endpoint, spool=tmp_path) as running:
        export_calls(running, 1, 50)
        assert eventually(lambda: len(policy.service.ledger) == 49)
        assert eventually(
            lambda: running.metric("llm_cost_processor_settlements_total", status="invalid") == 1
        )


def test_two_processes_never_share_a_spool(policy: Running, tmp_path: Path) -> None:
    with processor(policy=policy.endpoint, spool=tmp_path), pytest.raises(
        RuntimeError, match="ended with 2"
    ), processor(policy=policy.endpoint, spool=tmp_path):  # fmt: skip
        pass
