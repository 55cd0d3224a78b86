"""One call's life: it ends once, whoever ends it, and tells span and ledger the same."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from llm_cost import PolicyBlocked, attribute_to, policy
from llm_cost import attributes as names
from llm_cost import call as calls
from llm_cost.policy.decision import Decision
from llm_cost.policy.gate import OpenGate
from llm_cost.request import Reply, Request
from llm_cost.usage import Usage
from support.recording import BLOCKED, RecordingGate, Spans

REQUEST = Request(
    "openai", "chat", "gpt-4o-mini", {"model": "gpt-4o-mini", "messages": []}, max_output_tokens=9
)
REPLY = Reply(
    usage=Usage(
        input_text_tokens=70,
        cache_read_text_tokens=20,
        cache_write_1h_tokens=30,
        output_text_tokens=40,
        output_reasoning_tokens=10,
        web_searches=2,
    ),
    model="gpt-4o-mini-2024-07-18",
    id="r1",
    finish_reasons=("stop",),
)


@pytest.fixture
def gate() -> Iterator[RecordingGate]:
    recording = RecordingGate()
    with policy.use_gate(recording):
        yield recording


@pytest.fixture
def spans() -> Iterator[Spans]:
    recording = Spans()
    calls.configure(tracer_provider=recording.provider)
    yield recording
    calls.configure()


def _begin() -> calls.Call:
    call = calls.begin(REQUEST)
    assert call is not None
    return call


def test_a_blocked_call_has_a_span_and_no_cost(gate: RecordingGate, spans: Spans) -> None:
    gate.decision = BLOCKED

    with pytest.raises(PolicyBlocked):
        calls.begin(REQUEST)

    assert spans.only()["llm_cost.policy.decision"] == "block"
    assert not gate.settled
    assert not gate.voided


def test_many_threads_end_a_call_once(gate: RecordingGate, spans: Spans) -> None:
    call = _begin()
    barrier = threading.Barrier(8)

    def end(number: int) -> None:
        barrier.wait()
        if number % 2:
            call.stop(REPLY)
        else:
            call.cancel(REPLY)

    threads = [threading.Thread(target=end, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    call.fail(ValueError("late"), None)

    assert len(gate.settled) == len(spans.finished()) == 1
    assert not gate.voided


def test_span_and_ledger_hear_the_same(gate: RecordingGate, spans: Spans) -> None:
    with attribute_to(user_id="u1", tier="pro", group="search"):
        call = _begin()
    call.stop(REPLY)

    attributes, (settled,) = spans.only(), gate.settled
    assert attributes["llm_cost.cost.nano_usd"] == settled.actual_nano_usd
    assert attributes["gen_ai.usage.cost.amount"] * 1e9 == pytest.approx(settled.actual_nano_usd)
    assert attributes["llm_cost.price.status"] == settled.price_status
    assert attributes["llm_cost.price.version"] == settled.price_version
    assert (attributes["user.id"], attributes["llm_cost.user.tier"]) == ("u1", "pro")
    assert settled.identity.group == attributes["llm_cost.group"] == "search"
    assert settled.call_id == gate.reserved[0].call_id


def test_the_span_tells_every_bucket(gate: RecordingGate, spans: Spans) -> None:
    _begin().stop(REPLY)

    attributes = spans.only()
    (span,) = spans.finished()
    assert span.name == "chat gpt-4o-mini"
    assert span.kind is trace.SpanKind.CLIENT
    assert attributes["gen_ai.usage.input_tokens"] == 120
    assert attributes["gen_ai.usage.output_tokens"] == 50
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 20
    assert attributes["gen_ai.usage.cache_write.input_tokens"] == 30
    assert attributes["gen_ai.usage.reasoning.output_tokens"] == 10
    assert attributes["llm_cost.usage.cache_write_1h_tokens"] == 30
    assert attributes["llm_cost.usage.web_searches"] == 2


def test_a_failure_that_consumed_nothing_is_voided(gate: RecordingGate, spans: Spans) -> None:
    call = _begin()
    call.fail(ConnectionError("the secret prompt"), None)

    assert gate.voided == [call.id]
    (span,) = spans.finished()
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.status.description is None
    assert spans.only()["error.type"] == "ConnectionError"


def test_an_unsampled_call_still_settles(gate: RecordingGate) -> None:
    calls.configure(tracer_provider=TracerProvider(sampler=ALWAYS_OFF))
    _begin().stop(REPLY)
    calls.configure()

    assert gate.settled[0].usage == REPLY.usage


def test_a_call_under_suppression_settles_without_a_span(gate: RecordingGate, spans: Spans) -> None:
    token = context.attach(context.set_value("suppress_instrumentation", True))
    _begin().stop(REPLY)
    context.detach(token)

    assert not spans.finished()
    assert gate.settled[0].usage == REPLY.usage


def test_the_span_is_current_in_one_frame_only(gate: RecordingGate, spans: Spans) -> None:
    call = _begin()

    assert trace.get_current_span() is trace.INVALID_SPAN
    with call.current():
        assert trace.get_current_span() is call.span
    assert trace.get_current_span() is trace.INVALID_SPAN
    call.stop(REPLY)


async def test_waiting_for_a_decision_that_is_cancelled_releases_the_hold(
    gate: RecordingGate, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(_: object) -> Decision:
        await asyncio.sleep(60)
        raise AssertionError("nobody waits this long")

    monkeypatch.setattr(gate, "reserve_async", slow)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await calls.begin_async(REQUEST)

    assert len(gate.voided) == 1
    assert not spans.finished()


def test_without_a_policy_there_is_a_cost_and_no_decision(spans: Spans) -> None:
    with policy.use_gate(OpenGate()):
        _begin().stop(REPLY)

    assert "llm_cost.cost.nano_usd" in spans.only()
    assert "llm_cost.policy.decision" not in spans.only()


def test_the_span_says_which_conversation_and_agent(gate: RecordingGate, spans: Spans) -> None:
    with attribute_to(conversation_id="c-7", agent="helper"):
        _begin().stop(REPLY)

    [span] = spans.finished()
    assert span.attributes is not None
    assert span.attributes[names.CONVERSATION_ID] == "c-7"
    assert span.attributes[names.AGENT_NAME] == "helper"
