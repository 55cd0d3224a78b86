"""Mistral's client: one attempt, one span, one settle, whatever the method and its reply."""

import asyncio
import gc
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from mistralai.azure.client import MistralAzure
from mistralai.client import Mistral, basesdk, errors
from mistralai.client._hooks import tracing
from mistralai.client.utils import BackoffStrategy, RetryConfig, eventstreaming, retries
from mistralai.extra.observability.telemetry import configure_telemetry
from opentelemetry import trace
from pydantic import BaseModel

from llm_cost import PolicyBlocked
from llm_cost import call as calls
from llm_cost.providers.mistralai import MistralAIInstrumentor, usage_of
from llm_cost.usage import Usage
from support import mistral_says as says
from support.llm_server import COMPLETION, PROMPT, Answer, LlmServer
from support.recording import ALLOWED, BLOCKED, RecordingGate, Spans, eventually

MODEL = "mistral-small-latest"
CHAT: Any = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}]}
CHAT_BUCKETS = {
    "input_text_tokens": 100,
    "cache_read_text_tokens": 20,
    "output_text_tokens": 50,
}
CONVERSATION_BUCKETS = {"input_text_tokens": 420, "output_text_tokens": 50, "web_searches": 2}
DOCUMENT: Any = {"type": "document_url", "document_url": "https://example.com/a.pdf"}
SOUND: Any = {"file_name": "a.mp3", "content": b"sound"}
SHORT_S = 0.3


class Shape(BaseModel):
    answer: str


class Cell(NamedTuple):
    """One way to call: the method's path, whose async twin has a suffix."""

    name: str
    path: str
    asked: dict[str, Any]
    answer: Answer
    buckets: dict[str, int]
    price_status: str = "exact"
    operation: str = "chat"


EVENTS = Answer(events=says.chat_events())
CELLS = [
    Cell("chat", "chat.complete", CHAT, Answer(body=says.chat()), CHAT_BUCKETS),
    Cell("chat stream", "chat.stream", CHAT, EVENTS, CHAT_BUCKETS),
    Cell(
        "chat parse",
        "chat.parse",
        {**CHAT, "response_format": Shape},
        Answer(body=says.json_chat({"answer": COMPLETION})),
        CHAT_BUCKETS,
    ),
    Cell(
        "agents",
        "agents.complete",
        {"agent_id": "a1", "messages": CHAT["messages"]},
        Answer(body=says.chat()),
        CHAT_BUCKETS,
    ),
    Cell(
        "fill in the middle",
        "fim.complete",
        {"model": MODEL, "prompt": PROMPT},
        Answer(body=says.chat()),
        CHAT_BUCKETS,
        operation="text_completion",
    ),
    Cell(
        "fill in the middle stream",
        "fim.stream",
        {"model": MODEL, "prompt": PROMPT},
        EVENTS,
        CHAT_BUCKETS,
        operation="text_completion",
    ),
    Cell(
        "embeddings",
        "embeddings.create",
        {"model": "mistral-embed", "inputs": [PROMPT]},
        Answer(body=says.embeddings()),
        {"input_text_tokens": 120},
        operation="embeddings",
    ),
    Cell(
        "conversation",
        "beta.conversations.start",
        {"model": "mistral-medium-latest", "inputs": PROMPT},
        Answer(body=says.conversation()),
        CONVERSATION_BUCKETS,
        "partial",  # the table has no price for a search of Mistral's
    ),
    Cell(
        "conversation going on, stream",
        "beta.conversations.append_stream",
        {"conversation_id": "c1", "inputs": PROMPT},
        Answer(events=says.conversation_events()),
        CONVERSATION_BUCKETS,
        "partial",
    ),
    Cell(
        "pages",
        "ocr.process",
        {"model": "mistral-ocr-latest", "document": DOCUMENT},
        Answer(body=says.pages()),
        {"pages": 10},
        operation="generate_content",
    ),
    Cell(
        "annotated pages",
        "ocr.process",
        {
            "model": "mistral-ocr-latest",
            "document": DOCUMENT,
            "document_annotation_format": {"type": "text"},
        },
        Answer(body=says.pages()),
        {"annotated_pages": 10},
        operation="generate_content",
    ),
    Cell(
        "transcript",
        "audio.transcriptions.complete",
        {"model": "voxtral-mini-latest", "file": SOUND},
        Answer(body=says.transcript()),
        {"input_audio_ms": 60_000},
        operation="generate_content",
    ),
    Cell(
        "transcript stream",
        "audio.transcriptions.stream",
        {"model": "voxtral-mini-latest", "file": SOUND},
        Answer(events=says.transcript_events()),
        {"input_audio_ms": 60_000},
        operation="generate_content",
    ),
]


