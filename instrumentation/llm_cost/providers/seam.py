"""The one place where calls of OpenAI's and Anthropic's clients are seen.

Both clients are generated from the same base: every endpoint, plain, parsed, streamed, raw or
posted by hand, goes through `request` of a sync or an async base client, once per call of the
application. A helper such as `chat.completions.stream` comes through here once, too.

One `Attempt` is one such request. The client may send it again by itself; see
docs/decisions/0004-one-call-one-span.md for how that is booked.
"""

import functools
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar, Token
from typing import Any, Final

from opentelemetry.trace import NonRecordingSpan, Span

from llm_cost import call as calls
from llm_cost.call import Call
from llm_cost.faults import contained
from llm_cost.providers.endpoint import Endpoint, Surface
from llm_cost.receipts import Receipt, book
from llm_cost.request import ESTIMATED, Reply, Request
from llm_cost.response_bytes import (
    DocumentBytes,
    EventBytes,
    LineBytes,
    fields,
    read_document,
    watch,
)
from llm_cost.streaming import AsyncChunks, Reading, read_along

_REFUSING_SERVERS_LIMIT: Final = 1_024
_refusing_servers: set[tuple[str | None, int | None]] = set()
"""Servers that do not know `stream_options`: asked once, then left alone."""

_running: ContextVar["Attempt | None"] = ContextVar("llm_cost_running", default=None)

_NEVER_SENT: Final = frozenset(("ConnectTimeout", "ConnectError", "PoolTimeout", "ProxyError"))


def running_call() -> Call | None:
    """Return the call whose request is being made in this context."""
    attempt = _running.get()
    call = None if attempt is None else attempt.call
    return call if isinstance(call, Call) else None


