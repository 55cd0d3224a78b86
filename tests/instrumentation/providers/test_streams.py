"""However a stream ends, its call ends once: one span, one settle, nothing left attached."""

import asyncio
import gc
import logging
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from opentelemetry import trace

from support import llm_server as says
from support.llm_server import Answer, LlmServer
from support.recording import RecordingGate, Spans, eventually

MESSAGES: Any = [{"role": "user", "content": says.PROMPT}]
CHAT: Any = {"model": "gpt-4o-mini", "messages": MESSAGES, "stream": True}
MESSAGE: Any = {
    "model": "claude-sonnet-4-6",
    "messages": MESSAGES,
    "max_tokens": 100,
    "stream": True,
}


@pytest.fixture
def client(server: LlmServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="k", base_url=f"{server.url}/v1", max_retries=0) as made:
        yield made


def _assert_cut_once(spans: Spans, gate: RecordingGate, *, outcome: str = "cancelled") -> None:
    attributes = spans.only()
    (settled,) = gate.settled

    assert settled.outcome == outcome
    assert settled.usage_source == attributes["llm_cost.usage.source"] == "estimated"
    assert settled.usage.output_text_tokens > 0
    assert settled.usage.input_text_tokens > 0
    assert settled.actual_nano_usd == attributes["llm_cost.cost.nano_usd"] != 0
    assert not gate.voided
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_stream_is_the_clients_own_class(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_events()))

    stream = client.chat.completions.create(**CHAT)

    assert type(stream) is openai.Stream
    assert stream.response.headers["content-type"] == "text/event-stream"
    assert len(list(stream)) == 5
    assert spans.only()["gen_ai.response.finish_reasons"] == ("stop",)
    assert spans.only()["gen_ai.response.time_to_first_chunk"] > 0


def test_usage_is_asked_for_and_its_chunk_is_hidden(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_events()))

    chunks = list(client.chat.completions.create(**CHAT, extra_body={"seed": 1}))

    assert server.seen[0].body["stream_options"] == {"include_usage": True}
    assert all(chunk.choices for chunk in chunks)


def test_the_usage_chunk_stays_where_the_caller_asked_for_it(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_events()))

    chunks = list(client.chat.completions.create(**CHAT, stream_options={"include_usage": True}))

    assert chunks[-1].usage is not None
    assert spans.only()["llm_cost.usage.source"] == "reported"


def test_a_server_that_refuses_stream_options_is_asked_again_without(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    refusal = {"error": {"message": "Unknown parameter: stream_options", "type": "x"}}
    events = Answer(events=says.chat_events(with_usage=False))
    server.will(Answer(status=400, body=refusal), events)

    chunks = list(client.chat.completions.create(**CHAT))
    list(client.chat.completions.create(**CHAT))

    assert len(chunks) == 5
    assert ["stream_options" in seen.body for seen in server.seen] == [True, False, False]
    assert [settled.usage_source for settled in gate.settled] == ["estimated"] * 2
    assert len(spans.finished()) == len(gate.reserved) == 2


def test_a_stream_left_by_break_ends_when_it_is_dropped(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_events()))

    stream = client.chat.completions.create(**CHAT)
    for _ in stream:
        break
    del stream, _
    eventually(spans.finished)

    _assert_cut_once(spans, gate)
    assert gate.settled[0].usage.output_text_tokens == 2


def test_a_stream_left_inside_with_ends_at_once(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_events()))

    with client.chat.completions.create(**CHAT) as stream:
        next(stream)

    _assert_cut_once(spans, gate)


def test_closing_twice_changes_nothing(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_events()))

    stream = client.chat.completions.create(**CHAT)
    next(stream)
    stream.close()
    stream.close()

    _assert_cut_once(spans, gate)


def test_a_stream_nobody_ever_read_ends_when_it_is_dropped(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_events()))

    client.chat.completions.create(**CHAT)
    eventually(spans.finished)

    assert gate.settled[0].outcome == "cancelled"
    assert gate.settled[0].usage.input_text_tokens > 0


def test_a_helper_left_early_ends_once(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_events()))
    asked = {name: value for name, value in CHAT.items() if name != "stream"}

    with client.chat.completions.stream(**asked) as helper:
        next(iter(helper))

    _assert_cut_once(spans, gate)


def test_a_raw_stream_left_early_ends_once(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_events(), pause_s=0.02))

    with client.chat.completions.with_streaming_response.create(**CHAT) as raw:
        next(raw.iter_lines())

    _assert_cut_once(spans, gate)