@pytest.fixture
def spans() -> Iterator[Spans]:
    recording = Spans()
    MistralAIInstrumentor().instrument(tracer_provider=recording.provider)
    yield recording
    MistralAIInstrumentor().uninstrument()
    calls.configure()


@pytest.fixture
def client(server: LlmServer) -> Mistral:
    return Mistral(api_key="k", server_url=server.url, timeout_ms=5_000)


def _method(client: Any, path: str, suffix: str = "") -> Callable[..., Any]:
    *parts, name = path.split(".")
    for part in parts:
        client = getattr(client, part)
    method: Callable[..., Any] = getattr(client, name + suffix)
    return method


def _read(result: Any) -> Any:
    return [event.model_dump() for event in result] if hasattr(result, "response") else result


async def _read_async(result: Any) -> Any:
    if hasattr(result, "response"):
        return [event.model_dump() async for event in result]
    return result


def _assert_one_call(cell: Cell, spans: Spans, gate: RecordingGate, server: LlmServer) -> None:
    attributes = spans.only()
    (settled,) = gate.settled

    assert settled.usage.buckets() == cell.buckets
    assert settled.usage_source == attributes["llm_cost.usage.source"] == "reported"
    assert settled.price_status == cell.price_status
    assert settled.actual_nano_usd == attributes["llm_cost.cost.nano_usd"] != 0
    assert settled.outcome == "ok"
    assert attributes["gen_ai.provider.name"] == "mistral_ai"
    assert attributes["gen_ai.operation.name"] == cell.operation
    assert attributes["gen_ai.request.model"] == cell.asked.get(
        "model", cell.asked.get("agent_id", "")
    )
    assert len(gate.reserved) == len(server.seen) - 1 == 1
    assert not gate.voided
    assert "secret" not in repr(attributes)
    assert trace.get_current_span() is trace.INVALID_SPAN


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_call_is_seen_once_and_returns_what_it_always_did(
    cell: Cell,
    client: Mistral,
    server: LlmServer,
    gate: RecordingGate,
    request: pytest.FixtureRequest,
) -> None:
    server.will(cell.answer)
    unpatched = _read(_method(client, cell.path)(**cell.asked))
    spans: Spans = request.getfixturevalue("spans")

    patched = _read(_method(client, cell.path)(**cell.asked))

    assert patched == unpatched
    _assert_one_call(cell, spans, gate, server)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
async def test_an_async_call_is_seen_once_and_returns_what_it_always_did(
    cell: Cell,
    client: Mistral,
    server: LlmServer,
    gate: RecordingGate,
    request: pytest.FixtureRequest,
) -> None:
    server.will(cell.answer)
    unpatched = await _read_async(await _method(client, cell.path, "_async")(**cell.asked))
    spans: Spans = request.getfixturevalue("spans")

    patched = await _read_async(await _method(client, cell.path, "_async")(**cell.asked))

    assert patched == unpatched
    _assert_one_call(cell, spans, gate, server)
    assert gate.async_reserves == 1


@pytest.mark.parametrize("path", ["chat.complete", "chat.stream"])
async def test_a_blocked_call_never_reaches_the_provider(
    path: str, client: Mistral, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    gate.decision = BLOCKED

    with pytest.raises(PolicyBlocked):
        _method(client, path)(**CHAT)
    with pytest.raises(PolicyBlocked):
        await _method(client, path, "_async")(**CHAT)

    assert not server.seen
    assert len(spans.finished()) == 2
    assert not gate.settled


@pytest.mark.parametrize("status", [400, 401, 429, 500])
@pytest.mark.parametrize("path", ["chat.complete", "chat.stream"])
def test_a_refusal_costs_nothing(
    status: int, path: str, client: Mistral, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(status=status, body={"message": "no"}))

    with pytest.raises(errors.SDKError) as raised:
        _method(client, path)(**CHAT)

    assert raised.value.status_code == status
    assert len(gate.voided) == len(spans.finished()) == 1
    assert spans.only()["error.type"] == "HTTPStatusError"
    assert not gate.settled


def test_a_timeout_after_sending_is_charged_at_the_estimate(
    client: Mistral, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.chat(), delay_s=2 * SHORT_S))

    with pytest.raises(Exception, match="timed out"):
        client.chat.complete(**CHAT, max_tokens=70, timeout_ms=int(SHORT_S * 1000))

    (settled,) = gate.settled
    assert settled.usage_source == "estimated"
    assert settled.usage.output_text_tokens == 70
    assert settled.outcome == "error"
    assert spans.only()["error.type"] == "ReadTimeout"


