"""Requests that a client sends by itself, again where it must: the call of each attempt.

For clients that are seen where they send HTTP and share no base with OpenAI's (`seam.py`). As
there, attempts that were refused are one call with the one that was not, and an attempt that
timed out may have been billed: it is a call of its own. See
docs/decisions/0004-one-call-one-span.md.
"""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Final, TypeVar

from llm_cost import call as calls
from llm_cost.call import Call
from llm_cost.faults import contained
from llm_cost.providers.endpoint import Endpoint
from llm_cost.request import ESTIMATED, Reply, Request

Answer = TypeVar("Answer")

_running: ContextVar["Attempt | None"] = ContextVar("llm_cost_running_attempt", default=None)

# By name: the same classes come from httpx, httpx2, requests and aiohttp.
_NEVER_SENT: Final = frozenset(
    (
        "ConnectError",
        "ConnectTimeout",
        "PoolTimeout",
        "ProxyError",
        "ClientConnectorError",
        "ConnectionTimeoutError",
    )
)
_TIMED_OUT: Final = frozenset(("TimeoutException", "Timeout", "TimeoutError"))


def running() -> "Attempt | None":
    """Return the attempt whose request is being sent in this context."""
    return _running.get()


def may_have_consumed(error: BaseException) -> bool:
    """Return whether the provider may have worked, and billed, before `error` was raised."""
    if not isinstance(error, Exception):
        return True  # cancelled or interrupted while the request was out
    # Not the context: that may be an exception which the application is handling meanwhile.
    links = (error, error.__cause__)
    classes = {kind.__name__ for link in links if link is not None for kind in type(link).__mro__}
    return not classes & _NEVER_SENT and bool(classes & _TIMED_OUT)


class Attempt:
    """One request of an application, from before its policy check until its reply is read."""

    __slots__ = ("call", "endpoint", "request")

    def __init__(self, endpoint: Endpoint, request: Request) -> None:
        self.endpoint = endpoint
        self.request = request
        self.call: Call | None = None

    def inside(self) -> "_Inside":
        """Return a context manager that makes this the running attempt and its span current."""
        return _Inside(self)

    def send(
        self, once: Callable[[], Answer], *, final: tuple[type[Exception], ...] = ()
    ) -> Answer:
        """Send once, as a new call where the last attempt may have been billed.

        An error of a class in `final` ends the request, and is left to `failed`.
        """
        if self.call is not None:
            return self._try(once, final)
        self.call = calls.begin(self.request)
        with self.inside():
            return self._try(once, final)

    async def send_async(
        self,
        once: Callable[[], Awaitable[Answer]],
        *,
        final: tuple[type[Exception], ...] = (),
    ) -> Answer:
        """Like `send`, for an async client."""
        if self.call is not None:
            return await self._try_async(once, final)
        self.call = await calls.begin_async(self.request)
        with self.inside():
            return await self._try_async(once, final)

    def _try(self, once: Callable[[], Answer], final: tuple[type[Exception], ...]) -> Answer:
        try:
            return once()
        except final:
            raise
        except BaseException as error:
            self._lose(error)
            raise

    async def _try_async(
        self, once: Callable[[], Awaitable[Answer]], final: tuple[type[Exception], ...]
    ) -> Answer:
        try:
            return await once()
        except final:
            raise
        except BaseException as error:
            self._lose(error)
            raise

    def _lose(self, error: BaseException) -> None:
        """Book what was sent and may be billed as a call of its own."""
        call = self.call
        if call is not None and may_have_consumed(error):
            self.call = None
            with contained("booking a lost attempt"):
                call.lose(error)

    def failed(self, error: BaseException) -> None:
        """The request raised `error`, which travels on unmodified."""
        if self.call is not None:
            with contained("failing a call"):
                self.call.fail(error, Reply() if may_have_consumed(error) else None)

    def read_reply(self, document: Any) -> Reply:
        """Return what a whole reply tells, or else what the request says about its use."""
        reply, count_request = self.endpoint.read_reply(document), self.endpoint.count_request
        if reply.usage is not None or count_request is None:
            return reply
        return reply._replace(usage=count_request(self.request.body), usage_source=ESTIMATED)

    def answered(self, read: Callable[[], Reply]) -> None:
        """End the call with what `read` returns."""
        if self.call is None:
            return
        try:
            self.call.stop(read())
        except Exception:
            # Whatever we could not read was made and is billed.
            self.call.stop(Reply())
            with contained("reading a reply"):
                raise


class _Inside:
    """Between enter and exit, in one frame, an attempt is the running one."""

    __slots__ = ("_attempt", "_current", "_token")

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._current: Any = None
        self._token: Token[Attempt | None] | None = None

    def __enter__(self) -> None:
        with contained("entering a call"):
            self._token = _running.set(self._attempt)
            if self._attempt.call is not None:
                current = self._attempt.call.current()
                current.__enter__()
                self._current = current

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contained("leaving a call"):
            if self._current is not None:
                self._current.__exit__(None, None, None)
            if self._token is not None:
                _running.reset(self._token)