def test_a_raw_stream_nobody_ever_read_ends_when_it_is_dropped(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_events()))

    client.chat.completions.with_raw_response.create(**CHAT)
    eventually(spans.finished)

    assert gate.settled[0].outcome == "cancelled"


def test_a_second_stream_made_on_the_same_response_is_read(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_events()))

    response = client.chat.completions.create(**CHAT).response
    gc.collect()
    lines = [line for line in response.iter_lines() if line]

    assert len(lines) == 6  # without the usage that only we asked for
    assert spans.only()["llm_cost.usage.source"] == "reported"


def test_an_error_in_mid_stream_is_the_clients_own(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    broken = says.sse({"error": {"message": f"overloaded: {says.PROMPT}"}})
    server.will(Answer(events=says.chat_events(done=False)[:3] + broken))

    with pytest.raises(openai.APIError, match="overloaded") as raised:
        list(client.chat.completions.create(**CHAT))

    _assert_cut_once(spans, gate, outcome="error")
    assert type(raised.value) is openai.APIError
    assert spans.only()["error.type"] == "APIError"
    (span,) = spans.finished()
    assert "secret" not in repr((span.attributes, span.status.description, span.events))


def test_malformed_events_raise_what_they_always_did(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=[*says.chat_events()[:2], "data: {not json\n\n"]))

    with pytest.raises(ValueError, match="Expecting property name"):
        list(client.chat.completions.create(**CHAT))

    _assert_cut_once(spans, gate, outcome="error")


def test_a_dropped_connection_is_an_error_and_is_billed_for_what_came(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_events(done=False)[:3], cut=True))

    with pytest.raises(openai.APIConnectionError):
        list(client.chat.completions.create(**CHAT))

    _assert_cut_once(spans, gate, outcome="error")


def test_a_message_stream_cut_early_has_its_reported_input(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.message_events()))
    client = anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0)

    with client.messages.create(**MESSAGE) as stream:
        for event in stream:
            if event.type == "content_block_delta":
                break

    _assert_cut_once(spans, gate)
    assert gate.settled[0].usage.total_input_tokens == 150
    assert gate.settled[0].usage.cache_write_1h_tokens == 20


def test_a_message_stream_counts_cumulative_usage_once(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.message_events()))
    client = anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0)

    list(client.messages.create(**MESSAGE))

    assert gate.settled[0].usage.buckets() == {
        "input_text_tokens": 100,
        "cache_read_text_tokens": 20,
        "cache_write_tokens": 10,
        "cache_write_1h_tokens": 20,
        "output_text_tokens": 40,
        "output_reasoning_tokens": 10,
    }


async def test_a_cancelled_task_ends_its_stream(
    server: LlmServer,
    gate: RecordingGate,
    spans: Spans,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.will(Answer(events=says.chat_events(pieces=50), pause_s=0.05))
    seen = asyncio.Event()

    async def read() -> None:
        async with openai.AsyncOpenAI(api_key="k", base_url=server.url, max_retries=0) as client:
            async for _ in await client.chat.completions.create(**CHAT):
                seen.set()

    task = asyncio.create_task(read())
    await seen.wait()
    task.cancel()
    with caplog.at_level(logging.ERROR), pytest.raises(asyncio.CancelledError):
        await task

    _assert_cut_once(spans, gate)
    assert "detach" not in caplog.text


async def test_an_async_stream_dropped_in_mid_air_ends(
    server: LlmServer,
    gate: RecordingGate,
    spans: Spans,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.will(Answer(events=says.chat_events()))
    client = openai.AsyncOpenAI(api_key="k", base_url=server.url, max_retries=0)

    stream = await client.chat.completions.create(**CHAT)
    async for _ in stream:
        break
    del stream, _
    gc.collect()
    await asyncio.sleep(0.05)
    eventually(spans.finished)
    await client.close()

    _assert_cut_once(spans, gate)
    assert "detach" not in caplog.text


async def test_an_async_stream_read_in_another_task_ends(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_events()))
    async with openai.AsyncOpenAI(api_key="k", base_url=server.url, max_retries=0) as client:
        stream = await client.chat.completions.create(**CHAT)

        async def read() -> int:
            return len([chunk async for chunk in stream])

        assert await asyncio.create_task(read()) == 5

    assert gate.settled[0].usage_source == "reported"
    assert len(spans.finished()) == 1


async def test_async_close_ends_at_once(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_events()))
    async with openai.AsyncOpenAI(api_key="k", base_url=server.url, max_retries=0) as client:
        stream = await client.chat.completions.create(**CHAT)
        await anext(aiter(stream))
        await stream.close()

        _assert_cut_once(spans, gate)
