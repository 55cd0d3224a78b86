"""Flask."""

import functools
import operator
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Final

from opentelemetry.context import attach

from llm_cost.frameworks.instrumentor import FrameworkInstrumentor, Patch
from llm_cost.frameworks.request_payer import OTHERS, Switch, serve_wsgi
from llm_cost.middleware import wsgi_request

_ENVIRON_OF: Final = operator.attrgetter("environ")  # of a request, not of the process


class FlaskInstrumentor(FrameworkInstrumentor):
    """Attributes inside of the application's WSGI middlewares, until the body is closed.

    `opentelemetry-instrumentation-flask` begins its context in a function before the request.
    """

    package = "flask"
    modules = ("flask.app",)

    def patches(self, module: ModuleType) -> Iterable[Patch]:
        """Return the entry of a request, and where the functions before it are run."""
        flask_class = vars(module)["Flask"]
        yield Patch(flask_class, "wsgi_app", functools.partial(_serving, self.switch))
        yield Patch(flask_class, "preprocess_request", functools.partial(_preparing, self.switch))


def _serving(switch: Switch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def wsgi_app(app: Any, environ: Any, start_response: Any) -> Any:
        return serve_wsgi(switch, functools.partial(original, app), environ, start_response)

    return wsgi_app


def _preparing(switch: Switch, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def preprocess_request(app: Any) -> Any:
        before = app.before_request_funcs.get(None)
        if before and switch.source is not None:
            _place_behind_others(before, switch)
        return original(app)

    return preprocess_request


def _place_behind_others(before: list[Callable[[], Any]], switch: Switch) -> None:
    """Once per application: this happens before any request walks the list."""
    if any(isinstance(function, _SayAgain) for function in before):
        return
    others = [i for i, function in enumerate(before) if function.__module__.startswith(OTHERS)]
    if others:
        before.insert(others[-1] + 1, _SayAgain(switch))


class _SayAgain:
    """A function before the request. What it attaches goes when OpenTelemetry's is detached."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch

    def __call__(self) -> None:
        from flask import request

        context = self._switch.context_of(_ENVIRON_OF(request), wsgi_request)
        if context is not None:
            attach(context)
