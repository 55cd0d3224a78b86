"""Cohere's client, v1 and v2: one call, one span, one settle, billed by the billed units."""

import asyncio
import gc
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cohere
import httpx
import pytest
from cohere.raw_base_client import AsyncRawBaseCohere, RawBaseCohere
from cohere.v2.raw_client import AsyncRawV2Client, RawV2Client
from opentelemetry import trace

from llm_cost import call as calls
from llm_cost.errors import PolicyBlocked
from llm_cost.providers.cohere import CohereInstrumentor, usage_of
from llm_cost.usage import Usage
from support import cohere_says as says
from support.llm_server import PROMPT, Answer, LlmServer
from support.recording import BLOCKED, RecordingGate, Spans, eventually

MODEL = "command-a-03-2025"
CHAT: Any = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}]}
CHAT_V1: Any = {"model": MODEL, "message": PROMPT}
CHAT_BUCKETS = {
    "input_text_tokens": 70,
    "cache_read_text_tokens": 30,
    "output_text_tokens": 40,
}
CHAT_NANO_USD = 100 * 2_500 + 40 * 10_000  # $2.50 and $10 a million; cached ones at no discount


class Cell(NamedTuple):
    """One way to call. `buckets` None: the use is not told; `nano_usd` None: no price."""

    name: str
    answer: Answer
    call: Callable[[Any], Any]
    buckets: dict[str, int] | None
    nano_usd: int | None
    operation: str = "chat"


def _document(body: Any) -> Answer:
    return Answer(body=body)


CELLS = [
    Cell(
        "v2 chat",
        _document(says.chat()),
        lambda c: c.v2.chat(**CHAT),
        CHAT_BUCKETS,
        CHAT_NANO_USD,
    ),
    Cell(
        "v2 chat raw",
        _document(says.chat()),
        lambda c: c.v2.with_raw_response.chat(**CHAT),
        CHAT_BUCKETS,
        CHAT_NANO_USD,
    ),
    Cell(
        "v2 chat stream",
        Answer(events=says.chat_events()),
        lambda c: c.v2.chat_stream(**CHAT),
        CHAT_BUCKETS,
        CHAT_NANO_USD,
    ),
    Cell(
        "v2 chat stream raw",
        Answer(events=says.chat_events()),
        lambda c: c.v2.with_raw_response.chat_stream(**CHAT),
        CHAT_BUCKETS,
        CHAT_NANO_USD,
    ),
    Cell(
        "v1 chat",
        _document(says.chat_v1()),
        lambda c: c.chat(**CHAT_V1),
        CHAT_BUCKETS,
        CHAT_NANO_USD,
    ),
    Cell(
        "v1 chat stream",
        Answer(events=says.chat_v1_events()),
        lambda c: c.chat_stream(**CHAT_V1),
        CHAT_BUCKETS,
        CHAT_NANO_USD,
    ),
    Cell(
        "generate",
        _document(says.generation()),
        lambda c: c.generate(model=MODEL, prompt=PROMPT),
        CHAT_BUCKETS,
        CHAT_NANO_USD,
        "text_completion",
    ),
    Cell(
        "summarize",
        _document(says.summary()),
        lambda c: c.summarize(model=MODEL, text=PROMPT),
        CHAT_BUCKETS,
        CHAT_NANO_USD,
        "text_completion",
    ),
    Cell(
        "v1 embed",
        _document(says.embeddings(1)),
        lambda c: c.embed(model="embed-v4.0", texts=["a"], input_type="search_query"),
        {"input_text_tokens": 1},
        120,
        "embeddings",
    ),
    Cell(
        "v2 embed",
        _document(says.embeddings(2, by_type=True)),
        lambda c: c.v2.embed(model="embed-v4.0", texts=["a", "b"], input_type="search_query"),
        {"input_text_tokens": 2},
        240,
        "embeddings",
    ),
    Cell(
        "v1 rerank",
        _document(says.ranking()),
        lambda c: c.rerank(model="rerank-v3.5", query=PROMPT, documents=["a"]),
        {"rerank_searches": 2},
        None,
        "rerank",
    ),
    Cell(
        "v2 rerank",
        _document(says.ranking()),
        lambda c: c.v2.rerank(model="rerank-v3.5", query=PROMPT, documents=["a"]),
        {"rerank_searches": 2},
        None,
        "rerank",
    ),
    Cell(
        "classify",
        _document(says.classification()),
        lambda c: c.classify(model="embed-v4.0", inputs=[PROMPT]),
        None,
        None,
        "generate_content",
    ),
    Cell(
        "parse",
        _document(says.parsed()),
        lambda c: c.v2.parse(
            model="parse-1", document={"type": "image_url", "image_url": {"url": "x"}}
        ),
        {"pages": 3},
        None,
        "generate_content",
    ),
]


