"""Realtime sessions and responses over a websocket: each response is a call of its own."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from llm_cost import PolicyBlocked, attribute_to
from support import llm_server as says
from support.recording import ALLOWED, BLOCKED, RecordingGate, Spans
from support.socket_server import SocketServer, socket_server

MODEL = "gpt-realtime"
SPOKEN = {
    "input_tokens": 100,
    "input_token_details": {
        "text_tokens": 40,
        "audio_tokens": 60,
        "cached_tokens": 30,
        "cached_tokens_details": {"audio_tokens": 20, "text_tokens": 10},
    },
    "output_tokens": 50,
    "output_token_details": {"audio_tokens": 40, "text_tokens": 10},
    "total_tokens": 150,
}
BUCKETS = {
    "input_text_tokens": 30,
    "input_audio_tokens": 40,
    "cache_read_text_tokens": 10,
    "cache_read_audio_tokens": 20,
    "output_text_tokens": 10,
    "output_audio_tokens": 40,
}


def _done(number: int = 1) -> dict[str, Any]:
    response = {"id": f"resp_{number}", "object": "realtime.response", "status": "completed",
                "output": [], "usage": SPOKEN}  # fmt: skip
    return {"type": "response.done", "event_id": "e", "response": response}


def _transcribed() -> list[dict[str, Any]]:
    transcription = {"model": "gpt-4o-transcribe"}
    session = {"type": "realtime", "audio": {"input": {"transcription": transcription}}}
    usage = {"type": "tokens", "input_tokens": 12, "output_tokens": 3, "total_tokens": 15}
    return [
        {"type": "session.updated", "event_id": "e", "session": session},
        {
            "type": "conversation.item.input_audio_transcription.completed",
            "event_id": "e",
            "item_id": "i",
            "content_index": 0,
            "transcript": says.PROMPT,
            "usage": usage,
        },
    ]


def _responds(asked: dict[str, Any]) -> list[dict[str, Any]]:
    delta = {"type": "response.output_audio.delta", "event_id": "e", "delta": "eA=="}
    return [delta, _done()] if asked["type"] == "response.create" else []


def _responds_over_socket(asked: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "response.created", "sequence_number": 0, "response": says.response(usage=None)},
        {"type": "response.completed", "sequence_number": 1, "response": says.response()},
    ]


@pytest.fixture
def sockets() -> Iterator[SocketServer]:
    with socket_server() as server:
        server.reacts = _responds
        yield server


@pytest.fixture
def client(sockets: SocketServer) -> openai.OpenAI:
    return openai.OpenAI(api_key="k", base_url=f"{sockets.url}/v1")


def _until(connection: Any, kind: str) -> Any:
    for event in connection:
        if event.type == kind:
            return event
    raise AssertionError(f"no {kind}")


async def _until_async(connection: Any, kind: str) -> Any:
    async for event in connection:
        if event.type == kind:
            return event
    raise AssertionError(f"no {kind}")


@pytest.mark.covers("openai", "realtime responses")
def test_each_response_of_a_session_is_a_call(
    client: openai.OpenAI, sockets: SocketServer, gate: RecordingGate, spans: Spans
) -> None:
    with attribute_to(user_id="u1"), client.realtime.connect(model=MODEL) as connection:
        for _ in range(2):
            connection.response.create()
            event = _until(connection, "response.done")

    assert event.response.usage.output_tokens == 50
    assert [one.usage.buckets() for one in gate.settled] == [BUCKETS, BUCKETS]
    assert [one.identity.user_id for one in gate.settled] == ["u1", "u1"]
    assert len(gate.reserved) == len({one.call_id for one in gate.settled}) == 2
    assert [(span.attributes or {})["gen_ai.response.id"] for span in spans.finished()] == [
        "resp_1",
        "resp_1",
    ]
    assert not gate.voided


@pytest.mark.covers("openai", "realtime responses")
async def test_each_response_of_an_async_session_is_a_call(
    sockets: SocketServer, gate: RecordingGate, spans: Spans
) -> None:
    client = openai.AsyncOpenAI(api_key="k", base_url=f"{sockets.url}/v1")
    async with client.realtime.connect(model=MODEL) as connection:
        await connection.response.create()
        await _until_async(connection, "response.done")

    assert [one.usage.buckets() for one in gate.settled] == [BUCKETS]
    assert gate.async_reserves == 1


def test_a_blocked_session_never_connects(
    client: openai.OpenAI, sockets: SocketServer, gate: RecordingGate, spans: Spans
) -> None:
    gate.decision = BLOCKED

    with pytest.raises(PolicyBlocked), client.realtime.connect(model=MODEL):
        pass

    assert sockets.connections == 0
    assert spans.only()["llm_cost.policy.decision"] == "block"


def test_a_blocked_response_of_a_session_is_not_sent(
    client: openai.OpenAI, sockets: SocketServer, gate: RecordingGate, spans: Spans
) -> None:
    gate.decision, gate.later = ALLOWED, [BLOCKED]
    with client.realtime.connect(model=MODEL) as connection:
        connection.response.create()
        _until(connection, "response.done")
        with pytest.raises(PolicyBlocked):
            connection.response.create()

    assert len(sockets.seen) == len(gate.settled) == 1


def test_what_a_server_answers_by_itself_is_booked(
    client: openai.OpenAI, sockets: SocketServer, gate: RecordingGate, spans: Spans
) -> None:
    sockets.greets = [_done(1), _done(2)]
    with client.realtime.connect(model=MODEL) as connection:
        for _ in range(2):
            _until(connection, "response.done")

    assert [one.usage.buckets() for one in gate.settled] == [BUCKETS, BUCKETS]
    assert len(gate.reserved) == 1


@pytest.mark.covers("openai", "realtime input transcription")
def test_input_transcription_is_booked_as_its_own_model(
    client: openai.OpenAI, sockets: SocketServer, gate: RecordingGate, spans: Spans
) -> None:
    sockets.greets = [_done(), *_transcribed()]
    with client.realtime.connect(model=MODEL) as connection:
        _until(connection, "conversation.item.input_audio_transcription.completed")

    assert [one.model for one in gate.settled] == [MODEL, "gpt-4o-transcribe"]
    assert gate.settled[1].usage.buckets() == {"input_text_tokens": 12, "output_text_tokens": 3}
    assert not [span for span in spans.finished() if says.PROMPT in repr(span.attributes)]


def test_a_session_without_a_response_costs_nothing(
    client: openai.OpenAI, gate: RecordingGate, spans: Spans
) -> None:
    with client.realtime.connect(model=MODEL):
        pass

    assert [one.actual_nano_usd for one in gate.settled] == [0]
    assert len(spans.finished()) == 1


def test_a_session_closed_in_mid_response_is_charged_at_the_estimate(
    client: openai.OpenAI, sockets: SocketServer, gate: RecordingGate, spans: Spans
) -> None:
    sockets.reacts = lambda _: []
    with client.realtime.connect(model=MODEL) as connection:
        connection.response.create()

    (settled,) = gate.settled
    assert (settled.outcome, settled.usage_source) == ("cancelled", "estimated")
    assert settled.actual_nano_usd


def test_a_session_that_cannot_connect_costs_nothing(
    client: openai.OpenAI, sockets: SocketServer, gate: RecordingGate, spans: Spans
) -> None:
    sockets.stop()

    with pytest.raises(OSError, match="refused"), client.realtime.connect(model=MODEL):
        pass

    assert len(gate.voided) == 1
    assert not gate.settled


@pytest.mark.covers("openai", "responses over a websocket")
def test_a_response_over_a_socket_is_a_call(
    client: openai.OpenAI, sockets: SocketServer, gate: RecordingGate, spans: Spans
) -> None:
    sockets.reacts = _responds_over_socket
    with client.responses.connect() as connection:
        connection.response.create(model="gpt-4o-mini", input=says.PROMPT, max_output_tokens=70)
        _until(connection, "response.completed")

    (settled,) = gate.settled
    assert settled.usage.total_input_tokens == 120
    assert settled.model == "gpt-4o-mini-2024-07-18"
    assert len(gate.reserved) == 1
    assert gate.reserved[0].model == "gpt-4o-mini"
    assert spans.only()["gen_ai.request.max_tokens"] == 70


@pytest.mark.covers("openai", "responses over a websocket")
async def test_an_async_response_over_a_socket_is_a_call(
    sockets: SocketServer, gate: RecordingGate, spans: Spans
) -> None:
    sockets.reacts = _responds_over_socket
    client = openai.AsyncOpenAI(api_key="k", base_url=f"{sockets.url}/v1")
    async with client.responses.connect() as connection:
        await connection.response.create(model="gpt-4o-mini", input=says.PROMPT)
        await _until_async(connection, "response.completed")

    assert len(gate.settled) == len(gate.reserved) == len(spans.finished()) == 1
