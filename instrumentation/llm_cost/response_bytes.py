"""Replies that the application reads by itself: raw responses, read along for their usage.

`with_raw_response` of a stream and `with_streaming_response` hand out the HTTP response. What
is read from it passes through here unchanged, except for the one event that we asked for and
the application did not.
"""

import json
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

from llm_cost.faults import contained
from llm_cost.request import Reply
from llm_cost.streaming import Reading

MAX_BODY_BYTES: Final = 32 * 1024 * 1024
"""Of a reply that the application reads by itself; beyond, its usage is estimated."""
MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
"""Of one server-sent event that the application reads by itself."""

_EVENT_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_READING: Final = "_llm_cost_reading"


class Fields(dict[str, Any]):
    """A JSON object read like a client's model: an attribute that is missing is None."""

    __getattr__ = dict.get


def fields(value: Any) -> Any:
    """Return plain dicts and lists as `Fields`; anything else as it is."""
    if type(value) is dict:
        return Fields({key: fields(inner) for key, inner in value.items()})
    if type(value) is list:
        return [fields(inner) for inner in value]
    return value


class EventBytes:
    """Server-sent events that the application reads as bytes, read along for their usage."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self._waiting = b""

    def take(self, arrived: bytes) -> bytes:
        """Take in what arrived; return what the application may see of it, whole events only."""
        waiting = self._waiting + arrived
        shown: list[bytes] = []
        start = 0
        for end in _EVENT_END.finditer(waiting):
            event = waiting[start : end.end()]
            start = end.end()
            if not self._saw(event):
                shown.append(event)
        self._waiting = waiting[start:]
        if len(self._waiting) > MAX_EVENT_BYTES:
            shown.append(self.rest())
        return b"".join(shown)

    def rest(self) -> bytes:
        """Return what no event end followed."""
        rest, self._waiting = self._waiting, b""
        return rest

    def _saw(self, event: bytes) -> bool:
        lines = [line[5:] for line in event.splitlines() if line.startswith(b"data:")]
        text = b"\n".join(lines).strip()
        if not text.startswith(b"{"):
            if text == b"[DONE]":
                self.reading.progress.is_complete = True
            return False
        try:
            chunk = json.loads(text, object_hook=Fields)
        except ValueError:
            return False  # the application will meet it and say so
        return self.reading.saw(chunk)


class DocumentBytes:
    """One JSON document that the application reads as bytes, kept until it is whole."""

    def __init__(self, reading: Reading, read_reply: Callable[[Any], Reply]) -> None:
        self.reading = reading
        self._read_reply = read_reply
        self._kept: list[bytes] | None = []
        self._size_bytes = 0
        # A document is made whole before its first byte is sent, read or not.
        reading.progress.output_bytes = -1

    def take(self, arrived: bytes) -> bytes:
        """Keep what arrived, and show it."""
        self._size_bytes += len(arrived)
        if self._kept is not None:
            self._kept.append(arrived)
            if self._size_bytes > MAX_BODY_BYTES:
                self._kept = None
        return arrived

    def rest(self) -> bytes:
        """Read the document, now that it is whole."""
        progress = self.reading.progress
        progress.is_complete = True
        if self._kept is not None:
            with contained("reading a reply"):
                reply = read_document(b"".join(self._kept), self._read_reply)
                progress.usage = reply.usage
                progress.model, progress.id = reply.model, reply.id
                progress.finish_reasons = reply.finish_reasons
                progress.service_tier, progress.region = reply.service_tier, reply.region
                progress.job, progress.others = reply.job, reply.others
                progress.cost = reply.cost
        progress.output_bytes = self._size_bytes
        return b""


class LineBytes:
    """JSON documents, one a line, that the application reads as bytes; each read along."""

    def __init__(self, reading: Reading, saw: Callable[[Any], None]) -> None:
        self.reading = reading
        self._saw = saw
        # The client's own decoder asks for 64 bytes at a time: appended, not copied.
        self._waiting = bytearray()

    def take(self, arrived: bytes) -> bytes:
        """Read the lines that are whole, and show what arrived."""
        *ends, begun = arrived.split(b"\n")
        for end in ends:
            self._waiting += end
            self._read()
        self._waiting += begun
        if len(self._waiting) > MAX_EVENT_BYTES:
            self._waiting.clear()  # not read: what is left of it is no JSON
        return arrived

    def rest(self) -> bytes:
        """Read the last line, which no line end followed."""
        self._read()
        return b""

    def _read(self) -> None:
        line = bytes(self._waiting)
        self._waiting.clear()
        if not line.strip():
            return
        with contained("reading a line"):
            try:
                document = json.loads(line)
            except ValueError:
                return  # the application will meet it and say so
            self._saw(document)


def read_document(body: bytes, read_reply: Callable[[Any], Reply]) -> Reply:
    """Return the reply in a JSON body; an empty one where it is not JSON (audio, say)."""
    try:
        document = json.loads(body, object_hook=Fields)
    except ValueError:
        return Reply()
    return read_reply(document)


Bytes = EventBytes | DocumentBytes | LineBytes


def watch(response: Any, reading: Reading, body: Bytes) -> None:
    """Let `response` tell `reading` when it is closed or dropped, and `body` what is read from it.

    The response changes its class to a subclass of its own. Attributes on the instance would
    need a reference back to it, and a dropped response would wait for the garbage collector.
    """
    response.__dict__[_READING] = (reading, body)
    kind = type(response)
    if kind not in _watched_classes:
        _watched_classes[kind] = _watched(kind)
    response.__class__ = _watched_classes[kind]


def reading_of(response: Any) -> Reading | None:
    """Return what watches `response`, None where nothing does."""
    watched = getattr(response, "__dict__", {}).get(_READING)
    return None if watched is None else watched[0]


_watched_classes: dict[type, type] = {}  # one per response class of the HTTP clients in use


def _watched(base: Any) -> type:
    class Watched(base):  # type: ignore[misc] # the class of whatever HTTP client is in use
        def close(self) -> None:
            try:
                super().close()
            finally:
                self.__dict__[_READING][0].closed()

        async def aclose(self) -> None:
            try:
                await super().aclose()
            finally:
                self.__dict__[_READING][0].closed()

        def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
            chunks = super().iter_bytes(chunk_size)
            reading, body = self.__dict__[_READING]
            # Inside: an iterator of ours is asking, and sees what comes of it.
            is_seen = reading.is_inside or self.is_stream_consumed
            return chunks if is_seen else _along(chunks, body)

        def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
            chunks = super().aiter_bytes(chunk_size)
            reading, body = self.__dict__[_READING]
            # Inside: an iterator of ours is asking, and sees what comes of it.
            is_seen = reading.is_inside or self.is_stream_consumed
            return chunks if is_seen else _along_async(chunks, body)

        def __del__(self) -> None:
            if not sys.is_finalizing():
                self.__dict__[_READING][0].closed()

    Watched.__name__, Watched.__qualname__ = base.__name__, base.__qualname__
    Watched.__module__ = base.__module__
    return Watched


def _along(chunks: Iterator[bytes], body: Bytes) -> Iterator[bytes]:
    reading = body.reading
    reading.reads_bytes = reading.is_inside = True
    try:
        for arrived in chunks:
            if shown := body.take(arrived):
                reading.is_inside = False
                yield shown
                reading.is_inside = True
        if rest := body.rest():
            yield rest
        reading.stop()
    except BaseException as error:
        reading.is_inside = False
        _cut(reading, error)
        raise
    finally:
        reading.is_inside = False


async def _along_async(chunks: AsyncIterator[bytes], body: Bytes) -> AsyncIterator[bytes]:
    reading = body.reading
    reading.reads_bytes = reading.is_inside = True
    try:
        async for arrived in chunks:
            if shown := body.take(arrived):
                reading.is_inside = False
                yield shown
                reading.is_inside = True
        if rest := body.rest():
            yield rest
        reading.stop()
    except BaseException as error:
        reading.is_inside = False
        _cut(reading, error)
        raise
    finally:
        reading.is_inside = False


def _cut(reading: Reading, error: BaseException) -> None:
    if isinstance(error, GeneratorExit):
        reading.closed()
    else:
        reading.fail(error)