def _read(result: Any) -> Any:
    if isinstance(result, types.GeneratorType):
        return [chunk.dict() for chunk in result]
    if hasattr(result, "__enter__"):
        with result as raw:
            assert isinstance(raw.data, types.GeneratorType)
            return raw.status_code, [chunk.dict() for chunk in raw.data]
    return (result.headers["content-type"], result.data) if hasattr(result, "data") else result


async def _read_async(result: Any) -> Any:
    if isinstance(result, types.AsyncGeneratorType):
        return [chunk.dict() async for chunk in result]
    if hasattr(result, "__aenter__"):
        async with result as raw:
            assert isinstance(raw.data, types.AsyncGeneratorType)
            return raw.status_code, [chunk.dict() async for chunk in raw.data]
    result = await result
    return (result.headers["content-type"], result.data) if hasattr(result, "data") else result


@pytest.fixture
def spans() -> Iterator[Spans]:
    recording = Spans()
    CohereInstrumentor().instrument(tracer_provider=recording.provider)
    yield recording
    CohereInstrumentor().uninstrument()
    calls.configure()


@pytest.fixture
def client(server: LlmServer) -> Iterator[cohere.Client]:
    made = cohere.Client(api_key="k", base_url=server.url, max_retries=0, timeout=5)
    with made:
        yield made


@pytest.fixture
def async_client(server: LlmServer) -> cohere.AsyncClient:
    return cohere.AsyncClient(api_key="k", base_url=server.url, max_retries=0, timeout=5)


def _assert_one_call(cell: Cell, spans: Spans, gate: RecordingGate) -> None:
    attributes = spans.only()
    (settled,) = gate.settled

    assert attributes["gen_ai.provider.name"] == "cohere"
    assert attributes["gen_ai.operation.name"] == cell.operation
    assert settled.usage.buckets() == (cell.buckets or {})
    assert settled.usage_source == ("reported" if cell.buckets else "estimated")
    assert settled.actual_nano_usd == attributes.get("llm_cost.cost.nano_usd") == cell.nano_usd
    assert settled.outcome == "ok"
    assert len(gate.reserved) == 1
    assert not gate.voided
    assert "secret" not in repr(attributes)
    assert trace.get_current_span() is trace.INVALID_SPAN


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_sync_call_is_seen_once_and_returns_what_it_always_did(
    cell: Cell,
    client: cohere.Client,
    server: LlmServer,
    gate: RecordingGate,
    request: pytest.FixtureRequest,
) -> None:
    server.will(cell.answer)
    unpatched = _read(cell.call(client))
    spans: Spans = request.getfixturevalue("spans")

    patched = _read(cell.call(client))

    assert patched == unpatched
    _assert_one_call(cell, spans, gate)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
async def test_an_async_call_is_seen_once_and_returns_what_it_always_did(
    cell: Cell,
    async_client: cohere.AsyncClient,
    server: LlmServer,
    gate: RecordingGate,
    request: pytest.FixtureRequest,
) -> None:
    server.will(cell.answer)
    unpatched = await _read_async(cell.call(async_client))
    spans: Spans = request.getfixturevalue("spans")

    patched = await _read_async(cell.call(async_client))

    assert patched == unpatched
    _assert_one_call(cell, spans, gate)
    assert gate.async_reserves == 1


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (None, None),
        ({}, None),
        ({"billed_units": {"classifications": 4}}, None),
        (
            # Nothing billed is told: what was read and made stands in.
            {"tokens": {"input_tokens": 7, "output_tokens": 3}},
            Usage(input_text_tokens=7, output_text_tokens=3),
        ),
        (
            # More cached than billed: what is cached is part of what is billed.
            {"billed_units": {"input_tokens": 5}, "cached_tokens": 500},
            Usage(cache_read_text_tokens=5),
        ),
        (
            {"billed_units": {"input_tokens": 9, "text_tokens": 4, "image_tokens": 5, "images": 1}},
            Usage(input_text_tokens=4, input_image_tokens=5),
        ),
        ({"billed_units": {"images": 2.0}}, Usage(images=2)),
        ({"billed_units": {"input_tokens": -3, "search_units": 1}}, Usage(rerank_searches=1)),
    ],
)
def test_usage_is_what_is_billed(told: Any, usage: Usage | None) -> None:
    assert usage_of(told) == usage


