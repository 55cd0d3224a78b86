"""Django, under WSGI and ASGI."""

import functools
import inspect
from collections.abc import Callable, Iterable
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from llm_cost.frameworks.instrumentor import FrameworkInstrumentor, Patch
from llm_cost.frameworks.request_payer import OTHERS, AsgiPayer, Switch, serve_wsgi
from llm_cost.middleware import asgi_request, wsgi_request
from llm_cost.within import within

_SAY_AGAIN: Final = f"{__name__}.say_again"


class DjangoInstrumentor(FrameworkInstrumentor):
    """Attributes at the handlers' entry, and behind OpenTelemetry's middleware."""

    package = "django"
    modules = (
        "django.core.handlers.base",
        "django.core.handlers.wsgi",
        "django.core.handlers.asgi",
    )

    def patches(self, module: ModuleType) -> Iterable[Patch]:
        """Return the entry of a request, and where the chain of middlewares is built."""
        found = vars(module)
        kind = module.__name__.rpartition(".")[2]
        if kind == "wsgi":
            yield Patch(found["WSGIHandler"], "__call__", functools.partial(_wsgi, self.switch))
        elif kind == "asgi":
            yield Patch(found["ASGIHandler"], "__call__", functools.partial(_asgi, self.switch))
        else:
            wrap = functools.partial(_loading, self.switch)
            yield Patch(found["BaseHandler"], "load_middleware", wrap)


def _wsgi(switch: Switch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(handler: Any, environ: Any, start_response: Any) -> Any:
        return serve_wsgi(switch, functools.partial(original, handler), environ, start_response)

    return call


def _asgi(switch: Switch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def call(handler: Any, scope: Any, receive: Any, send: Any) -> None:
        app = AsgiPayer(functools.partial(original, handler), switch=switch)
        await app(scope, receive, send)

    return call


def _loading(switch: Switch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def load_middleware(handler: Any, *args: Any, **kwargs: Any) -> Any:
        settings = import_module("django.conf").settings
        theirs = settings.MIDDLEWARE
        others = [i for i, path in enumerate(theirs) if path.startswith(OTHERS)]
        if switch.source is None or not others:
            return original(handler, *args, **kwargs)
        behind = others[-1] + 1
        settings.MIDDLEWARE = [*theirs[:behind], _SAY_AGAIN, *theirs[behind:]]
        try:
            return original(handler, *args, **kwargs)
        finally:
            settings.MIDDLEWARE = theirs

    return load_middleware


def say_again(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Django middleware, sync and async: the payer again, where it has been lost."""
    switch = DjangoInstrumentor().switch
    if inspect.iscoroutinefunction(get_response) or _is_marked_async(get_response):

        async def respond_async(request: Any) -> Any:
            context = _context_of(request, switch)
            if context is None:
                return await get_response(request)
            with within(context):
                return await get_response(request)

        return respond_async

    def respond(request: Any) -> Any:
        context = _context_of(request, switch)
        if context is None:
            return get_response(request)
        with within(context):
            return get_response(request)

    return respond


say_again.sync_capable = True  # type: ignore[attr-defined]  # how Django asks a function
say_again.async_capable = True  # type: ignore[attr-defined]


def _is_marked_async(function: Callable[..., Any]) -> bool:
    from asgiref.sync import iscoroutinefunction

    return bool(iscoroutinefunction(function))


def _context_of(request: Any, switch: Switch) -> Any:
    scope = getattr(request, "scope", None)
    if scope is None:
        return switch.context_of(request.META, wsgi_request)
    return switch.context_of(scope, asgi_request)
