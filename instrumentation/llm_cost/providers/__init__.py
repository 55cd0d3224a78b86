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
    "llm_cost.providers.groq:GroqInstrumentor",
    "llm_cost.providers.together:TogetherInstrumentor",
    "llm_cost.providers.ollama:OllamaInstrumentor",
    "llm_cost.providers.cohere:CohereInstrumentor",
    "llm_cost.providers.bedrock:BedrockInstrumentor",
    "llm_cost.providers.bedrock:AioBedrockInstrumentor",
    "llm_cost.providers.litellm:LiteLLMInstrumentor",
    "llm_cost.providers.google_genai:GoogleGenAIInstrumentor",
    "llm_cost.providers.mistralai:MistralAIInstrumentor",
)


def instrument(**options: Any) -> list[str]:
    """Patch every installed client; return their names. Options: `tracer_provider`."""
    patched = []
    for instrumentor in _all():
        try:
            instrumentor.instrument(**options)
        except ModuleNotFoundError as error:
            if not _is_missing(error.name or "", instrumentor.module):
                raise  # the client is installed and something of its own is not
            continue
        patched.append(instrumentor.module)
    return patched


def _is_missing(name: str, client: str) -> bool:
    """Return whether `name`, which was not found, is the client, above it or a part of it."""
    return bool(name) and (f"{client}.".startswith(f"{name}.") or name.startswith(f"{client}."))


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
