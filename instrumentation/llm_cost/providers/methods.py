"""Clients whose billed calls are methods: one call of the method is one `Call`.

For clients that share no base with OpenAI's (those are in `seam.py`). A provider's file says
what a method asks for, how to read what comes back, and what an error may have consumed; the
life of the call around it is here.
"""

import functools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, NamedTuple

from llm_cost import call as calls
from llm_cost.call import Call
from llm_cost.faults import contained
from llm_cost.providers.attempts import may_have_consumed
from llm_cost.request import Reply, Request
from llm_cost.streaming import Reading


class Method(NamedTuple):
    """One billed method of a client.

    request_of: the request, from the method's `self`, positional and keyword arguments; None
        where this very call is not billed.
    take: ends the call with a result of the method's `self`, or has it ended by whoever reads
        that; returns what the application gets.
    consumed: what an error may have used; None where that is nothing.
    """

    request_of: Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Request | None]
    take: Callable[[Call, Any, Any], Any]
    consumed: Callable[[BaseException], Reply | None]

    def while_on(self, is_on: threading.Event) -> "Method":
        """Return this method, billed by us only while `is_on`.

        Where somebody else's patch keeps ours from coming off, ours has to stand aside.
        """
        request_of = self.request_of
        return self._replace(
            request_of=lambda *asked: request_of(*asked) if is_on.is_set() else None
        )

    def request(
        self, owner: Any, positional: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> Request | None:
        """Return the request; None where there is none, or a fault of ours hides it."""
        with contained("recognising a request"):
            return self.request_of(owner, positional, keywords)
        return None

    def failed(self, call: Call | None, error: BaseException) -> None:
        """End the call with `error`, which travels on unmodified."""
        if call is not None:
            with contained("failing a call"):
                call.fail(error, self.consumed(error))

    def answered(self, sending: "Sending", owner: Any, result: Any) -> Any:
        """Read `result`, or have it read when the application does; return what it gets."""
        call = sending.call
        if call is None:
            return result
        try:
            return self.take(call, owner, result)
        except Exception:
            # Whatever we could not read was made and is billed.
            call.stop(Reply())
            with contained("reading a reply"):
                raise
        return result


class Sending:
    """A call while the client sends its request, and perhaps sends it again."""

    __slots__ = ("_current", "_token", "call", "request")

    def __init__(self, request: Request, call: Call) -> None:
        self.request = request
        self.call: Call | None = call
        self._current: Any = None
        self._token: Token[Sending | None] | None = None

    def __enter__(self) -> None:
        with contained("entering a call"):
            if self.call is not None:
                self._current = self.call.current()
                self._current.__enter__()
            self._token = _sending.set(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contained("leaving a call"):
            if self._token is not None:
                _sending.reset(self._token)
                self._token = None
            if self._current is not None:
                current, self._current = self._current, None
                current.__exit__(None, None, None)

    def lose(self, error: BaseException) -> None:
        """Book what was sent, and may be billed, as a call of its own."""
        lost, self.call = self.call, None
        if lost is not None:
            lost.lose(error)


_sending: ContextVar[Sending | None] = ContextVar("llm_cost_sending", default=None)


def resend(error: BaseException) -> None:
    """The client is about to send again, in this context, what `error` may have had billed.

    That is another call, which the policy is asked about; it raises `PolicyBlocked`.
    """
    sending = _sending.get()
    if sending is not None and sending.call is not None and may_have_consumed(error):
        sending.__exit__(None, None, None)
        sending.lose(error)
        sending.call = calls.begin(sending.request)
        sending.__enter__()


async def resend_async(error: BaseException) -> None:
    """Like `resend`, for an async client."""
    sending = _sending.get()
    if sending is not None and sending.call is not None and may_have_consumed(error):
        sending.__exit__(None, None, None)
        sending.lose(error)
        sending.call = await calls.begin_async(sending.request)
        sending.__enter__()


def document(read_reply: Callable[[Any], Reply]) -> Callable[[Call, Any, Any], Any]:
    """Return a `Method.take` for results that are whole."""

    def take(call: Call, _: Any, result: Any) -> Any:
        call.stop(read_reply(result))
        return result

    return take


def consumed_over_http(error: BaseException) -> Reply | None:
    """Return what an error of a client over httpx may have used; None where that is nothing.

    A status of 400 or more is a refusal, a reply that could not be read was made; a request
    that was sent and timed out may have been worked on, a connection lost earlier was not.
    """
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return Reply() if status < 400 else None
    return Reply() if may_have_consumed(error) else None


def patched(method: Method, original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method with a call's life around it."""

    @functools.wraps(original)
    def billed(self: Any, *positional: Any, **keywords: Any) -> Any:
        request = method.request(self, positional, keywords)
        call = None if request is None else calls.begin(request)
        if request is None or call is None:
            return original(self, *positional, **keywords)
        sending = Sending(request, call)
        try:
            with sending:
                result = original(self, *positional, **keywords)
        except BaseException as error:
            method.failed(sending.call, error)
            raise
        return method.answered(sending, self, result)

    return billed


def patched_async(
    method: Method, original: Callable[..., Awaitable[Any]]
) -> Callable[..., Awaitable[Any]]:
    """Like `patched`, for a coroutine."""

    @functools.wraps(original)
    async def billed(self: Any, *positional: Any, **keywords: Any) -> Any:
        request = method.request(self, positional, keywords)
        call = None if request is None else await calls.begin_async(request)
        if request is None or call is None:
            return await original(self, *positional, **keywords)
        sending = Sending(request, call)
        try:
            with sending:
                result = await original(self, *positional, **keywords)
        except BaseException as error:
            method.failed(sending.call, error)
            raise
        return method.answered(sending, self, result)

    return billed


def read_along(chunks: Iterator[Any], reading: Reading) -> Iterator[Any]:
    """Return a generator of `chunks` that tells `reading` what passes and how it ends."""
    if reading.neighbour is not None:
        chunks = reading.neighbour.reading(chunks)
    try:
        for chunk in chunks:
            if not reading.saw(chunk):
                yield chunk
    except GeneratorExit:
        _close(chunks)
        reading.closed()
        raise
    except BaseException as error:
        reading.fail(error)
        raise
    reading.stop()


async def read_along_async(chunks: AsyncIterator[Any], reading: Reading) -> AsyncIterator[Any]:
    """Like `read_along`, for an async generator."""
    if reading.neighbour is not None:
        chunks = reading.neighbour.reading(chunks)
    try:
        async for chunk in chunks:
            if not reading.saw(chunk):
                yield chunk
    except GeneratorExit:
        reading.closed()
        if hasattr(chunks, "aclose"):
            await chunks.aclose()
        raise
    except BaseException as error:
        reading.fail(error)
        raise
    reading.stop()


def _close(chunks: Iterator[Any]) -> None:
    if hasattr(chunks, "close"):
        chunks.close()
