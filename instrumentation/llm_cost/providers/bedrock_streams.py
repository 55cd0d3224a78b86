"""Bedrock's one-shot bodies and event streams, read along while the application reads them.

Each keeps its class, by becoming a subclass that bears its name: what is read from it passes
unchanged, and the call ends with it. There is no proxy and no new reference cycle.
"""

import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from llm_cost.response_bytes import DocumentBytes
from llm_cost.streaming import Reading

_READING: Final = "_llm_cost_reading"
_BODY: Final = "_llm_cost_body"

_watched_classes: dict[type, type] = {}  # one per class of body and stream in use


def watch_events(stream: Any, reading: Reading) -> None:
    """Let an event stream tell `reading` what passes and how it ends."""
    is_async = hasattr(type(stream), "__aiter__")
    _watch(stream, reading, _async_events if is_async else _events)


def watch_body(body: Any, reading: Reading, document: DocumentBytes) -> None:
    """Let a streaming body tell `reading` how it ends, and `document` what is read from it."""
    body.__dict__[_BODY] = document
    is_async = hasattr(type(body), "__aiter__")
    _watch(body, reading, _async_body if is_async else _body)


def _watch(watched: Any, reading: Reading, subclass: Any) -> None:
    kind = type(watched)
    if kind not in _watched_classes:
        made = subclass(kind)
        made.__name__, made.__qualname__ = kind.__name__, kind.__qualname__
        made.__module__ = kind.__module__
        _watched_classes[kind] = made
    watched.__dict__[_READING] = reading
    watched.__class__ = _watched_classes[kind]


def _ending(base: Any) -> Any:
    """Return a subclass that ends its call when it is closed or dropped."""

    class Ending(base):  # type: ignore[misc] # the class of whichever client is in use
        def __del__(self) -> None:
            if not sys.is_finalizing():
                self.__dict__[_READING].closed()
                super().__del__() if hasattr(base, "__del__") else None

    return Ending


def _closing(base: Any) -> Any:
    class Closing(_ending(base)):  # type: ignore[misc] # as above
        def close(self) -> Any:
            try:
                return super().close()
            finally:
                self.__dict__[_READING].closed()

    return Closing


# --- event streams -----------------------------------------------------------------------


def _events(base: Any) -> Any:
    class Events(_closing(base)):  # type: ignore[misc] # as above
        def __iter__(self) -> Iterator[Any]:
            return _along(super().__iter__(), self.__dict__[_READING])

    return Events


def _along(events: Iterator[Any], reading: Reading) -> Iterator[Any]:
    if reading.neighbour is not None:
        events = reading.neighbour.reading(events)
    try:
        for event in events:
            reading.saw(event)
            yield event
    except GeneratorExit:
        raise  # the stream can be iterated on where this iteration stopped
    except BaseException as error:
        reading.fail(error)
        raise
    reading.stop()


def _async_events(base: Any) -> Any:
    class Events(_closing(base)):  # type: ignore[misc] # as above
        def __anext__(self) -> AsyncIterator[Any]:
            return _along_async(super().__anext__(), self.__dict__[_READING])

    return Events


async def _along_async(events: AsyncIterator[Any], reading: Reading) -> AsyncIterator[Any]:
    if reading.neighbour is not None:
        events = reading.neighbour.reading(events)
    try:
        async for event in events:
            reading.saw(event)
            yield event
    except GeneratorExit:
        raise  # as above
    except BaseException as error:
        reading.fail(error)
        raise
    reading.stop()


# --- one-shot bodies ---------------------------------------------------------------------


def _took(body: Any, arrived: bytes, *, is_end: bool) -> None:
    document: DocumentBytes = body.__dict__[_BODY]
    reading = document.reading
    if reading.progress.is_complete:
        return
    document.take(arrived)
    length = body._content_length
    if is_end or (length is not None and body._amount_read >= int(length)):
        document.rest()
        reading.stop()


def _is_end(asked_bytes: int | None, arrived: bytes) -> bool:
    return asked_bytes is None or asked_bytes < 0 or (asked_bytes > 0 and not arrived)


def _body(base: Any) -> Any:
    class Body(_closing(base)):  # type: ignore[misc] # as above
        def read(self, amt: int | None = None) -> bytes:
            try:
                arrived: bytes = super().read(amt)
            except BaseException as error:
                self.__dict__[_READING].fail(error)
                raise
            _took(self, arrived, is_end=_is_end(amt, arrived))
            return arrived

        def readinto(self, b: Any) -> int:
            try:
                size: int = super().readinto(b)
            except BaseException as error:
                self.__dict__[_READING].fail(error)
                raise
            _took(self, bytes(memoryview(b)[:size]), is_end=_is_end(len(b), b"x" * size))
            return size

        def readlines(self) -> list[bytes]:
            lines: list[bytes] = super().readlines()
            _took(self, b"".join(lines), is_end=True)
            return lines

    return Body


def _async_body(base: Any) -> Any:
    # Not `close`: that is a coroutine in one of the two backends. Both end by `aclose`.
    class Body(_ending(base)):  # type: ignore[misc] # as above
        async def aclose(self) -> None:
            try:
                await super().aclose()
            finally:
                self.__dict__[_READING].closed()

        async def read(self, amt: int | None = None) -> bytes:
            try:
                arrived: bytes = await super().read(amt)
            except BaseException as error:
                self.__dict__[_READING].fail(error)
                raise
            _took(self, arrived, is_end=_is_end(amt, arrived))
            return arrived

        async def readinto(self, b: bytearray) -> int:
            try:
                size: int = await super().readinto(b)
            except BaseException as error:
                self.__dict__[_READING].fail(error)
                raise
            _took(self, bytes(b[:size]), is_end=_is_end(len(b), b"x" * size))
            return size

    return Body
