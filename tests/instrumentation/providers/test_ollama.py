"""Ollama's own client: chat, generate, embed and their lazy streams."""

import gc
import json
from typing import Any

import ollama
import pytest

from llm_cost import PolicyBlocked, attribute_to
from support import llm_server as says
from support.llm_server import Answer, LlmServer
from support.recording import BLOCKED, RecordingGate, Spans, eventually
from support.ways import Way, assert_booked, marked, read, read_async

MESSAGES: Any = [{"role": "user", "content": says.PROMPT}]
MODEL = "llama3.2"
USED = {"input_text_tokens": 26, "output_text_tokens": 290}
ENDED = {
    "model": MODEL,
    "created_at": "2026-11-24T00:00:00Z",
    "done": True,
    "done_reason": "stop",
    "total_duration": 5,
    "prompt_eval_count": 26,
    "eval_count": 290,
}


def _message(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def _lines(*parts: dict[str, Any]) -> Answer:
    """Return a stream of Ollama's: one JSON document a line."""
    return Answer(events=[json.dumps(part) + "\n" for part in parts])


def _chat_parts() -> Answer:
    part = {"model": MODEL, "done": False, "message": _message("12345678")}
    return _lines(part, part, {**ENDED, "message": _message("")})


CHAT = Answer(body={**ENDED, "message": _message(says.COMPLETION)})
EMBEDDED: dict[str, Any] = {"model": MODEL, "embeddings": [[0.1]], "prompt_eval_count": 9}
WAYS = [
    Way("chat", CHAT, lambda c: c.chat(MODEL, MESSAGES), USED, price="partial", model=MODEL),
    Way(
        "chat stream",
        _chat_parts(),
        lambda c: c.chat(MODEL, MESSAGES, stream=True),
        USED,
        price="partial",
    ),
    Way(
        "generate",
        Answer(body={**ENDED, "response": says.COMPLETION}),
        lambda c: c.generate(MODEL, says.PROMPT),
        USED,
        price="partial",
    ),
    Way(
        "generate stream",
        _lines({"model": MODEL, "response": "12345678"}, {**ENDED, "response": ""}),
        lambda c: c.generate(MODEL, says.PROMPT, stream=True),
        USED,
        price="partial",
    ),
    Way(
        "embed",
        Answer(body=EMBEDDED),
        lambda c: c.embed(MODEL, says.PROMPT),
        {"input_text_tokens": 9},
        price="partial",
    ),
    Way("show", Answer(body={"model_info": {}}), lambda c: c.show(MODEL), None),
]


@pytest.mark.parametrize("way", marked("ollama", WAYS))
def test_a_call_is_booked_once(
    way: Way, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(way.answer)

    read(way.call(ollama.Client(server.url)))

    assert_booked(way, server, gate, spans)


@pytest.mark.parametrize("way", marked("ollama", WAYS))
async def test_an_async_call_is_booked_once(
    way: Way, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(way.answer)

    await read_async(way.call(ollama.AsyncClient(server.url)))

    assert_booked(way, server, gate, spans)


@pytest.mark.parametrize("model", ["gpt-oss:120b-cloud", "kimi-k2:cloud"])
@pytest.mark.covers("ollama", "chat with a model in the cloud")
def test_a_model_in_the_cloud_has_no_price_and_is_never_free(
    model: str, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body={**ENDED, "model": model, "message": _message("x")}))

    ollama.Client(server.url).chat(model, MESSAGES)

    assert gate.settled[0].actual_nano_usd is None
    assert spans.only()["llm_cost.price.status"] == "unknown"


def test_a_model_on_ones_own_machine_costs_nothing_and_says_that_this_is_not_all(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(CHAT)

    ollama.Client(server.url).chat(MODEL, MESSAGES)

    assert (gate.reserved[0].estimate_nano_usd, gate.settled[0].actual_nano_usd) == (0, 0)
    assert gate.settled[0].price_status == "partial"


@pytest.mark.covers("ollama", "embeddings (old)")
def test_the_old_embeddings_tell_nothing_and_are_estimated(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body={"embedding": [0.1]}))

    ollama.Client(server.url).embeddings(MODEL, says.PROMPT)

    assert gate.settled[0].usage_source == "estimated"
    assert gate.settled[0].usage.output_text_tokens == 0


def test_a_stream_belongs_to_who_made_it_not_to_who_reads_it(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(_chat_parts())

    with attribute_to(user_id="maker"):
        stream = ollama.Client(server.url).chat(MODEL, MESSAGES, stream=True)
    assert len(list(stream)) == 3

    assert gate.settled[0].identity.user_id == "maker"
    assert spans.only()["gen_ai.response.time_to_first_chunk"] > 0


def test_a_stream_left_early_is_estimated(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(_chat_parts())

    stream = ollama.Client(server.url).chat(MODEL, MESSAGES, stream=True)
    next(stream)
    del stream
    eventually(spans.finished)

    (settled,) = gate.settled
    assert (settled.outcome, settled.usage_source) == ("cancelled", "estimated")
    assert settled.usage.output_text_tokens == 2
    assert not gate.voided


async def test_an_async_stream_left_early_is_estimated(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(_chat_parts())

    stream: Any = await ollama.AsyncClient(server.url).chat(MODEL, MESSAGES, stream=True)
    await anext(stream)
    await stream.aclose()

    assert gate.settled[0].usage_source == "estimated"
    assert len(gate.settled) == len(spans.finished()) == 1


def test_a_stream_that_nobody_reads_sends_nothing_and_costs_nothing(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    stream = ollama.Client(server.url).chat(MODEL, MESSAGES, stream=True)
    del stream
    gc.collect()
    eventually(spans.finished)

    assert not server.seen
    assert len(gate.voided) == 1
    assert not gate.settled


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_costs_nothing(
    stream: bool, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(status=404, body={"error": "model not found"}))
    client: Any = ollama.Client(server.url)

    with pytest.raises(ollama.ResponseError) as raised:
        read(client.chat(MODEL, MESSAGES, stream=stream))

    assert raised.value.status_code == 404
    assert len(gate.voided) == 1
    assert not gate.settled
    assert spans.only()["error.type"] == "ResponseError"


@pytest.mark.parametrize("stream", [False, True])
def test_a_blocked_call_never_reaches_the_server(
    stream: bool, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    gate.decision = BLOCKED
    client: Any = ollama.Client(server.url)

    with pytest.raises(PolicyBlocked):
        client.chat(MODEL, MESSAGES, stream=stream)

    assert not server.seen
