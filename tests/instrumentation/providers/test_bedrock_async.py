"""Bedrock through aiobotocore: as through boto3, and nothing blocks the event loop."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiobotocore.client import AioBaseClient
from aiobotocore.config import AioConfig
from aiobotocore.endpoint import AioEndpoint
from aiobotocore.eventstream import AioEventStream
from aiobotocore.httpxsession import HttpxSession
from aiobotocore.response import AioStreamingBodyBase
from aiobotocore.session import get_session
from botocore.exceptions import ClientError, EventStreamError
from opentelemetry import trace

from llm_cost import call as calls
from llm_cost.errors import PolicyBlocked
from llm_cost.providers.bedrock import AioBedrockInstrumentor
from support import bedrock_says as says
from support.llm_server import PROMPT, Answer, LlmServer
from support.recording import BLOCKED, RecordingGate, Spans, eventually

CONVERSE: Any = {
    "modelId": says.CLAUDE,
    "messages": [{"role": "user", "content": [{"text": PROMPT}]}],
    "inferenceConfig": {"maxTokens": 100},
}


def _client(url: str, **config: Any) -> Any:
    config = {"retries": {"total_max_attempts": 1, "mode": "standard"}, **config}
    return get_session().create_client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="k",
        aws_secret_access_key="s",
        config=AioConfig(**config),
    )


@pytest.fixture(params=["aiohttp", "httpx"])
async def client(server: LlmServer, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    config = {"http_session_cls": HttpxSession} if request.param == "httpx" else {}
    async with _client(server.url, **config) as made:
        yield made


@pytest.fixture
async def streaming_client(server: LlmServer) -> AsyncIterator[Any]:
    # Over httpx, aiobotocore cannot read event streams.
    async with _client(server.url) as made:
        yield made


@pytest.fixture
def spans() -> Iterator[Spans]:
    recording = Spans()
    AioBedrockInstrumentor().instrument(tracer_provider=recording.provider)
    yield recording
    AioBedrockInstrumentor().uninstrument()
    calls.configure()


def _only_settled(gate: RecordingGate, spans: Spans) -> dict[str, int]:
    attributes = spans.only()
    (settled,) = gate.settled

    assert settled.actual_nano_usd == attributes["llm_cost.cost.nano_usd"]
    assert settled.usage_source == "reported"
    assert settled.outcome == "ok"
    assert len(gate.reserved) == gate.async_reserves == 1
    assert not gate.voided
    assert "secret" not in repr(attributes)
    assert trace.get_current_span() is trace.INVALID_SPAN
    return settled.usage.buckets()


async def test_converse_returns_what_it_always_did(
    client: Any, server: LlmServer, gate: RecordingGate, request: pytest.FixtureRequest
) -> None:
    server.will(Answer(body=says.converse()))
    unpatched = await client.converse(**CONVERSE)
    spans: Spans = request.getfixturevalue("spans")

    patched = await client.converse(**CONVERSE)

    assert patched["usage"] == unpatched["usage"]
    assert patched.keys() == unpatched.keys()
    assert _only_settled(gate, spans) == says.BUCKETS


async def test_a_stream_is_its_own_class_and_ends_with_its_metadata(
    streaming_client: Any, server: LlmServer, gate: RecordingGate, request: pytest.FixtureRequest
) -> None:
    server.will(says.streamed(*says.converse_events()))
    result = await streaming_client.converse_stream(**CONVERSE)
    unpatched = [event async for event in result["stream"]]
    spans: Spans = request.getfixturevalue("spans")

    stream = (await streaming_client.converse_stream(**CONVERSE))["stream"]

    assert isinstance(stream, AioEventStream)
    assert type(stream).__name__ == "AioEventStream"
    assert [event async for event in stream] == unpatched
    assert _only_settled(gate, spans) == says.BUCKETS


async def _by_context(body: Any) -> bytes:
    async with body as entered:
        found: bytes = await entered.read()
    return found


async def _by_chunks(body: Any) -> bytes:
    return b"".join([chunk async for chunk in body.iter_chunks(7)])


async def _by_readinto(body: Any) -> bytes:
    found, buffer = b"", bytearray(64)
    while size := await body.readinto(buffer):
        found += buffer[:size]
    return found


@pytest.mark.parametrize("read", [_by_context, _by_chunks, _by_readinto])
async def test_a_body_is_read_and_left_for_the_application(
    read: Any, client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    model, asked, told, _, buckets = says.BODIES[0]
    server.will(Answer(body=told))

    body = (await client.invoke_model(modelId=model, body=json.dumps(asked)))["body"]

    assert isinstance(body, AioStreamingBodyBase)
    assert json.loads(await read(body)) == told
    assert _only_settled(gate, spans) == buckets


async def test_a_body_nobody_read_is_counted_by_its_headers(
    client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.BODIES[0][2], headers=says.COUNT_HEADERS))

    async with (await client.invoke_model(modelId=says.CLAUDE, body=b"{}"))["body"]:
        pass

    (settled,) = gate.settled
    assert settled.usage.buckets() == says.PLAIN_BUCKETS


async def test_a_vendors_stream_is_read_along(
    streaming_client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    model, chunks, buckets = says.STREAMS[0]
    server.will(says.streamed(*says.invoke_events(chunks)))

    result = await streaming_client.invoke_model_with_response_stream(modelId=model, body=b"{}")
    found = [json.loads(event["chunk"]["bytes"]) async for event in result["body"]]

    assert found == chunks
    assert _only_settled(gate, spans) == buckets


async def test_a_blocked_call_is_not_sent(
    client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    gate.decision = BLOCKED

    with pytest.raises(PolicyBlocked):
        await client.converse_stream(**CONVERSE)

    assert not server.seen
    assert not gate.settled


async def test_a_refused_call_is_voided(
    client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(status=400, body={"message": PROMPT}))

    with pytest.raises(ClientError):
        await client.converse(**CONVERSE)

    assert len(gate.voided) == 1
    assert "secret" not in repr(spans.only())


def _assert_cut_once(spans: Spans, gate: RecordingGate, *, outcome: str = "cancelled") -> None:
    (settled,) = gate.settled

    assert settled.outcome == outcome
    assert settled.usage_source == "estimated"
    assert settled.usage.output_text_tokens == 2
    assert settled.actual_nano_usd == spans.only()["llm_cost.cost.nano_usd"] != 0


async def _first_text(stream: Any) -> None:
    async for event in stream:
        if "contentBlockDelta" in event:
            break


async def test_a_stream_closed_early_ends_at_once(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(says.streamed(*says.converse_events()))

    async with _client(server.url) as client:
        stream = (await client.converse_stream(**CONVERSE))["stream"]
        await _first_text(stream)
        assert not spans.finished()
        stream.close()

    _assert_cut_once(spans, gate)


async def test_a_stream_left_early_ends_when_it_is_dropped(
    streaming_client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(says.streamed(*says.converse_events()))

    await _first_text((await streaming_client.converse_stream(**CONVERSE))["stream"])
    gc.collect()
    await asyncio.sleep(0.05)
    eventually(spans.finished)

    _assert_cut_once(spans, gate)


async def test_a_cancelled_task_ends_its_stream(
    streaming_client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(says.streamed(*says.converse_events(pieces=50), pause_s=0.05))
    seen = asyncio.Event()

    async def read() -> None:
        async for event in (await streaming_client.converse_stream(**CONVERSE))["stream"]:
            if "contentBlockDelta" in event:
                seen.set()

    task = asyncio.create_task(read())
    await seen.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    _assert_cut_once(spans, gate)


async def test_an_error_in_mid_stream_is_botocores_own(
    streaming_client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(says.streamed(*says.broken_events()))
    stream = (await streaming_client.converse_stream(**CONVERSE))["stream"]

    await _first_text(stream)
    with pytest.raises(EventStreamError, match="slow down"):
        await _first_text(stream)

    _assert_cut_once(spans, gate, outcome="error")


async def test_an_attempt_that_timed_out_is_a_call_of_its_own(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    late = Answer(body=says.converse(), delay_s=0.6)
    server.will(late, Answer(body=says.converse()))
    retries = {"total_max_attempts": 2, "mode": "standard"}

    async with _client(server.url, read_timeout=0.2, retries=retries) as client:
        await client.converse(**CONVERSE)

    first, second = gate.settled
    assert (first.outcome, first.usage_source) == ("error", "estimated")
    assert (second.outcome, second.usage_source) == ("ok", "reported")
    assert gate.async_reserves == len(spans.finished()) == 2


def test_uninstrument_leaves_the_classes_as_they_were() -> None:
    before = dict(vars(AioBaseClient)), dict(vars(AioEndpoint))
    instrumentor = AioBedrockInstrumentor()

    for _ in range(2):
        instrumentor.instrument()
        assert vars(AioBaseClient)["_make_api_call"] is not before[0]["_make_api_call"]
        instrumentor.uninstrument()

    assert (dict(vars(AioBaseClient)), dict(vars(AioEndpoint))) == before
