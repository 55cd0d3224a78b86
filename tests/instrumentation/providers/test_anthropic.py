"""Anthropic's calls beside plain messages (those are in test_matrix.py): clouds, batches, tools."""

import json
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import pytest

from llm_cost import receipts
from llm_cost.providers.anthropic import usage_of
from support import aws_event_stream
from support import llm_server as says
from support.llm_server import Answer, LlmServer
from support.recording import BLOCKED, RecordingGate, Spans
from support.ways import Way, assert_booked, marked, read, read_async

MESSAGES: Any = [{"role": "user", "content": says.PROMPT}]
MESSAGE: Any = {"model": "claude-sonnet-4-6", "messages": MESSAGES, "max_tokens": 100}
USED = {
    "input_text_tokens": 100,
    "cache_read_text_tokens": 20,
    "cache_write_tokens": 10,
    "cache_write_1h_tokens": 20,
    "output_text_tokens": 40,
    "output_reasoning_tokens": 10,
}


def _used(**more: Any) -> dict[str, Any]:
    return says.message(usage={**says.MESSAGE_USAGE, **more})


WAYS = [
    Way(
        "messages with server tools",
        Answer(body=_used(server_tool_use={"web_search_requests": 3, "web_fetch_requests": 2})),
        lambda c: c.messages.create(**MESSAGE),
        {**USED, "web_searches": 3},
    ),
    Way(
        "messages in a region",
        Answer(body=_used(inference_geo="us")),
        lambda c: c.messages.create(**MESSAGE),
        USED,
    ),
    Way(
        "messages in fast mode",
        Answer(body={**_used(speed="fast"), "model": "claude-opus-4-6"}),
        lambda c: c.beta.messages.create(**{**MESSAGE, "model": "claude-opus-4-6"}, speed="fast"),
        USED,
    ),
    Way(
        "messages in priority",
        Answer(body=_used(service_tier="priority")),
        lambda c: c.messages.create(**MESSAGE),
        USED,
        price="fallback",
    ),
    Way(
        "messages count tokens",
        Answer(body={"input_tokens": 3}),
        lambda c: c.messages.count_tokens(model="claude-sonnet-4-6", messages=MESSAGES),
        None,
    ),
    Way(
        "message batches create",
        Answer(body={"id": "msgbatch_1", "type": "message_batch"}),
        lambda c: c.messages.batches.create(requests=[{"custom_id": "a", "params": MESSAGE}]),
        None,
    ),
    Way(
        "message batches retrieve",
        Answer(body={"id": "msgbatch_1", "type": "message_batch"}),
        lambda c: c.messages.batches.retrieve("msgbatch_1"),
        None,
    ),
]


def _client(server: LlmServer) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0)


def _async_client(server: LlmServer) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(api_key="k", base_url=server.url, max_retries=0)


