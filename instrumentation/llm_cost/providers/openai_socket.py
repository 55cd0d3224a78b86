"""OpenAI's websockets: realtime sessions, and responses over a socket.

A session is many calls: each response that the model makes is one, with its own span, reserve
and settle.

- `response.create` is asked for before it is sent; a blocked one raises and is not sent.
- A realtime session is asked for before it connects. That call is its first response.
- A session that detects turns lets the server begin responses by itself. Those cannot be asked
  for; they are booked when they are done, and the next `response.create` or session is refused.
- Input transcription is another model's work and booked as it is told.

Messages are looked at as bytes, and parsed only where they tell an end: most of them are sound.
"""

import functools
import json
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from llm_cost import attribution, policy
from llm_cost import call as calls
from llm_cost.call import Call
from llm_cost.faults import contained
from llm_cost.providers.endpoint import at, text_or_none
from llm_cost.providers.instrumentor import Patch
from llm_cost.providers.openai_replies import read_response
from llm_cost.providers.openai_usage import usage_of
from llm_cost.providers.server import server_of
from llm_cost.request import Reply, Request
from llm_cost.usage import Usage

_SESSION: Final = "_llm_cost_session"
_ASKS: Final = b'"response.create"'
_TELLS: Final = (
    b'"response.done"',
    b'"response.completed"',
    b'"response.incomplete"',
    b'"response.failed"',
    b'input_audio_transcription.completed"',
    b'"session.created"',
    b'"session.updated"',
)
_WAITING_LIMIT: Final = 1_000
"""Responses asked for and not done; a session has a few. Beyond it the oldest is given up."""


class Session:
    """One connection: the calls that it has asked for and not seen the end of."""

    def __init__(self, client: Any, model: str, first: Call | None) -> None:
        self._client = client
        self._model = model
        self._first = first
        self._transcriber = ""
        self._asked: deque[Call | None] = deque()

    def asks(self, message: str | bytes) -> Request | None:
        """Return what to ask the policy for before `message` is sent, None for nothing."""
        raw = message.encode() if isinstance(message, str) else message
        if _ASKS not in raw:
            return None
        event = json.loads(raw)
        if not isinstance(event, dict) or event.get("type") != "response.create":
            return None
        if self._first is not None:
            self._asked.append(self._first)
            self._first = None
            return None
        return request_of(self._client, text_or_none(event.get("model")) or self._model, event)

    def asked(self, call: Call | None) -> None:
        """Remember a call whose request is being sent."""
        self._asked.append(call)
        if len(self._asked) > _WAITING_LIMIT and (oldest := self._asked.popleft()) is not None:
            oldest.cancel(Reply())

    def not_sent(self, error: BaseException) -> None:
        """The request that was asked for last did not go out."""
        call = self._asked.pop() if self._asked else None
        if call is not None:
            call.fail(error, None)

    def saw(self, message: bytes) -> None:
        """Take in a message of the server."""
        if not any(mark in message for mark in _TELLS):
            return
        event = json.loads(message)
        kind = text_or_none(at(event, "type")) or ""
        if kind.startswith("session."):
            told = at(event, "session", "audio", "input", "transcription", "model")
            self._transcriber = text_or_none(told) or self._transcriber
        elif kind.endswith("input_audio_transcription.completed"):
            self._book(self._transcriber, Reply(usage=usage_of(at(event, "usage"))))
        elif kind.startswith("response.") and at(event, "response") is not None:
            self._done(read_response(at(event, "response")))

    def _done(self, reply: Reply) -> None:
        call = self._asked.popleft() if self._asked else self._first
        if call is self._first:
            self._first = None
        if call is None:
            self._book(reply.model or self._model, reply)
        else:
            call.stop(reply)

    def _book(self, model: str, reply: Reply) -> None:
        """Settle what the server did by itself."""
        request = request_of(self._client, model, {})._replace(is_text=reply.usage is not None)
        call = Call(request, attribution.resolve(None), policy.current_gate())
        call.admit()
        call.stop(reply)

    def close(self) -> None:
        """End what is still open: a response in the making may have been billed."""
        first, self._first = self._first, None
        if first is not None:
            first.stop(Reply(usage=Usage()))  # no response was ever made
        while self._asked:
            if (call := self._asked.popleft()) is not None:
                call.cancel(Reply())


def request_of(client: Any, model: str, event: dict[str, Any]) -> Request:
    """Return the request for one response of a session."""
    server = server_of(client, "openai")
    limit = event.get("max_output_tokens") or at(event.get("response"), "max_output_tokens")
    return Request(
        provider=server.provider,
        operation="chat",
        model=model,
        body=event,
        stream=True,
        max_output_tokens=limit if isinstance(limit, int) else None,
        server_address=server.address,
        server_port=server.port,
    )


# --- patches -----------------------------------------------------------------------------

IsOn = Callable[[], bool]


class _Kind(NamedTuple):
    """One kind of session. opens_paid: the server may respond before it is asked to."""

    module: str
    name: str
    opens_paid: bool


_KINDS: Final = (
    _Kind("openai.resources.realtime.realtime", "Realtime", True),
    _Kind("openai.resources.responses.responses", "Responses", False),
)


_BASE: Final = "openai._websocket_connection"
MODULES: Final = (_BASE, *(kind.module for kind in _KINDS))
"""What has to be patched; loading it takes a fifth of a second, so nobody does it for us alone."""