def _retries() -> RetryConfig:
    return RetryConfig("backoff", BackoffStrategy(1, 1, 1.0, 60_000, jitter_ms=1), True)


def test_a_retry_after_a_refusal_is_one_call(
    client: Mistral, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    refusal = Answer(status=429, body={"message": "no"})
    server.will(refusal, refusal, Answer(body=says.chat()))

    client.chat.complete(**CHAT, retries=_retries())

    assert len(server.seen) == 3
    assert len(gate.reserved) == len(gate.settled) == len(spans.finished()) == 1
    assert not gate.voided


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_retry_after_a_timeout_is_two_calls(
    is_async: bool, client: Mistral, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.chat(), delay_s=2 * SHORT_S), Answer(body=says.chat()))
    asked = {**CHAT, "retries": _retries(), "timeout_ms": int(SHORT_S * 1000)}

    if is_async:
        await client.chat.complete_async(**asked)
    else:
        client.chat.complete(**asked)

    assert [settled.outcome for settled in gate.settled] == ["error", "ok"]
    assert [settled.usage_source for settled in gate.settled] == ["estimated", "reported"]
    assert len({settled.call_id for settled in gate.settled}) == len(gate.reserved) == 2
    assert len(spans.finished()) == 2


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_retry_that_is_blocked_is_not_sent(
    is_async: bool, client: Mistral, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    gate.decision, gate.later = ALLOWED, [BLOCKED]
    server.will(Answer(body=says.chat(), delay_s=2 * SHORT_S))
    asked = {**CHAT, "retries": _retries(), "timeout_ms": int(SHORT_S * 1000)}

    with pytest.raises(PolicyBlocked):
        await client.chat.complete_async(**asked) if is_async else client.chat.complete(**asked)

    assert len(server.seen) == len(gate.settled) == 1
    assert len(spans.finished()) == 2


def _assert_cut_once(spans: Spans, gate: RecordingGate) -> None:
    (settled,) = gate.settled

    assert settled.outcome == "cancelled"
    assert settled.usage_source == spans.only()["llm_cost.usage.source"] == "estimated"
    assert settled.usage.output_text_tokens == 2
    assert settled.usage.input_text_tokens > 0
    assert not gate.voided
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_stream_is_the_clients_own_class(
    client: Mistral, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(EVENTS)

    stream = client.chat.stream(**CHAT)

    assert type(stream) is eventstreaming.EventStream
    assert stream.response.headers["content-type"] == "text/event-stream"
    assert len(list(stream)) == 5
    assert spans.only()["gen_ai.response.finish_reasons"] == ("stop",)
    assert spans.only()["gen_ai.response.time_to_first_chunk"] > 0


def test_a_stream_left_inside_with_ends_at_once(
    client: Mistral, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(EVENTS)

    with client.chat.stream(**CHAT) as stream:
        next(stream)

    _assert_cut_once(spans, gate)


def test_a_stream_left_by_break_ends_when_it_is_dropped(
    client: Mistral, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(EVENTS)

    stream = client.chat.stream(**CHAT)
    for _ in stream:
        break
    del stream, _
    eventually(spans.finished)

    _assert_cut_once(spans, gate)


def test_a_stream_nobody_ever_read_ends_when_it_is_dropped(
    client: Mistral, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(EVENTS)

    client.chat.stream(**CHAT)
    eventually(spans.finished)

    assert gate.settled[0].outcome == "cancelled"


def test_a_response_read_by_itself_is_read_along(
    client: Mistral, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(EVENTS)

    response = client.chat.stream(**CHAT).response
    lines = [line for line in response.iter_lines() if line]

    assert len(lines) == 6
    assert gate.settled[0].usage.buckets() == CHAT_BUCKETS


def test_a_dropped_connection_is_billed_for_what_came(
    client: Mistral, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_events()[:2], cut=True))

    with pytest.raises(Exception, match="without sending complete"):
        list(client.chat.stream(**CHAT))

    assert gate.settled[0].outcome == "error"
    assert gate.settled[0].usage.output_text_tokens == 4
    assert spans.only()["error.type"] == "RemoteProtocolError"


async def test_a_cancelled_task_ends_its_stream(
    client: Mistral, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_events(pieces=50), pause_s=0.05))
    seen = asyncio.Event()

    async def read() -> None:
        async for _ in await client.chat.stream_async(**CHAT):
            seen.set()

    task = asyncio.create_task(read())
    await seen.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    _assert_cut_once(spans, gate)


async def test_an_async_stream_dropped_in_mid_air_ends(
    client: Mistral, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(EVENTS)

    stream = await client.chat.stream_async(**CHAT)
    async for _ in stream:
        break
    del stream, _
    gc.collect()
    await asyncio.sleep(0.05)
    eventually(spans.finished)

    _assert_cut_once(spans, gate)


def _self_tracing(server: LlmServer, spans: Spans) -> Mistral:
    client = Mistral(api_key="k", server_url=server.url)
    configure_telemetry(client, provider=spans.provider)
    return client


@pytest.mark.parametrize("path", ["chat.complete", "chat.stream"])
async def test_the_clients_own_spans_do_not_stand_beside_ours(
    path: str, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    client = _self_tracing(server, spans)
    server.will(EVENTS if path == "chat.stream" else Answer(body=says.chat()))

    _read(_method(client, path)(**CHAT))
    await _read_async(await _method(client, path, "_async")(**CHAT))

    assert [span.name for span in spans.finished()] == [f"chat {MODEL}"] * 2
    context = spans.finished()[0].context
    assert context is not None
    assert f"{context.span_id:016x}" in server.seen[0].headers["traceparent"]


def test_the_clients_own_spans_come_back_and_stay_where_we_have_none(
    server: LlmServer, spans: Spans
) -> None:
    client = _self_tracing(server, spans)
    server.will(Answer(body={"object": "list", "data": []}), Answer(body=says.chat()))

    client.models.list()
    MistralAIInstrumentor().uninstrument()
    client.chat.complete(**CHAT)

    native = [span.attributes or {} for span in spans.finished()]
    assert len(native) == 2
    assert native[1]["gen_ai.usage.input_tokens"] == 120
    assert not any("llm_cost.call.id" in attributes for attributes in native)


def test_azure_is_another_provider(server: LlmServer, gate: RecordingGate, spans: Spans) -> None:
    server.will(Answer(body=says.chat()))

    MistralAzure(api_key="k", server_url=server.url).chat.complete(**CHAT)

    assert spans.only()["gen_ai.provider.name"] == "azure.ai.inference"
    assert gate.settled[0].usage.buckets() == CHAT_BUCKETS


def test_what_costs_nothing_has_no_span(client: Mistral, server: LlmServer, spans: Spans) -> None:
    server.will(Answer(body={"object": "list", "data": []}))

    client.models.list()

    assert not spans.finished()


def test_patches_come_off_and_go_on_again() -> None:
    owners: list[Any] = [
        basesdk.BaseSDK,
        eventstreaming.EventStream,
        eventstreaming.EventStreamAsync,
        retries,
        tracing,
    ]
    found = [dict(vars(owner)) for owner in owners]

    for _ in range(2):
        MistralAIInstrumentor().instrument()
        assert [dict(vars(owner)) for owner in owners] != found
        MistralAIInstrumentor().uninstrument()

        assert [dict(vars(owner)) for owner in owners] == found


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (None, None),
        ({}, None),
        (
            {"prompt_tokens": 10, "completion_tokens": 5},
            Usage(input_text_tokens=10, output_text_tokens=5),
        ),
        (
            {"prompt_tokens": 10, "num_cached_tokens": 4, "completion_tokens": 0},
            Usage(input_text_tokens=6, cache_read_text_tokens=4),
        ),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 9,
                "completion_tokens_details": {"reasoning_tokens": 4},
                "prompt_audio_seconds": 3,
            },
            Usage(
                input_text_tokens=10,
                output_text_tokens=5,
                output_reasoning_tokens=4,
                input_audio_ms=3_000,
            ),
        ),
        (
            {"prompt_tokens": 10, "connector_tokens": 7, "connectors": {"image_generation": 1}},
            Usage(input_text_tokens=17, images=1),
        ),
        ({"prompt_tokens": "many", "completion_tokens": -1}, Usage()),
    ],
)
def test_usage_is_read_by_mistrals_rule(told: Any, usage: Usage | None) -> None:
    assert usage_of(told) == usage
