"""Attributes the requests of web frameworks without a line in the application.

One file per framework. Each does nothing at all unless LLM_COST_IDENTITY is set, and patches
a framework when the application imports it, never before.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from llm_cost.frameworks.instrumentor import FrameworkInstrumentor

INSTRUMENTORS: Final = (
    "llm_cost.frameworks.asgi:AsgiInstrumentor",
    "llm_cost.frameworks.flask:FlaskInstrumentor",
    "llm_cost.frameworks.django:DjangoInstrumentor",
)


def instrument() -> None:
    """Patch every installed framework, as LLM_COST_IDENTITY says."""
    for instrumentor in _all():
        if instrumentor.is_installed:
            instrumentor.instrument()


def uninstrument() -> None:
    """Put every framework back as it was found."""
    for instrumentor in _all():
        instrumentor.uninstrument()


def _all() -> "list[FrameworkInstrumentor]":
    return [
        getattr(import_module(module), name)()
        for module, _, name in (path.partition(":") for path in INSTRUMENTORS)
    ]
