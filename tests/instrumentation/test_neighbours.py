"""A call beside spans of others: which is borrowed, what it is told, and what goes out."""

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llm_cost import attribute_to, overdue, policy, providers, surroundings
from llm_cost import call as calls
from llm_cost.request import Reply, Request
from llm_cost.usage import Usage
from support import llm_server as says
from support.llm_server import Answer, LlmServer, llm_server
from support.recording import RecordingGate, Spans

REQUEST = Request("openai", "chat", "gpt-4o-mini", {"model": "gpt-4o-mini", "messages": []})
REPLY = Reply(usage=Usage(input_text_tokens=70, output_text_tokens=40), model="gpt-4o-mini")
MODEL_SPAN: dict[str, Any] = {"gen_ai.operation.name": "chat"}


@pytest.fixture
def gate() -> Iterator[RecordingGate]:
    recording = RecordingGate()
    with policy.use_gate(recording):
        yield recording


@pytest.fixture
def spans(gate: RecordingGate) -> Iterator[Spans]:
    recording = Spans()
    recording.provider.add_span_processor(surroundings._watcher)  # type: ignore[arg-type] # API only
    calls.configure(tracer_provider=recording.provider)
    yield recording
    overdue.drain()
    calls.configure()


def _begin(request: Request = REQUEST) -> calls.Call:
    call = calls.begin(request)
    assert call is not None
    return call


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 1},
        {"gen_ai.operation.name": "execute_tool"},
        {"openinference.span.kind": "CHAIN"},
        {"llm.request.type": "workflow"},
        {"http.request.method": "POST"},
        {},
    ],
)
def test_a_span_that_is_no_model_call_is_left_alone(
    spans: Spans, attributes: dict[str, Any]
) -> None:
    with spans.provider.get_tracer("app").start_as_current_span("x", attributes=attributes):
        _begin().stop(REPLY)

    ours, outer = spans.finished()
    assert ours.name == "chat gpt-4o-mini"
    assert dict(outer.attributes or {}) == attributes


@pytest.mark.parametrize(
    "attributes",
    [MODEL_SPAN, {"openinference.span.kind": "LLM"}, {"llm.request.type": "chat"}],
)
def test_a_model_span_around_the_call_is_borrowed(spans: Spans, attributes: dict[str, Any]) -> None:
    tracer = spans.provider.get_tracer("other")

    with tracer.start_as_current_span("theirs", attributes=attributes), attribute_to(user_id="u1"):
        _begin().stop(REPLY)

    (span,) = spans.finished()
    assert span.name == "theirs"
    assert span.attributes is not None
    assert span.attributes["llm_cost.cost.nano_usd"] == 34_500
    assert span.attributes["gen_ai.usage.input_tokens"] == 70
    assert span.attributes["user.id"] == "u1"
    assert "gen_ai.provider.name" not in span.attributes


def test_two_calls_in_one_model_span_cost_on_two_spans(spans: Spans) -> None:
    tracer = spans.provider.get_tracer("other")

    with tracer.start_as_current_span("theirs", attributes=MODEL_SPAN):
        _begin().stop(REPLY)
        _begin().stop(REPLY)

    assert sorted(span.name for span in spans.finished()) == ["chat gpt-4o-mini", "theirs"]
    assert all("llm_cost.cost.nano_usd" in (span.attributes or {}) for span in spans.finished())


def test_usage_in_other_words_is_not_told_twice(spans: Spans) -> None:
    tracer = spans.provider.get_tracer("other")

    with tracer.start_as_current_span("x", attributes={"openinference.span.kind": "LLM"}) as span:
        _begin().stop(REPLY)
        span.set_attribute("llm.token_count.prompt", 70)

    assert "gen_ai.usage.input_tokens" not in spans.only()
    assert "llm_cost.cost.nano_usd" in spans.only()


def test_the_providers_own_count_stands_over_a_guess(spans: Spans) -> None:
    tracer = spans.provider.get_tracer("other")

    with tracer.start_as_current_span("x", attributes=MODEL_SPAN) as span:
        _begin().stop(REPLY)
        span.set_attribute("gen_ai.usage.input_tokens", 4)

    assert spans.only()["gen_ai.usage.input_tokens"] == 70