def test_a_v2_client_is_seen_like_the_v2_part_of_a_client(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.chat()))

    cohere.ClientV2(api_key="k", base_url=server.url).chat(**CHAT)

    assert spans.only()["gen_ai.response.finish_reasons"] == ("COMPLETE",)
    assert spans.only()["gen_ai.response.id"] == "chat_1"
    assert gate.settled[0].actual_nano_usd == CHAT_NANO_USD


def test_embeddings_in_batches_are_several_calls(
    client: cohere.Client, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.embeddings(96)))

    client.embed(model="embed-v4.0", texts=["text"] * 192, input_type="search_document")

    assert len(spans.finished()) == len(gate.reserved) == len(server.seen) == 2
    assert [settled.usage.input_text_tokens for settled in gate.settled] == [96, 96]


def test_a_blocked_call_is_not_sent(
    client: cohere.Client, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    gate.decision = BLOCKED

    with pytest.raises(PolicyBlocked):
        client.v2.chat(**CHAT)
    with pytest.raises(PolicyBlocked):
        next(iter(client.v2.chat_stream(**CHAT)))

    assert not server.seen
    assert not gate.settled
    assert len(spans.finished()) == 2


async def test_a_blocked_async_call_is_not_sent(
    async_client: cohere.AsyncClient, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    gate.decision = BLOCKED

    with pytest.raises(PolicyBlocked):
        await async_client.chat(**CHAT_V1)
    with pytest.raises(PolicyBlocked):
        await anext(async_client.chat_stream(**CHAT_V1))

    assert not server.seen
    assert not gate.settled


@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_a_refused_call_is_voided_and_raises_what_it_always_did(
    status: int, client: cohere.Client, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(status=status, body={"message": PROMPT}))

    with pytest.raises(cohere.core.ApiError) as raised:
        client.chat(**CHAT_V1)
    with pytest.raises(cohere.core.ApiError):
        list(client.v2.chat_stream(**CHAT))

    assert raised.value.status_code == status
    assert len(gate.voided) == len(spans.finished()) == 2
    assert not gate.settled
    (span, _) = spans.finished()
    assert "secret" not in repr((span.attributes, span.status.description, span.events))


def test_a_retried_refusal_is_the_same_call(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    retry = Answer(status=503, body={}, headers={"retry-after-ms": "1"})
    server.will(retry, Answer(body=says.chat_v1()))

    with cohere.Client(api_key="k", base_url=server.url, max_retries=1) as client:
        client.chat(**CHAT_V1)

    assert len(server.seen) == 2
    assert len(spans.finished()) == len(gate.reserved) == len(gate.settled) == 1


def test_a_call_that_timed_out_is_settled_at_its_estimate(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.chat_v1(), delay_s=0.5))
    client = cohere.Client(api_key="k", base_url=server.url, timeout=0.1, max_retries=0)

    with client, pytest.raises(httpx.ReadTimeout):
        client.chat(**CHAT_V1, max_tokens=50)

    (settled,) = gate.settled
    assert settled.outcome == "error"
    assert settled.usage_source == "estimated"
    assert settled.usage.output_text_tokens == 50


def test_a_call_without_a_connection_is_voided(gate: RecordingGate, spans: Spans) -> None:
    with (
        cohere.Client(api_key="k", base_url="http://127.0.0.1:9", max_retries=0) as client,
        pytest.raises(httpx.ConnectError),
    ):
        client.chat(**CHAT_V1)

    assert len(gate.voided) == 1
    assert spans.only()["error.type"] == "ConnectError"


def _assert_cut_once(spans: Spans, gate: RecordingGate, *, outcome: str = "cancelled") -> None:
    attributes = spans.only()
    (settled,) = gate.settled

    assert settled.outcome == outcome
    assert settled.usage_source == attributes["llm_cost.usage.source"] == "estimated"
    assert settled.usage.output_text_tokens == 2
    assert settled.usage.input_text_tokens > 0
    assert settled.actual_nano_usd == attributes["llm_cost.cost.nano_usd"] != 0
    assert not gate.voided
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_stream_left_early_ends_when_it_is_dropped(
    client: cohere.Client, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_events()))

    stream = client.v2.chat_stream(**CHAT)
    for chunk in stream:
        if chunk.type == "content-delta":
            break
    del stream
    eventually(spans.finished)

    _assert_cut_once(spans, gate)


def test_a_raw_stream_left_early_ends_with_its_block(
    client: cohere.Client, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_v1_events()))

    with client.with_raw_response.chat_stream(**CHAT_V1) as raw:
        for chunk in raw.data:
            if chunk.event_type == "text-generation":
                break

    _assert_cut_once(spans, gate)


