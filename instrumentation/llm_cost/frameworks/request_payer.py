"""Says who pays for a request, once, and again where another instrumentation lost it.

Instrumentations of servers begin a request with a context of their own, made of the headers
alone. Where one does so further in than we stand, the payer is gone, and what a stranger's
baggage says is back. So we stand at the entry and once more behind each of them.
"""

from collections.abc import Callable, Iterable, MutableMapping
from typing import Any, Final

from opentelemetry.context import Context

from llm_cost import faults
from llm_cost.attribution import said_here, with_identity
from llm_cost.identity_source import IdentitySource
from llm_cost.middleware import (
    AsgiApp,
    Body,
    Environ,
    Request,
    Scope,
    WsgiApp,
    asgi_request,
    is_file,
    wsgi_request,
)
from llm_cost.policy.decision import Identity
from llm_cost.within import OwnContext, within

REMEMBERED: Final = "llm_cost.payer"
"""Key in the ASGI scope or WSGI environ: who pays for this request, once that was read."""
OTHERS: Final = "opentelemetry."  # where the modules of other instrumentations are


class Switch:
    """Whether and from where requests are attributed; what is patched looks here each time."""

    __slots__ = ("source",)

    def __init__(self) -> None:
        self.source: IdentitySource | None = None

    def context_of(
        self, scope: MutableMapping[str, Any], request_of: Callable[[Any], Request]
    ) -> Context | None:
        """Return the context that a request has to run in; None: the one that it is in."""
        source = self.source
        if source is None:
            return None
        with faults.contained("saying who pays for a request"):
            said = said_here()
            payer = scope.get(REMEMBERED)
            if payer is None:
                payer = scope[REMEMBERED] = _filled(said, source(request_of(scope)))
            elif said is not None:
                return None
            return with_identity(payer, trust_baggage=source.trust_baggage)
        return None


def _filled(said: Identity | None, read: Identity) -> Identity:
    """What the application's own code said outside counts; a request fills the gaps."""
    if said is None:
        return read
    return Identity(said.user_id or read.user_id, said.tier or read.tier, said.group or read.group)


class AsgiPayer:
    """ASGI middleware (HTTP and websocket)."""

    def __init__(self, app: AsgiApp, *, switch: Switch) -> None:
        self._app = app
        self._switch = switch

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Serve one connection."""
        context = None
        if scope["type"] in ("http", "websocket"):
            context = self._switch.context_of(scope, asgi_request)
        if context is None:
            await self._app(scope, receive, send)
            return
        with within(context):
            await self._app(scope, receive, send)


def serve_wsgi(
    switch: Switch, app: WsgiApp, environ: Environ, start_response: Any
) -> Iterable[bytes]:
    """Serve one WSGI request, attributed until its body is closed."""
    context = switch.context_of(environ, wsgi_request)
    if context is None:
        return app(environ, start_response)
    own = OwnContext(lambda: context)
    with own:
        body = app(environ, start_response)
    if isinstance(body, list | tuple) or is_file(body, environ):
        return body
    return Body(body, own)