class BorrowedTracer:
    """Hands our span to a client that would start one of its own: to propagate, not to write."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    def start_span(self, *_: Any, **__: Any) -> Span:
        """Return a span with our identity that records nothing."""
        return NonRecordingSpan(self._span.get_span_context())


class Attempt:
    """One request of a client, from before its policy check until its reply is handed on."""

    __slots__ = (
        "_body",
        "_current",
        "_endpoint",
        "_hides_usage",
        "_options",
        "_surface",
        "_token",
        "call",
        "request",
    )

    def __init__(
        self, surface: Surface, endpoint: Endpoint, request: Request, options: Any
    ) -> None:
        # Of a result that is read, nothing is asked and nothing begins.
        self.call: Call | Receipt | None = Receipt(request) if endpoint.is_result else None
        self.request = request
        self._surface = surface
        self._endpoint = endpoint
        self._options = options
        self._body = options.json_data
        self._hides_usage = False
        self._token: Token[Attempt | None] | None = None
        self._current: Any = None

    def enter(self) -> None:
        """Make the call's span current and ask for usage; in the frame that leaves again."""
        if not isinstance(self.call, Call):
            return
        with contained("entering a call"):
            self._current = self.call.current()
            self._current.__enter__()
            self._token = _running.set(self)
            self._ask_for_usage()

    def leave(self) -> None:
        """Undo `enter`."""
        with contained("leaving a call"):
            if self._token is not None:
                _running.reset(self._token)
                self._token = None
            if self._current is not None:
                current, self._current = self._current, None
                current.__exit__(None, None, None)

    def _ask_for_usage(self) -> None:
        request = self.request
        if not (request.stream and self._endpoint.usage_on_request) or self._hides_usage:
            return
        asked = request.body.get("stream_options")
        if asked is not None and not isinstance(asked, Mapping):
            return
        extra = getattr(self._options, "extra_json", None)
        if (asked and asked.get("include_usage")) or (extra and "stream_options" in extra):
            return
        if (request.server_address, request.server_port) in _refusing_servers:
            return
        # A new dictionary: the application may use its own again.
        self._options.json_data = {
            **self._body,
            "stream_options": {**(asked or {}), "include_usage": True},
        }
        self._hides_usage = True

    def is_refused_for_our_wish(self, error: BaseException) -> bool:
        """Return whether to send again, without what we added to the request."""
        if not self._hides_usage or getattr(error, "status_code", None) not in (400, 422):
            return False
        if "stream_options" not in str(error) and "include_usage" not in str(error):
            return False
        self._options.json_data = self._body
        self._hides_usage = False
        if len(_refusing_servers) < _REFUSING_SERVERS_LIMIT:
            _refusing_servers.add((self.request.server_address, self.request.server_port))
        return True

    def failed(self, error: BaseException) -> None:
        """The request raised `error`, which travels on unmodified."""
        if self.call is not None:
            with contained("failing a call"):
                self.call.fail(error, self._consumed(error))

    def is_lost(self, error: BaseException) -> bool:
        """Return whether the client is about to send again what may have been billed already."""
        return self.call is not None and _may_have_consumed(error)

    def lose(self, error: BaseException) -> None:
        """Book what was sent as a call of its own."""
        lost, self.call = self.call, None
        if isinstance(lost, Call):
            with contained("booking a lost attempt"):
                lost.lose(error)

    def _consumed(self, error: BaseException) -> Reply | None:
        # openai's parse helpers raise errors that carry the reply: it was made and is billed.
        completion = getattr(error, "completion", None)
        if completion is not None:
            return self._endpoint.read_reply(completion)
        return Reply() if _may_have_consumed(error) else None

    def answered(self, result: Any) -> Any:
        """Read `result`, or have it read when the application does; return it."""
        if self.call is None:
            return result
        try:
            self._read(self.call, result)
        except Exception:
            # Whatever we could not read was made and is billed.
            self.call.stop(Reply())
            with contained("reading a reply"):
                raise
        return result

    def _read(self, call: Call | Receipt, result: Any) -> None:
        endpoint = self._endpoint
        stream = self._stream_in(result)
        if stream is not None:
            reading = self._reading(call)
            chunks = stream._iterator
            wrap = AsyncChunks if hasattr(chunks, "__anext__") else read_along
            watch(stream.response, reading, EventBytes(reading))
            stream._iterator = wrap(chunks, reading)
            return
        response = _response_of(result)
        if response is None:
            call.stop(self._complete(endpoint.read_reply(fields(result))))
        elif endpoint.read_line is not None:
            self._read_lines(call, result, response)
        elif response.is_closed:
            call.stop(self._complete(self._read_whole(call, response)))
        else:
            reading = self._reading(call)
            watch(
                response,
                reading,
                EventBytes(reading)
                if self.request.stream or _has_events(response)
                else DocumentBytes(reading, lambda told: self._complete(endpoint.read_reply(told))),
            )

    def _read_whole(self, call: Call | Receipt, response: Any) -> Reply:
        if not _has_events(response):
            return read_document(response.content, self._endpoint.read_reply)
        # Events that the client gathered before it handed them on, as it does with speech.
        reading = self._reading(call)
        EventBytes(reading).take(response.content)
        return self._endpoint.conclude(reading.progress)

    def _read_lines(self, call: Call | Receipt, result: Any, response: Any) -> None:
        read_line, request = self._endpoint.read_line, self.request
        assert read_line is not None
        reading = self._reading(call)
        watch(response, reading, LineBytes(reading, lambda line: book(request, read_line(line))))
        if hasattr(result, "_raw_iterator"):
            # The client's decoder has an iterator already, of before we watched.
            is_async = hasattr(result, "__anext__")
            bytes_of = response.aiter_bytes if is_async else response.iter_bytes
            result._raw_iterator = bytes_of(chunk_size=64)

    def _stream_in(self, result: Any) -> Any:
        """Return the client's stream that `result` is, or is made around; None elsewhere."""
        if not self.request.stream:
            return None
        types = self._surface.stream_types
        # Not isinstance: older anthropic clients answer it with yes for their helpers, too,
        # which they make around a stream inside `request`.
        for stream in (result, getattr(result, "_raw_stream", None)):
            if issubclass(type(stream), types):
                return stream
        return None

    def _reading(self, call: Call | Receipt) -> Reading:
        endpoint = self._endpoint
        return Reading(call, endpoint.read_chunk, endpoint.conclude, hides_usage=self._hides_usage)

    def _complete(self, reply: Reply) -> Reply:
        count_request = self._endpoint.count_request
        if reply.usage is not None or count_request is None:
            return reply
        return reply._replace(usage=count_request(self.request.body), usage_source=ESTIMATED)


def _response_of(result: Any) -> Any:
    """Return the HTTP response inside a raw result, None inside a parsed one."""
    if hasattr(type(result), "model_fields"):
        return None  # a pydantic model, where looking for what is missing is slow
    for name in ("http_response", "response"):
        response = getattr(result, name, None)
        if hasattr(response, "iter_raw"):
            return response
    return result if hasattr(result, "iter_raw") else None


def _has_events(response: Any) -> bool:
    return "event-stream" in response.headers.get("content-type", "")


