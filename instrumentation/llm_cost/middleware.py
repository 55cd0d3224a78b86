"""Who pays for a web request: an ASGI and a WSGI middleware around one `identify` function.

The payer is known until the last byte of a streaming response. What goes wrong in
`identify` is logged and leaves the request unattributed; it never breaks it.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from llm_cost import faults
from llm_cost.attribution import checked_id, with_identity
from llm_cost.policy.decision import Identity
from llm_cost.within import OwnContext, within

# ASGI and WSGI define these as open dictionaries and callables over them.
Scope: TypeAlias = Any
AsgiApp: TypeAlias = Callable[[Scope, Any, Any], Awaitable[None]]
Environ: TypeAlias = dict[str, Any]
WsgiApp: TypeAlias = Callable[[Environ, Any], Iterable[bytes]]

Payer: TypeAlias = Identity | Mapping[str, Any] | None
_FIELDS: Final = frozenset({"user_id", "tier", "group"})
_NOBODY: Final = Identity()


class Headers(Mapping[str, str]):
    """Request headers by name, in any case; repeated ones joined as their grammar says."""

    __slots__ = ("_by_name",)

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._by_name: dict[str, str] = {}
        for name, value in pairs:
            key = name.lower()
            seen = self._by_name.get(key)
            # HTTP/2 may send each cookie in a header of its own.
            comma = "; " if key == "cookie" else ", "
            self._by_name[key] = value if seen is None else f"{seen}{comma}{value}"

    def __getitem__(self, name: str) -> str:
        return self._by_name[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)


@dataclass(frozen=True, slots=True)
class Request:
    """What `identify` sees. `scope` is the ASGI scope (session, user, ...) or WSGI environ."""

    method: str  # "" for a websocket
    path: str
    query: str  # as sent, without the "?"
    headers: Headers
    scope: Mapping[str, Any]


Identify: TypeAlias = Callable[[Request], Payer | Awaitable[Payer]]


def from_headers(*, user: str, tier: str | None = None) -> Callable[[Request], Identity]:
    """Return an `identify` that reads headers which a gateway of yours sets.

    Only behind a gateway that overwrites them: anybody can send a header.
    """

    def identify(request: Request) -> Identity:
        return Identity(
            request.headers.get(user) or None,
            (request.headers.get(tier) or None) if tier else None,
        )

    return identify


class AttributionMiddleware:
    """ASGI middleware (HTTP and websocket): `app.add_middleware(AttributionMiddleware, ...)`.

    identify: takes a `Request`, returns an `Identity`, a dict of its fields, or None; may be
        async. It runs on the event loop, so a plain function must not block.
    trust_baggage: believe baggage of the caller about fields that `identify` leaves out; only
        for services that the public cannot reach.
    """

    def __init__(self, app: AsgiApp, *, identify: Identify, trust_baggage: bool = False) -> None:
        self._app = app
        self._identify = identify
        self._trust_baggage = trust_baggage

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Serve one connection, with its payer said."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        identity = await self._identity_of(scope)
        with within(with_identity(identity, trust_baggage=self._trust_baggage)):
            await self._app(scope, receive, send)

    async def _identity_of(self, scope: Scope) -> Identity:
        with faults.contained("identifying who pays for a request"):
            payer = self._identify(asgi_request(scope))
            if inspect.isawaitable(payer):
                payer = await payer
            return _identity_from(payer)
        return _NOBODY


class WsgiAttributionMiddleware:
    """WSGI middleware: `app.wsgi_app = WsgiAttributionMiddleware(app.wsgi_app, identify=...)`.

    The parameters are those of `AttributionMiddleware`; `identify` is a plain function.
    """

    def __init__(self, app: WsgiApp, *, identify: Identify, trust_baggage: bool = False) -> None:
        if inspect.iscoroutinefunction(identify):
            raise TypeError(f"identify {identify!r} is async; WSGI needs a plain function")
        self._app = app
        self._identify = identify
        self._trust_baggage = trust_baggage

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Serve one request, with its payer said until its body is closed."""
        identity = self._identity_of(environ)
        own = OwnContext(lambda: with_identity(identity, trust_baggage=self._trust_baggage))
        with own:
            body = self._app(environ, start_response)
        # Nothing runs in these, and servers treat them specially (length, sendfile).
        if isinstance(body, list | tuple) or is_file(body, environ):
            return body
        return Body(body, own)

    def _identity_of(self, environ: Environ) -> Identity:
        with faults.contained("identifying who pays for a request"):
            payer = self._identify(wsgi_request(environ))
            return _identity_from(payer)
        return _NOBODY


class Body:
    """The body of a WSGI response, each step and the closing in the request's context."""

    def __init__(self, body: Iterable[bytes], own: OwnContext) -> None:
        self._body = body
        self._own = own
        self._chunks: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._own:
            if self._chunks is None:
                self._chunks = iter(self._body)
            return next(self._chunks)

    def close(self) -> None:
        """Close the application's body, as a WSGI server asks for."""
        close = getattr(self._body, "close", None)
        if close is not None:
            with self._own:
                close()


def is_file(body: object, environ: Environ) -> bool:
    """Return whether the server sends this body by itself, as a file."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(body, wrapper)


def _identity_from(payer: Payer | Awaitable[Payer]) -> Identity:
    if payer is None:
        return _NOBODY
    if not isinstance(payer, Identity | Mapping):
        raise TypeError(f"identify returned {payer!r}; it may return an Identity, a dict or None")
    fields = (
        {"user_id": payer.user_id, "tier": payer.tier, "group": payer.group}
        if isinstance(payer, Identity)
        else payer
    )
    unknown = set(fields) - _FIELDS
    if unknown:
        raise TypeError(f"identify returned {sorted(unknown)}; it may return {sorted(_FIELDS)}")
    given = {name: checked_id(name, v) for name, v in fields.items() if v is not None}
    return Identity(**given)


def asgi_request(scope: Scope) -> Request:
    """Return what `identify` sees of an ASGI connection."""
    return Request(
        method=scope.get("method", ""),
        path=scope["path"],
        query=scope.get("query_string", b"").decode("latin-1"),
        headers=Headers(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        ),
        scope=scope,
    )


def wsgi_request(environ: Environ) -> Request:
    """Return what `identify` sees of a WSGI request."""
    return Request(
        method=environ.get("REQUEST_METHOD", ""),
        path=environ.get("PATH_INFO", ""),
        query=environ.get("QUERY_STRING", ""),
        headers=Headers(
            (name[5:].replace("_", "-"), value)
            for name, value in environ.items()
            if name.startswith("HTTP_")
        ),
        scope=environ,
    )