def test_a_raw_stream_nobody_read_ends_with_its_block(
    client: cohere.Client, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_events()))

    with client.v2.with_raw_response.chat_stream(**CHAT):
        pass

    (settled,) = gate.settled
    assert settled.outcome == "cancelled"
    assert settled.usage.output_text_tokens == 0


def test_an_error_of_the_application_in_mid_stream_is_its_own(
    client: cohere.Client, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_events()))

    def read() -> None:
        with client.v2.with_raw_response.chat_stream(**CHAT) as raw:
            for chunk in raw.data:
                if chunk.type == "content-delta":
                    raise KeyError("of the application")

    with pytest.raises(KeyError, match="of the application"):
        read()

    _assert_cut_once(spans, gate)


def test_a_dropped_connection_is_an_error_and_is_billed_for_what_came(
    client: cohere.Client, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_events(ended=False)[:3], cut=True))

    with pytest.raises(httpx.RemoteProtocolError):
        list(client.v2.chat_stream(**CHAT))

    _assert_cut_once(spans, gate, outcome="error")


def test_a_stream_that_ends_without_usage_is_estimated(
    client: cohere.Client, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.generation_events()))

    list(client.generate_stream(model=MODEL, prompt=PROMPT))

    (settled,) = gate.settled
    assert settled.outcome == "ok"
    assert settled.usage_source == "estimated"
    assert settled.usage.output_text_tokens == 8


async def test_a_cancelled_task_ends_its_stream(
    async_client: cohere.AsyncClient,
    server: LlmServer,
    gate: RecordingGate,
    spans: Spans,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.will(Answer(events=says.chat_events(pieces=50), pause_s=0.05))
    seen = asyncio.Event()

    async def read() -> None:
        async for chunk in async_client.v2.chat_stream(**CHAT):
            if chunk.type == "content-delta":
                seen.set()

    task = asyncio.create_task(read())
    await seen.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    _assert_cut_once(spans, gate)
    assert "detach" not in caplog.text


async def test_an_async_stream_dropped_in_mid_air_ends(
    async_client: cohere.AsyncClient, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_events()))

    stream = async_client.v2.chat_stream(**CHAT)
    async for chunk in stream:
        if chunk.type == "content-delta":
            break
    del stream
    gc.collect()
    await asyncio.sleep(0.05)
    eventually(spans.finished)

    _assert_cut_once(spans, gate)


def test_messages_given_as_models_are_measured(
    client: cohere.Client, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.chat()))
    message = cohere.UserChatMessageV2(content="word " * 10_000)

    client.v2.chat(model=MODEL, messages=[message], max_tokens=1)

    (reserved,) = gate.reserved
    assert reserved.estimate_nano_usd is not None
    assert reserved.estimate_nano_usd > 50_000 * 2_500


def test_the_client_for_aws_is_billed_by_aws(
    monkeypatch: pytest.MonkeyPatch, gate: RecordingGate, spans: Spans
) -> None:
    def bedrock(request: httpx.Request) -> httpx.Response:
        assert request.url.host == "bedrock-runtime.us-east-1.amazonaws.com"
        counts = {
            "x-amzn-bedrock-input-token-count": "9",
            "x-amzn-bedrock-output-token-count": "4",
        }
        return httpx.Response(200, json=says.chat_v1(), headers=counts)

    client = cohere.BedrockClient(
        aws_access_key="k", aws_secret_key="s", aws_session_token="t", aws_region="us-east-1"
    )
    wrapped = client._client_wrapper.httpx_client.httpx_client
    monkeypatch.setattr(wrapped, "_transport", httpx.MockTransport(bedrock))
    monkeypatch.setattr(wrapped, "_mounts", {})

    client.chat(model="cohere.command-r-plus-v1:0", message=PROMPT)

    attributes = spans.only()
    assert attributes["gen_ai.provider.name"] == "aws.bedrock"
    assert attributes["server.address"] == "bedrock-runtime.us-east-1.amazonaws.com"
    assert gate.settled[0].usage.buckets() == {"input_text_tokens": 9, "output_text_tokens": 4}


def test_uninstrument_leaves_the_classes_as_they_were() -> None:
    owners = (RawBaseCohere, AsyncRawBaseCohere, RawV2Client, AsyncRawV2Client)
    before = [dict(vars(owner)) for owner in owners]
    instrumentor = CohereInstrumentor()

    for _ in range(2):
        instrumentor.instrument()
        assert vars(RawV2Client)["chat"] is not before[2]["chat"]
        instrumentor.uninstrument()

    assert [dict(vars(owner)) for owner in owners] == before