def test_a_guess_of_ours_does_not_stand_over_their_count(spans: Spans) -> None:
    tracer = spans.provider.get_tracer("other")

    with tracer.start_as_current_span("x", attributes=MODEL_SPAN) as span:
        _begin().cancel(Reply(output_bytes=400))
        span.set_attribute("gen_ai.usage.input_tokens", 4)

    assert spans.only()["gen_ai.usage.input_tokens"] == 4


def test_a_lost_attempt_leaves_the_borrowed_span_to_the_next(
    spans: Spans, gate: RecordingGate
) -> None:
    tracer = spans.provider.get_tracer("other")

    with tracer.start_as_current_span("theirs", attributes=MODEL_SPAN):
        _begin().lose(TimeoutError("slow"))
        _begin().stop(REPLY)

    lost, theirs = spans.finished()
    assert lost.name == "chat gpt-4o-mini"
    assert lost.attributes is not None
    assert theirs.attributes is not None
    assert lost.attributes["error.type"] == "TimeoutError"
    assert theirs.attributes["llm_cost.cost.nano_usd"] == 34_500
    assert len(gate.settled) == 2


def test_a_framework_is_told_that_its_sum_is_priced_below(spans: Spans) -> None:
    tracer = spans.provider.get_tracer("openinference.instrumentation.langchain")

    run = tracer.start_span("ChatOpenAI")  # not current, and unsaid what it is until it ends
    _begin().stop(REPLY)
    run.set_attribute("llm.token_count.prompt", 70)
    run.end()

    ours, theirs = spans.finished()
    assert theirs.attributes is not None
    assert theirs.attributes["llm_cost.priced_below"] is True
    assert "llm_cost.cost.nano_usd" not in theirs.attributes
    assert "llm_cost.priced_below" not in (ours.attributes or {})


def test_a_late_span_that_never_comes_is_made_up_for(
    spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_late: Callable[[Request], bool] = lambda _: True  # noqa: E731 - one word of a neighbour
    monkeypatch.setattr(surroundings, "is_awaited_from", is_late)

    _begin().stop(REPLY)
    before = len(spans.finished())
    overdue.drain()

    assert before == 0
    assert spans.only()["llm_cost.cost.nano_usd"] == 34_500


# --- what goes out to the provider -------------------------------------------------------


class _Injecting(openai.OpenAI):
    """A client whose HTTP is instrumented: what is current is injected into its requests."""

    def _prepare_request(self, request: Any) -> None:
        propagate.inject(request.headers)


@pytest.fixture
def server() -> Iterator[LlmServer]:
    with llm_server() as running:
        running.will(Answer(body=says.chat()))
        yield running


def test_the_payer_does_not_travel_to_the_provider(server: LlmServer, gate: RecordingGate) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    providers.instrument(tracer_provider=provider)
    client = _Injecting(api_key="k", base_url=f"{server.url}/v1", max_retries=0)
    token = context.attach(baggage.set_baggage("shop", "7"))
    try:
        with attribute_to(user_id="secret-user", tier="pro"):
            client.chat.completions.create(model="gpt-4o-mini", messages=[])
            still_there = baggage.get_baggage("user.id")
    finally:
        context.detach(token)
        providers.uninstrument()

    headers = server.seen[0].headers
    (span,) = exporter.get_finished_spans()
    assert headers["baggage"] == "shop=7"
    assert headers["traceparent"].split("-")[2] == trace.format_span_id(span.context.span_id)
    assert "secret-user" not in repr(headers)
    assert still_there == "secret-user"
    assert gate.settled[0].identity.user_id == "secret-user"


def test_leaving_in_another_context_logs_nothing(
    spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    import contextvars

    call = _begin()
    current = call.current()
    contextvars.copy_context().run(current.__enter__)
    current.__exit__(None, None, None)
    call.stop(REPLY)

    assert not caplog.records
