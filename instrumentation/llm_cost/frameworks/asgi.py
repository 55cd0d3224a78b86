"""Starlette, and FastAPI on top of it."""

import functools
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from llm_cost.frameworks.instrumentor import FrameworkInstrumentor, Patch
from llm_cost.frameworks.request_payer import OTHERS, AsgiPayer, Switch


class AsgiInstrumentor(FrameworkInstrumentor):
    """Puts the payer outermost among the application's middlewares, and behind OpenTelemetry's.

    `opentelemetry-instrumentation-fastapi` puts its own around the stack that is built here;
    `opentelemetry-instrumentation-starlette` is one of the middlewares.
    """

    package = "starlette"
    modules = ("starlette.applications", "fastapi.applications")

    def patches(self, module: ModuleType) -> Iterable[Patch]:
        """Return the method that builds the stack; FastAPI has one of its own."""
        wrap = functools.partial(_building, self.switch)
        for name in ("Starlette", "FastAPI"):
            if name in vars(module):
                yield Patch(vars(module)[name], "build_middleware_stack", wrap)


def _building(switch: Switch, original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(original)
    def build_middleware_stack(app: Any) -> Any:
        if switch.source is None:
            return original(app)
        theirs = app.user_middleware
        app.user_middleware = _with_payer(theirs, switch)
        try:
            return original(app)
        finally:
            app.user_middleware = theirs

    return build_middleware_stack


def _with_payer(middlewares: list[Any], switch: Switch) -> list[Any]:
    from starlette.middleware import Middleware

    payer = Middleware(AsgiPayer, switch=switch)
    placed = [payer]
    for middleware in middlewares:
        placed.append(middleware)
        if getattr(middleware.cls, "__module__", "").startswith(OTHERS):
            placed.append(payer)
    return placed