def _may_have_consumed(error: BaseException) -> bool:
    """Return whether the provider may have worked, and billed, before `error` was raised.

    A status of 400 or more is a refusal. A connection that failed before a reply is one as
    well, as far as anybody can tell; a request that was sent and timed out is not.
    """
    if isinstance(getattr(error, "status_code", None), int) and hasattr(error, "response"):
        return int(error.status_code) < 400  # type: ignore[attr-defined] # told by hasattr
    if not isinstance(error, Exception):
        return True  # cancelled or interrupted while the request was out
    # Not the context: that may be an exception which the application is handling meanwhile.
    links = (error, error.__cause__)
    classes = {kind.__name__ for link in links if link is not None for kind in type(link).__mro__}
    if classes & _NEVER_SENT:
        return False
    if classes & {"APITimeoutError", "TimeoutException"}:
        return True
    return _came_from_a_reply(error)


def _came_from_a_reply(error: BaseException) -> bool:
    """Return whether `error` was raised while the client read a reply."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name == "_process_response":
            return True
        trace = trace.tb_next
    return False


def _attempt(surface: Surface, client: Any, options: Any, keywords: Mapping[str, Any]) -> Any:
    with contained("recognising a request"):
        endpoint = surface.endpoint_of(options)
        if endpoint is None:
            return None
        request = surface.request_of(client, options, endpoint, bool(keywords.get("stream")))
        return Attempt(surface, endpoint, request, options)
    return None


def patched_request(surface: Surface, original: Callable[..., Any]) -> Callable[..., Any]:
    """Return `SyncAPIClient.request` with a call's life around it."""

    @functools.wraps(original)
    def request(self: Any, cast_to: Any, options: Any, *positional: Any, **keywords: Any) -> Any:
        attempt = _attempt(surface, self, options, keywords)
        if attempt is None:
            return original(self, cast_to, options, *positional, **keywords)
        if attempt.call is None:
            attempt.call = calls.begin(attempt.request)
        while True:
            attempt.enter()
            try:
                result = original(self, cast_to, options, *positional, **keywords)
            except BaseException as error:
                attempt.leave()
                if attempt.is_refused_for_our_wish(error):
                    continue
                attempt.failed(error)
                raise
            attempt.leave()
            return attempt.answered(result)

    return request


def patched_async_request(
    surface: Surface, original: Callable[..., Awaitable[Any]]
) -> Callable[..., Awaitable[Any]]:
    """Return `AsyncAPIClient.request` with a call's life around it."""

    @functools.wraps(original)
    async def request(
        self: Any, cast_to: Any, options: Any, *positional: Any, **keywords: Any
    ) -> Any:
        attempt = _attempt(surface, self, options, keywords)
        if attempt is None:
            return await original(self, cast_to, options, *positional, **keywords)
        if attempt.call is None:
            attempt.call = await calls.begin_async(attempt.request)
        while True:
            attempt.enter()
            try:
                result = await original(self, cast_to, options, *positional, **keywords)
            except BaseException as error:
                attempt.leave()
                if attempt.is_refused_for_our_wish(error):
                    continue
                attempt.failed(error)
                raise
            attempt.leave()
            return attempt.answered(result)

    return request


def _lost_to(keywords: Mapping[str, Any]) -> BaseException | None:
    """Return the error that the client is retrying after; None after a refusal."""
    # With a response, the exception in flight is the application's, which may itself be
    # falling back from a timeout elsewhere.
    return None if keywords.get("response") is not None else sys.exc_info()[1]


def patched_sleep(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return `_sleep_for_retry`: what was sent and may be billed is booked before the next."""

    @functools.wraps(original)
    def sleep_for_retry(self: Any, *positional: Any, **keywords: Any) -> Any:
        attempt, error = _running.get(), _lost_to(keywords)
        if attempt is not None and error is not None and attempt.is_lost(error):
            attempt.leave()
            attempt.lose(error)
            attempt.call = calls.begin(attempt.request)
            attempt.enter()
        return original(self, *positional, **keywords)

    return sleep_for_retry


def patched_async_sleep(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Like `patched_sleep`, for the async client."""

    @functools.wraps(original)
    async def sleep_for_retry(self: Any, *positional: Any, **keywords: Any) -> Any:
        attempt, error = _running.get(), _lost_to(keywords)
        if attempt is not None and error is not None and attempt.is_lost(error):
            attempt.leave()
            attempt.lose(error)
            attempt.call = await calls.begin_async(attempt.request)
            attempt.enter()
        return await original(self, *positional, **keywords)

    return sleep_for_retry