def patches_of(module: Any, is_on: IsOn) -> list[Patch]:
    """Return the patches of one of `MODULES`; none for a client of before 3.0."""
    if module.__name__ == _BASE:
        return _base_patches(module, is_on)
    if _BASE not in sys.modules:
        return []
    found: list[Patch] = []
    kind = next(kind for kind in _KINDS if kind.module == module.__name__)
    for prefix, entry in (("", "__enter__"), ("Async", "__aenter__")):
        manager = getattr(module, f"{prefix}{kind.name}ConnectionManager", None)
        connection = getattr(module, f"{prefix}{kind.name}Connection", None)
        if manager is None or connection is None:
            continue
        enter = _async_enter(kind, is_on) if prefix else _enter(kind, is_on)
        found += [
            Patch(manager, entry, enter),
            Patch(manager, "enter", enter),
            Patch(connection, "recv_bytes", _async_recv if prefix else _recv),
        ]
    return found


def _base_patches(module: Any, is_on: IsOn) -> list[Patch]:
    sync, async_ = module.WebSocketConnectionBase, module.AsyncWebSocketConnectionBase
    return [
        Patch(sync, "send_raw", _send(is_on)),
        Patch(sync, "close", _close),
        Patch(async_, "send_raw", _async_send(is_on)),
        Patch(async_, "close", _async_close),
    ]


def _private(manager: Any, name: str) -> Any:
    for kind in type(manager).__mro__:
        value = getattr(manager, f"_{kind.__name__}__{name}", None)
        if value is not None:
            return value
    return None


def _opening(kind: _Kind, manager: Any) -> tuple[Any, str, Request | None]:
    client = _private(manager, "client")
    model = text_or_none(_private(manager, "model")) or ""
    return client, model, request_of(client, model, {}) if kind.opens_paid else None


def _attach(connection: Any, client: Any, model: str, first: Call | None) -> None:
    with contained("watching a session"):
        connection.__dict__[_SESSION] = Session(client, model, first)


def _enter(kind: _Kind, is_on: IsOn) -> Callable[[Any], Any]:
    def wrap(original: Any) -> Any:
        @functools.wraps(original)
        def enter(self: Any) -> Any:
            if not is_on():
                return original(self)
            client, model, request = _opening(kind, self)
            first = calls.begin(request) if request is not None else None
            try:
                connection = original(self)
            except BaseException as error:
                if first is not None:
                    first.fail(error, None)
                raise
            _attach(connection, client, model, first)
            return connection

        return enter

    return wrap


def _async_enter(kind: _Kind, is_on: IsOn) -> Callable[[Any], Any]:
    def wrap(original: Any) -> Any:
        @functools.wraps(original)
        async def enter(self: Any) -> Any:
            if not is_on():
                return await original(self)
            client, model, request = _opening(kind, self)
            first = await calls.begin_async(request) if request is not None else None
            try:
                connection = await original(self)
            except BaseException as error:
                if first is not None:
                    first.fail(error, None)
                raise
            _attach(connection, client, model, first)
            return connection

        return enter

    return wrap


def _session_of(connection: Any) -> Session | None:
    session: Session | None = connection.__dict__.get(_SESSION)
    return session


def _asked_by(connection: Any, data: Any) -> tuple[Session | None, Request | None]:
    session = _session_of(connection)
    if session is not None:
        with contained("reading a client's event"):
            return session, session.asks(data)
    return session, None


def _send(is_on: IsOn) -> Callable[[Any], Any]:
    def wrap(original: Any) -> Any:
        @functools.wraps(original)
        def send_raw(self: Any, data: Any) -> Any:
            session, request = _asked_by(self, data) if is_on() else (None, None)
            if session is None or request is None:
                return original(self, data)
            session.asked(calls.begin(request))
            try:
                return original(self, data)
            except BaseException as error:
                session.not_sent(error)
                raise

        return send_raw

    return wrap


def _async_send(is_on: IsOn) -> Callable[[Any], Any]:
    def wrap(original: Any) -> Any:
        @functools.wraps(original)
        async def send_raw(self: Any, data: Any) -> Any:
            session, request = _asked_by(self, data) if is_on() else (None, None)
            if session is None or request is None:
                return await original(self, data)
            session.asked(await calls.begin_async(request))
            try:
                return await original(self, data)
            except BaseException as error:
                session.not_sent(error)
                raise

        return send_raw

    return wrap


def _saw(connection: Any, message: bytes) -> bytes:
    session = _session_of(connection)
    if session is not None:
        with contained("reading a server's event"):
            session.saw(message)
    return message


def _recv(original: Any) -> Any:
    @functools.wraps(original)
    def recv_bytes(self: Any) -> Any:
        return _saw(self, original(self))

    return recv_bytes


def _async_recv(original: Any) -> Any:
    @functools.wraps(original)
    async def recv_bytes(self: Any) -> Any:
        return _saw(self, await original(self))

    return recv_bytes


def _ended(connection: Any) -> None:
    session = _session_of(connection)
    if session is not None:
        with contained("ending a session"):
            session.close()


def _close(original: Any) -> Any:
    @functools.wraps(original)
    def close(self: Any, **keywords: Any) -> Any:
        try:
            return original(self, **keywords)
        finally:
            _ended(self)

    return close


def _async_close(original: Any) -> Any:
    @functools.wraps(original)
    async def close(self: Any, **keywords: Any) -> Any:
        try:
            return await original(self, **keywords)
        finally:
            _ended(self)

    return close
