"""Every endpoint, sync and async, in every form of reply: one span, one settle, same result."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import anthropic
import openai
import pytest
from pydantic import BaseModel

from support import llm_server as says
from support.llm_server import Answer, LlmServer
from support.recording import RecordingGate, Spans

MESSAGES: Any = [{"role": "user", "content": says.PROMPT}]
CHAT: Any = {"model": "gpt-4o-mini", "messages": MESSAGES}
RESPONSE: Any = {"model": "gpt-4o-mini", "input": says.PROMPT}
EMBEDDING: Any = {
    "model": "text-embedding-3-small",
    "input": says.PROMPT,
    "encoding_format": "float",
}
MESSAGE: Any = {"model": "claude-sonnet-4-6", "messages": MESSAGES, "max_tokens": 100}


class Shape(BaseModel):
    answer: str


JSON_TEXT = '{"answer": "' + says.COMPLETION + '"}'
PARSED_CHAT = says.chat(
    choices=[
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": JSON_TEXT},
        }
    ]
)
PARSED_RESPONSE = says.response(
    output=[
        {
            **says.response()["output"][0],
            "content": [{"type": "output_text", "text": JSON_TEXT, "annotations": []}],
        }
    ]
)


class Cell(NamedTuple):
    """One way to call. `read` turns the result into something to compare."""

    name: str
    answer: Answer
    call: Callable[[Any], Any]
    read: Callable[[Any], Any] = lambda result: result.to_dict()


def _raw(result: Any) -> Any:
    return result.headers["content-type"], result.parse().to_dict()


def _drain(stream: Any) -> Any:
    with stream:
        return [chunk.to_dict() for chunk in stream]


def _raw_stream(result: Any) -> Any:
    return result.headers["content-type"], [chunk.to_dict() for chunk in result.parse()]


def _managed(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def inside(manager: Any) -> Any:
        with manager as entered:
            return read(entered)

    return inside


def _helper(stream: Any) -> Any:
    return [type(event).__name__ for event in stream]


def _lines(result: Any) -> Any:
    return [line for line in result.iter_lines() if line]


def _cells(
    family: str, document: Answer, events: Answer, resource: Callable[[Any], Any], body: Any
) -> list[Cell]:
    streamed = {**body, "stream": True}
    return [
        Cell(f"{family} create", document, lambda c: resource(c).create(**body)),
        Cell(f"{family} stream", events, lambda c: resource(c).create(**streamed), _drain),
        Cell(
            f"{family} raw", document, lambda c: resource(c).with_raw_response.create(**body), _raw
        ),
        Cell(
            f"{family} raw stream",
            events,
            lambda c: resource(c).with_raw_response.create(**streamed),
            _raw_stream,
        ),
        Cell(
            f"{family} streaming response",
            document,
            lambda c: resource(c).with_streaming_response.create(**body),
            _managed(_raw),
        ),
        Cell(
            f"{family} streaming response of a stream",
            events,
            lambda c: resource(c).with_streaming_response.create(**streamed),
            _managed(_raw_stream),
        ),
        Cell(
            f"{family} streaming response by line",
            events,
            lambda c: resource(c).with_streaming_response.create(**streamed),
            _managed(_lines),
        ),
    ]


def _document(body: Any) -> Answer:
    return Answer(body=body)


# Without usage: what a server sends that was not asked for it; the matrix compares the results
# of a patched and an unpatched client, so the server answers each as it asked.
CHAT_EVENTS = Answer(events=says.chat_events())
OPENAI = [
    *_cells("chat", _document(says.chat()), CHAT_EVENTS, lambda c: c.chat.completions, CHAT),
    Cell(
        "chat parse",
        _document(PARSED_CHAT),
        lambda c: c.chat.completions.parse(**CHAT, response_format=Shape),
    ),
    Cell(
        "chat helper",
        CHAT_EVENTS,
        lambda c: c.chat.completions.stream(**CHAT),
        _managed(_helper),
    ),
    Cell(
        "chat posted",
        _document(says.chat()),
        lambda c: c.post("/chat/completions", cast_to=object, body=CHAT),
        lambda result: result,
    ),
    *_cells(
        "responses",
        _document(says.response()),
        Answer(events=says.response_events()),
        lambda c: c.responses,
        RESPONSE,
    ),
    Cell(
        "responses parse",
        _document(PARSED_RESPONSE),
        lambda c: c.responses.parse(**RESPONSE, text_format=Shape),
    ),
    Cell(
        "responses helper",
        Answer(events=says.response_events()),
        lambda c: c.responses.stream(**RESPONSE),
        _managed(_helper),
    ),
    Cell(
        "embeddings create",
        _document(says.embeddings()),
        lambda c: c.embeddings.create(**EMBEDDING),
    ),
    Cell(
        "embeddings raw",
        _document(says.embeddings()),
        lambda c: c.embeddings.with_raw_response.create(**EMBEDDING),
        _raw,
    ),
    Cell(
        "embeddings streaming response",
        _document(says.embeddings()),
        lambda c: c.embeddings.with_streaming_response.create(**EMBEDDING),
        _managed(_raw),
    ),
]
MESSAGE_EVENTS = Answer(events=says.message_events())
ANTHROPIC = [
    *_cells("messages", _document(says.message()), MESSAGE_EVENTS, lambda c: c.messages, MESSAGE),
    Cell(
        "messages parse",
        _document(says.message(content=[{"type": "text", "text": JSON_TEXT}])),
        lambda c: c.messages.parse(**MESSAGE, output_format=Shape),
    ),
    Cell(
        "messages helper",
        MESSAGE_EVENTS,
        lambda c: c.messages.stream(**MESSAGE),
        _managed(_helper),
    ),
    Cell(
        "beta messages create",
        _document(says.message()),
        lambda c: c.beta.messages.create(**MESSAGE),
    ),
    Cell(
        "beta messages helper",
        MESSAGE_EVENTS,
        lambda c: c.beta.messages.stream(**MESSAGE),
        _managed(_helper),
    ),
]


CELLS = [
    pytest.param(cell, marks=pytest.mark.covers(client, cell.name), id=cell.name)
    for client, cells in (("openai", OPENAI), ("anthropic", ANTHROPIC))
    for cell in cells
]


def _client(cell: Cell, server: LlmServer, *, is_async: bool) -> Any:
    if cell in OPENAI:
        of_openai = openai.AsyncOpenAI if is_async else openai.OpenAI
        return of_openai(api_key="k", base_url=f"{server.url}/v1", max_retries=0)
    of_anthropic = anthropic.AsyncAnthropic if is_async else anthropic.Anthropic
    return of_anthropic(api_key="k", base_url=server.url, max_retries=0)


def _expected_of(cell: Cell) -> tuple[int, int]:
    if cell in ANTHROPIC:
        return 150, 50
    return (120, 0) if cell.name.startswith("embeddings") else (120, 50)


def _answer_as_asked(server: LlmServer, cell: Cell, *, with_usage: bool) -> None:
    is_chat_stream = cell.answer is CHAT_EVENTS
    server.will(
        Answer(events=says.chat_events(with_usage=with_usage)) if is_chat_stream else cell.answer
    )


def _assert_one_call(cell: Cell, spans: Spans, gate: RecordingGate, server: LlmServer) -> None:
    input_tokens, output_tokens = _expected_of(cell)
    attributes = spans.only()
    (settled,) = gate.settled

    assert attributes["gen_ai.usage.input_tokens"] == input_tokens
    assert attributes["gen_ai.usage.output_tokens"] == output_tokens
    assert attributes["llm_cost.usage.source"] == "reported"
    assert attributes["llm_cost.cost.nano_usd"] == settled.actual_nano_usd
    assert settled.actual_nano_usd
    assert settled.call_id.hex() == attributes["llm_cost.call.id"]
    assert settled.usage.total_input_tokens == input_tokens
    assert settled.outcome == "ok"
    assert len(gate.reserved) == len(server.seen) - 1 == 1
    assert not gate.voided
    assert "secret" not in repr(attributes)


@pytest.mark.parametrize("cell", CELLS)
def test_a_sync_call_is_seen_once_and_returns_what_it_always_did(
    cell: Cell, server: LlmServer, gate: RecordingGate, request: pytest.FixtureRequest
) -> None:
    client = _client(cell, server, is_async=False)
    _answer_as_asked(server, cell, with_usage=False)
    unpatched = cell.read(cell.call(client))
    spans: Spans = request.getfixturevalue("spans")

    _answer_as_asked(server, cell, with_usage=True)
    patched = cell.read(cell.call(client))

    assert patched == unpatched
    _assert_one_call(cell, spans, gate, server)


async def _read_async(cell: Cell, client: Any) -> Any:
    result = cell.call(client)
    if not hasattr(result, "__aenter__"):
        result = await result
    read = cell.read
    if read is _drain:
        async with result as stream:
            return [chunk.to_dict() async for chunk in stream]
    if hasattr(result, "__aenter__"):
        async with result as entered:
            return await _read_entered(cell, entered)
    return await _read_entered(cell, result)


async def _read_entered(cell: Cell, result: Any) -> Any:
    if hasattr(result, "http_response"):
        return await _read_raw_async(cell, result)
    if hasattr(result, "__aiter__"):
        return [type(event).__name__ async for event in result]
    return cell.read(result)


async def _read_raw_async(cell: Cell, result: Any) -> Any:
    if "by line" in cell.name:
        return [line async for line in result.iter_lines() if line]
    parsed = result.parse()
    if isinstance(parsed, Awaitable):
        parsed = await parsed
    if hasattr(parsed, "__aiter__"):
        return result.headers["content-type"], [chunk.to_dict() async for chunk in parsed]
    return result.headers["content-type"], parsed.to_dict()


@pytest.mark.parametrize("cell", CELLS)
async def test_an_async_call_is_seen_once_and_returns_what_it_always_did(
    cell: Cell, server: LlmServer, gate: RecordingGate, request: pytest.FixtureRequest
) -> None:
    client = _client(cell, server, is_async=True)
    _answer_as_asked(server, cell, with_usage=False)
    unpatched = await _read_async(cell, client)
    spans: Spans = request.getfixturevalue("spans")

    _answer_as_asked(server, cell, with_usage=True)
    patched = await _read_async(cell, client)

    await client.close()
    assert patched == unpatched
    _assert_one_call(cell, spans, gate, server)
    assert gate.async_reserves == 1
