"""Streams without a client: chunks, bytes, and what the garbage collector may find."""

import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest

from llm_cost import abandoned, faults, policy
from llm_cost import call as calls
from llm_cost.request import Reply, Request
from llm_cost.response_bytes import DocumentBytes, EventBytes, Fields, fields
from llm_cost.streaming import Progress, Reading, SyncChunks, read_along
from llm_cost.usage import Usage
from support.recording import RecordingGate, Spans, eventually

REQUEST = Request("openai", "chat", "gpt-4o-mini", {"messages": []}, stream=True)


@pytest.fixture
def gate() -> Iterator[RecordingGate]:
    recording = RecordingGate()
    with policy.use_gate(recording):
        yield recording


def _read_chunk(progress: Progress, chunk: Any) -> bool:
    if usage := chunk.get("usage"):
        progress.usage = Usage(output_text_tokens=usage)
        return True
    progress.add_text(chunk["text"])
    return False


def _reading(*, hides_usage: bool = False) -> Reading:
    call = calls.begin(REQUEST)
    assert call is not None
    return Reading(call, _read_chunk, Progress.reply, hides_usage=hides_usage)


both_ways = pytest.mark.parametrize("wrap", [SyncChunks, read_along])


@both_ways
def test_a_fault_in_reading_a_chunk_leaves_the_chunk_alone(
    wrap: Any, gate: RecordingGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "reraise", False)

    assert list(wrap(iter([{}, {}]), _reading())) == [{}, {}]
    assert len(gate.settled) == 1


@both_ways
def test_a_stream_found_by_the_collector_ends_on_another_thread(
    wrap: Any, gate: RecordingGate
) -> None:
    chunks = wrap(iter([{"text": "12345678"}] * 2), _reading())
    next(chunks)
    knot: list[Any] = [chunks]
    knot.append(knot)

    del chunks, knot
    gc.collect()
    eventually(lambda: gate.settled)

    assert gate.settled[0].outcome == "cancelled"
    assert gate.settled[0].usage.output_text_tokens == 2


@both_ways
def test_a_stream_that_breaks_fails_once_with_what_came(wrap: Any, gate: RecordingGate) -> None:
    def broken() -> Iterator[Any]:
        yield {"text": "12345678"}
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(wrap(broken(), _reading()))

    (settled,) = gate.settled
    assert settled.outcome == "error"
    assert settled.usage.output_text_tokens == 2


def test_nothing_ends_inside_a_collection() -> None:
    ended_inside: list[bool] = []

    class Found:
        def __del__(self) -> None:
            abandoned.end(lambda: ended_inside.append(abandoned._collector.is_at_work()))

    abandoned.expect_some()
    found = Found()
    found.itself = found  # type: ignore[attr-defined] # a cycle, so that only the collector finds it
    del found
    gc.collect()
    eventually(lambda: ended_inside)

    assert ended_inside == [False]


def _events(*documents: dict[str, Any], line_end: str = "\n") -> bytes:
    return "".join(f"data: {json.dumps(d)}{line_end * 2}" for d in documents).encode()


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("piece_bytes", [1, 7, 10_000])
def test_events_read_as_bytes_pass_whole_and_unchanged(
    line_end: str, piece_bytes: int, gate: RecordingGate
) -> None:
    sent = _events({"text": "1234"}, {"text": "5678"}, line_end=line_end) + b"data: [DONE]\n\n"
    body = EventBytes(_reading())

    pieces = [sent[at : at + piece_bytes] for at in range(0, len(sent), piece_bytes)]
    shown = b"".join(body.take(piece) for piece in pieces) + body.rest()

    assert shown == sent
    assert body.reading.progress.output_bytes == 8
    assert body.reading.progress.is_complete


def test_the_usage_event_that_we_asked_for_is_not_shown(gate: RecordingGate) -> None:
    body = EventBytes(_reading(hides_usage=True))

    shown = body.take(_events({"text": "1234"}, {"usage": 9})) + body.rest()

    assert shown == _events({"text": "1234"})
    assert body.reading.progress.usage == Usage(output_text_tokens=9)


def test_broken_events_pass_as_they_are(gate: RecordingGate) -> None:
    body = EventBytes(_reading())

    assert body.take(b"data: {broken\n\ndata: half") + body.rest() == b"data: {broken\n\ndata: half"


def test_a_document_that_is_no_json_has_no_usage(gate: RecordingGate) -> None:
    body = DocumentBytes(_reading(), lambda told: Reply(usage=Usage(images=told.n)))
    body.take(b"\x00sound")
    body.rest()

    assert body.reading.progress.usage is None


def test_a_missing_field_is_none() -> None:
    read = fields({"a": [{"b": 1}]})

    assert isinstance(read, Fields)
    assert read.a[0].b == 1
    assert read.missing is None


def test_unsampled_streams_settle(gate: RecordingGate) -> None:
    spans = Spans()
    calls.configure(tracer_provider=spans.provider)
    list(SyncChunks(iter([{"text": "1"}, {"usage": 5}]), _reading()))
    calls.configure()

    assert gate.settled[0].usage.output_text_tokens == 5
    assert spans.only()["gen_ai.usage.output_tokens"] == 5