@pytest.mark.parametrize("way", marked("anthropic", WAYS))
def test_a_call_is_booked_once_as_it_is_billed(
    way: Way, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(way.answer)

    read(way.call(_client(server)))

    assert_booked(way, server, gate, spans)


@pytest.mark.parametrize("way", marked("anthropic", WAYS))
async def test_an_async_call_is_booked_once_as_it_is_billed(
    way: Way, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(way.answer)
    async with _async_client(server) as client:
        await read_async(way.call(client))

    assert_booked(way, server, gate, spans)


@pytest.mark.parametrize(
    ("more", "numerator", "denominator"),
    [({"inference_geo": "us"}, 11, 10), ({"service_tier": "batch"}, 1, 2), ({}, 1, 1)],
)
def test_where_and_how_a_message_was_made_is_in_its_price(
    more: Any,
    numerator: int,
    denominator: int,
    server: LlmServer,
    gate: RecordingGate,
    spans: Spans,
) -> None:
    server.will(Answer(body=says.message()), Answer(body=_used(**more)))
    client = _client(server)

    client.messages.create(**MESSAGE)
    client.messages.create(**MESSAGE)

    plain, special = (one.actual_nano_usd for one in gate.settled)
    assert plain is not None
    assert special == plain * numerator // denominator


# --- message batches: each result once, at the batch price -----------------------------------

RESULTS = b"".join(
    json.dumps({"custom_id": name, "result": result}).encode() + b"\n"
    for name, result in (
        ("a", {"type": "succeeded", "message": says.message(id="msg_a")}),
        ("b", {"type": "errored", "error": {"type": "error", "error": {"type": "x"}}}),
        ("c", {"type": "succeeded", "message": says.message(id="msg_c")}),
        ("d", {"type": "expired"}),
    )
)


def _batch(server: LlmServer) -> None:
    batch = {
        "id": "msgbatch_1",
        "type": "message_batch",
        "processing_status": "ended",
        "results_url": f"{server.url}/v1/messages/batches/msgbatch_1/results",
    }
    results = Answer(body=RESULTS, content_type="application/x-jsonl")
    server.will(*[Answer(body=batch), results] * 3)


def _assert_two_results(gate: RecordingGate, spans: Spans) -> None:
    assert len(gate.settled) == len(spans.finished()) == 2
    assert len({one.call_id for one in gate.settled}) == 2
    assert [one.usage.buckets() for one in gate.settled] == [USED, USED]
    # Half of what test_where_and_how_... finds for the same usage.
    assert {one.price_status for one in gate.settled} == {"exact"}
    assert not gate.reserved


@pytest.mark.covers("anthropic", "message batches results")
def test_each_result_of_a_batch_is_booked_once(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    _batch(server)
    client = _client(server)

    seen = [result.custom_id for _ in range(2) for result in client.messages.batches.results("m")]

    assert seen == ["a", "b", "c", "d"] * 2
    _assert_two_results(gate, spans)


def test_another_process_that_reads_results_settles_the_same_calls(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    _batch(server)
    client = _client(server)

    list(client.messages.batches.results("m"))
    receipts._booked.clear()  # what another process remembers of this one
    list(client.beta.messages.batches.results("m"))

    calls = [one.call_id for one in gate.settled]
    assert calls[:2] == calls[2:]


def test_results_left_early_are_booked_as_far_as_they_were_read(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    _batch(server)

    results = _client(server).messages.batches.results("m")
    next(results)
    results.close()

    assert len(gate.settled) >= 1


@pytest.mark.covers("anthropic", "message batches results")
async def test_each_result_of_a_batch_is_booked_once_by_an_async_client(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    _batch(server)
    async with _async_client(server) as client:
        async for _ in await client.messages.batches.results("m"):
            pass

    _assert_two_results(gate, spans)


# --- the tool runner: one call of the application, many of the model --------------------------


@anthropic.beta_tool
def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"rain in {city}"


@pytest.mark.covers("anthropic", "beta tool runner")
def test_each_turn_of_the_tool_runner_is_a_call(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    used = {"type": "tool_use", "id": "t", "name": "weather", "input": {"city": "Oslo"}}
    turn = says.message(content=[used], stop_reason="tool_use", id="msg_t")
    server.will(Answer(body=turn), Answer(body=says.message()))

    last = _client(server).beta.messages.tool_runner(**MESSAGE, tools=[weather]).until_done()

    assert last.id == "msg_1"
    assert len(gate.reserved) == len(gate.settled) == len(spans.finished()) == 2
    assert [one.usage.buckets() for one in gate.settled] == [USED, USED]


# --- clouds ----------------------------------------------------------------------------------


def _bedrock(server: LlmServer, *, is_async: bool) -> Any:
    of = anthropic.AsyncAnthropicBedrock if is_async else anthropic.AnthropicBedrock
    return of(api_key="k", aws_region="us-east-1", base_url=server.url)


def _vertex(server: LlmServer, *, is_async: bool) -> Any:
    of = anthropic.AsyncAnthropicVertex if is_async else anthropic.AnthropicVertex
    return of(access_token="t", project_id="p", region="global", base_url=server.url)


def _foundry(server: LlmServer, *, is_async: bool) -> Any:
    of = anthropic.AsyncAnthropicFoundry if is_async else anthropic.AnthropicFoundry
    return of(api_key="k", base_url=server.url)


CLOUDS = [
    pytest.param(
        make,
        provider,
        model,
        price,
        marks=pytest.mark.covers(f"anthropic on {name}", "messages"),
        id=name,
    )
    for name, make, provider, model, price in (
        ("Bedrock", _bedrock, "aws.bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0", "exact"),
        ("Vertex AI", _vertex, "gcp.vertex_ai", "claude-sonnet-4-5@20250929", "exact"),
        ("Foundry", _foundry, "azure.ai.inference", "claude-sonnet-4-5", "fallback"),
    )
]
ANSWERED = says.message(model="claude-sonnet-4-5-20250929")


def _assert_of_a_cloud(provider: str, price: str, gate: RecordingGate, spans: Spans) -> None:
    (settled,) = gate.settled
    assert settled.provider == spans.only()["gen_ai.provider.name"] == provider
    assert settled.usage.buckets() == USED
    assert settled.price_status == price
    assert settled.actual_nano_usd


@pytest.mark.parametrize(("make", "provider", "model", "price"), CLOUDS)
def test_a_cloud_is_told_by_its_client(
    make: Callable[..., Any],
    provider: str,
    model: str,
    price: str,
    server: LlmServer,
    gate: RecordingGate,
    spans: Spans,
) -> None:
    server.will(Answer(body=ANSWERED))

    make(server, is_async=False).messages.create(**{**MESSAGE, "model": model})

    assert gate.reserved[0].model == model
    _assert_of_a_cloud(provider, price, gate, spans)


@pytest.mark.parametrize(("make", "provider", "model", "price"), CLOUDS)
async def test_a_cloud_is_told_by_its_async_client(
    make: Callable[..., Any],
    provider: str,
    model: str,
    price: str,
    server: LlmServer,
    gate: RecordingGate,
    spans: Spans,
) -> None:
    server.will(Answer(body=ANSWERED))

    await make(server, is_async=True).beta.messages.create(**{**MESSAGE, "model": model})

    _assert_of_a_cloud(provider, price, gate, spans)


@pytest.mark.covers("anthropic on Vertex AI", "messages stream")
def test_a_stream_of_vertex_is_read(server: LlmServer, gate: RecordingGate, spans: Spans) -> None:
    server.will(Answer(events=says.message_events()))

    list(_vertex(server, is_async=False).messages.create(**MESSAGE, stream=True))

    assert gate.settled[0].usage.buckets() == USED


def _frames(events: list[str]) -> bytes:
    """Return server-sent events as Bedrock sends them: in frames of AWS's event stream."""
    documents = [json.loads(event.partition("data: ")[2]) for event in events]
    return b"".join(aws_event_stream.chunk(document) for document in documents)


@pytest.mark.covers("anthropic on Bedrock", "messages stream")
def test_a_stream_of_bedrock_is_read(server: LlmServer, gate: RecordingGate, spans: Spans) -> None:
    frames = _frames(says.message_events())
    server.will(Answer(body=frames, content_type=aws_event_stream.CONTENT_TYPE))

    events = list(_bedrock(server, is_async=False).messages.create(**MESSAGE, stream=True))

    assert events[-1].type == "message_stop"
    assert gate.settled[0].usage.buckets() == USED


def test_a_blocked_call_never_reaches_a_cloud(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    gate.decision = BLOCKED
    sent: list[httpx2.Request] = []
    http = httpx2.Client(transport=httpx2.MockTransport(lambda r: sent.append(r) or None))  # type: ignore[arg-type,func-returns-value,return-value] # never called
    client = anthropic.AnthropicBedrock(api_key="k", aws_region="us-east-1", http_client=http)

    with pytest.raises(Exception, match="limit reached"):
        client.messages.create(**MESSAGE)

    assert not sent


# --- the usage rule ---------------------------------------------------------------------------

COMPACTION = {
    "type": "compaction",
    "input_tokens": 1_000,
    "output_tokens": 200,
    "cache_read_input_tokens": 300,
    "cache_creation_input_tokens": 40,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 40},
}
TURN = {**COMPACTION, "type": "message"}


def test_a_compaction_is_added_and_a_turn_is_not() -> None:
    usage = usage_of({**says.MESSAGE_USAGE, "iterations": [TURN, COMPACTION]})

    assert usage is not None
    assert usage.buckets() == {
        "input_text_tokens": 1_100,
        "cache_read_text_tokens": 320,
        "cache_write_tokens": 10,
        "cache_write_1h_tokens": 60,
        "output_text_tokens": 240,
        "output_reasoning_tokens": 10,
    }


@pytest.mark.covers("anthropic", "beta messages with an adviser")
def test_an_adviser_is_a_call_of_its_own_model(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    advice = {
        "type": "advisor_message",
        "model": "claude-opus-4-6",
        "input_tokens": 800,
        "output_tokens": 500,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0,
    }
    server.will(Answer(body=_used(iterations=[advice])))

    _client(server).beta.messages.create(**MESSAGE)

    whole, adviser = gate.settled
    assert whole.usage.buckets() == USED
    assert adviser.model == "claude-opus-4-6"
    assert adviser.usage.buckets() == {"input_text_tokens": 800, "output_text_tokens": 500}
    assert len(gate.reserved) == 1
