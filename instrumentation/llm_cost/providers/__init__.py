"""One file per client library: what to patch, and response → `Usage`.

Adding a provider is one file, one test file and one line in `INSTRUMENTORS`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from llm_cost.providers.instrumentor import Instrumentor

INSTRUMENTORS: Final = (
    "llm_cost.providers.openai:OpenAIInstrumentor",
    "llm_cost.providers.anthropic:AnthropicInstrumentor",
)


def instrument(**options: Any) -> list[str]:
    """Patch every installed client; return their names. Options: `tracer_provider`."""
    patched = []
    for instrumentor in _all():
        try:
            instrumentor.instrument(**options)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != instrumentor.module:
                raise  # the client is installed and something of its own is not
            continue
        patched.append(instrumentor.module)
    return patched


def uninstrument() -> None:
    """Put every client back as it was found."""
    for instrumentor in _all():
        instrumentor.uninstrument()
    import_module("llm_cost.call").configure()


def _all() -> "list[Instrumentor]":
    return [
        getattr(import_module(module), name)()
        for module, _, name in (path.partition(":") for path in INSTRUMENTORS)
    ]
