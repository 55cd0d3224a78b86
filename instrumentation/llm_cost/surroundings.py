"""Which spans of other instrumentations are around a call, and what each of them is.

Read from their attributes and scope names only; nothing of theirs is imported. What is done
with them is decided in `neighbours`.
"""

import sys
import weakref
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind

from llm_cost import attributes as names
from llm_cost.request import Request

# --- what others call things -------------------------------------------------------------

_MODEL_OPERATIONS: Final = frozenset(
    (
        *("chat", "text_completion", "completion", "generate_content", "responses", "rerank"),
        *("embeddings", "embedding", "image", "image_generation"),
        *("audio", "speech", "transcription"),
    )
)
_OPENINFERENCE_KIND: Final = "openinference.span.kind"
_OPENINFERENCE_MODEL_KINDS: Final = frozenset(("LLM", "EMBEDDING", "RERANKER"))
_OPENLLMETRY_TYPE: Final = "llm.request.type"
_USAGE_NAMES: Final = (
    *(names.USAGE_INPUT_TOKENS, names.USAGE_OUTPUT_TOKENS, *names.USAGE_OLDER_TOKENS),
    *("llm.token_count.prompt", "llm.token_count.completion", "llm.token_count.total"),
    *("llm.usage.prompt_tokens", "llm.usage.completion_tokens", "llm.usage.total_tokens"),
)

_OUR_SCOPE: Final = "llm_cost"
_OPENLLMETRY_OPENAI_SCOPE: Final = "opentelemetry.instrumentation.openai.v1"
_OPENLLMETRY_RESPONSE: Final = "openai.response"
_OPENLLMETRY_RESPONSES: Final = "opentelemetry.instrumentation.openai.v1.responses_wrappers"
_LOGFIRE_SCOPE: Final = "logfire."
_LOGFIRE_TYPE: Final = "logfire.span_type"
_LEAKY_SCOPES: Final = (
    "openlit",
    "opentelemetry.instrumentation.anthropic",
    "opentelemetry.instrumentation.openai_v2",
    "opentelemetry.util.genai.handler",  # the same, by its older library
)
"""Whose span of a stream that is not read to its end is never ended."""

_SCOPES: Final = (
    "opentelemetry.instrumentation.",
    "opentelemetry.util.genai",
    "openinference.instrumentation.",
    "openlit",
    "traceloop",
    _LOGFIRE_SCOPE,
)
_FRAMEWORKS: Final = frozenset(
    (
        *("langchain", "llama_index", "llamaindex", "crewai", "haystack", "agno", "smolagents"),
        *("dspy", "guardrails", "instructor", "autogen", "beeai", "openai_agents", "litellm"),
    )
)
"""Last parts of the scopes whose model spans stand above a client's, and repeat its usage."""

_CHAIN_LIMIT: Final = 16  # frameworks in frameworks; what is deeper is not marked
_SCOPES_LIMIT: Final = 1_024

# --- the spans around --------------------------------------------------------------------

_newest: ContextVar["weakref.ref[Any] | None"] = ContextVar("llm_cost_newest", default=None)
"""The newest span of another instrumentation in this context; it need not be current."""

_CLAIMED: Final = "_llm_cost_claimed"
_OUTER: Final = "_llm_cost_outer"


def span_of_this_attempt() -> Span | None:
    """Return the recording span that stands for the call being made here, None if there is none.

    Frameworks' spans above it that may repeat its usage are marked on the way.
    """
    current = _inside_of_proxies(trace.get_current_span())
    reference = _newest.get()
    newest = None if reference is None else reference()
    found: Span | None = current if _is_free(current) else None
    if newest is not None:
        if newest is not current and _is_free(newest) and _is_directly_under(newest, current):
            found = newest
        _mark_frameworks(newest, found)
    return found


def _inside_of_proxies(span: Span) -> Span:
    # OpenInference makes a proxy of its span current, whose `end` writes to it once more.
    for _ in range(_CHAIN_LIMIT):
        inner = getattr(span, "__wrapped__", None)
        if inner is None:
            break
        span = inner
    return span


def _is_free(span: Any) -> bool:
    """Return whether `span` stands for one call to a model, and for none of ours yet."""
    return (
        span.is_recording()
        and hasattr(span, "__dict__")
        and _CLAIMED not in vars(span)
        and scope_of(span) != _OUR_SCOPE
        and _is_of_a_model(span)
    )


def _is_directly_under(span: Any, current: Span) -> bool:
    # A span that was left open elsewhere in this context has another parent, mostly.
    parent, context = getattr(span, "parent", None), current.get_span_context()
    parent_id = 0 if parent is None else parent.span_id
    return parent_id == context.span_id or (
        # Logfire makes a wrapper of the span current.
        span.get_span_context().span_id == context.span_id
    )


def _is_of_a_model(span: Any) -> bool:
    """Return whether a span is one call to a model, and no agent, chain, workflow or tool."""
    attributes = attributes_of(span)
    operation = attributes.get(names.OPERATION_NAME)
    if operation is not None:
        return operation in _MODEL_OPERATIONS
    kind = attributes.get(_OPENINFERENCE_KIND)
    if kind is not None:
        return kind in _OPENINFERENCE_MODEL_KINDS
    kind = attributes.get(_OPENLLMETRY_TYPE)
    if kind is not None:
        return kind in _MODEL_OPERATIONS
    # OpenLIT tells of Anthropic's only when it is over; but its name is "chat <model>".
    return (
        scope_of(span).startswith(_SCOPES)
        and getattr(span, "kind", None) is SpanKind.CLIENT
        and str(getattr(span, "name", "")).partition(" ")[0] in _MODEL_OPERATIONS
    )


def has_usage(attributes: Mapping[str, Any]) -> bool:
    """Return whether a span tells usage, in anybody's words."""
    return any(name in attributes for name in _USAGE_NAMES)


def attributes_of(span: Any) -> Mapping[str, Any]:
    """Return a span's attributes; nothing where they cannot be read."""
    attributes = getattr(span, "attributes", None)
    return attributes if isinstance(attributes, Mapping) else {}


def scope_of(span: Any) -> str:
    """Return the name of the instrumentation that made `span`."""
    scope = getattr(span, "instrumentation_scope", None)
    return str(getattr(scope, "name", ""))


def claim(span: Any) -> None:
    """Let no other call have this span."""
    vars(span)[_CLAIMED] = True


def release(span: Any) -> None:
    """Let another call have this span."""
    vars(span).pop(_CLAIMED, None)


def _mark_frameworks(newest: Any, found: Span | None) -> None:
    """Say on the frameworks' spans around a call that what they may sum up is priced below."""
    span = newest
    for _ in range(_CHAIN_LIMIT):
        if span is None or not span.is_recording():
            return
        of_span = vars(span)
        is_framework = scope_of(span).rpartition(".")[2] in _FRAMEWORKS
        if is_framework and span is not found and _CLAIMED not in of_span:
            span.set_attribute(names.PRICED_BELOW, True)
        outer = of_span.get(_OUTER)
        span = None if outer is None else outer()


# --- those that come late, or stay too long ----------------------------------------------


def is_awaited_from(request: Request) -> bool:
    """Return whether a neighbour will start the span of this call only after its reply."""
    # OpenLLMetry, for OpenAI's responses.
    if "input" not in request.body or _OPENLLMETRY_RESPONSES not in sys.modules:
        return False
    responses = sys.modules.get("openai.resources.responses.responses")
    create = getattr(getattr(responses, "Responses", None), "create", None)
    wrapper = getattr(create, "_self_wrapper", None)
    return getattr(wrapper, "__module__", "").startswith("opentelemetry.instrumentation.openai.")


def ends_before_its_stream(span: Span, request: Request) -> bool:
    """Return whether `span` is over when the stream begins: Logfire logs its usage apart."""
    return request.stream and scope_of(span).startswith(_LOGFIRE_SCOPE)


def may_never_end(span: Span) -> bool:
    """Return whether the owner of `span` forgets it where a stream is not read to its end."""
    return scope_of(span).startswith(_LEAKY_SCOPES)


def repeats_usage(span: Any) -> bool:
    """Return whether `span` tells again what a measured call used: a retrieved response."""
    if scope_of(span) != _OPENLLMETRY_OPENAI_SCOPE:
        return False
    from llm_cost.providers.openai import OpenAIInstrumentor

    return OpenAIInstrumentor().is_instrumented


# --- seeing them start -------------------------------------------------------------------


class _Watcher:
    """A span processor: who started last in this context, and who came late."""

    def __init__(self) -> None:
        self.late: Callable[[Span], None] = lambda _: None
        self.providers: list[Any] = []  # as many as were the process's own: one, mostly
        self.provider: Any = None
        self._is_neighbour: dict[str, bool] = {}

    def on_start(self, span: Any, parent_context: object = None) -> None:
        del parent_context
        scope = scope_of(span)
        is_neighbour = self._is_neighbour.get(scope)
        if is_neighbour is None:
            is_neighbour = self._judge(scope)
        if not is_neighbour:
            return
        if self._is_late(scope, span):
            self.late(span)
            return
        outer = _newest.get()
        vars(span)[_OUTER] = outer
        _newest.set(weakref.ref(span))

    def _judge(self, scope: str) -> bool:
        if len(self._is_neighbour) >= _SCOPES_LIMIT:
            self._is_neighbour.clear()
        is_neighbour = self._is_neighbour[scope] = scope.startswith(_SCOPES)
        return is_neighbour

    @staticmethod
    def _is_late(scope: str, span: Any) -> bool:
        if scope == _OPENLLMETRY_OPENAI_SCOPE:
            return bool(span.name == _OPENLLMETRY_RESPONSE)
        return scope.startswith(_LOGFIRE_SCOPE) and attributes_of(span).get(_LOGFIRE_TYPE) == "log"

    def _on_ending(self, span: object) -> None:
        """Do nothing: the SDK asks every processor."""

    def on_end(self, span: object) -> None:
        """Do nothing: an ended span takes no attributes."""

    def shutdown(self) -> None:
        """Do nothing."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Do nothing."""
        del timeout_millis
        return True


_watcher = _Watcher()


def on_late_span(act: Callable[[Span], None]) -> None:
    """Have `act` called with each span that a neighbour starts late."""
    _watcher.late = act


def watch(provider: Any) -> None:
    """See the spans of this tracer provider start, from now on and once."""
    if provider is _watcher.provider:
        return
    _watcher.provider = provider
    add = getattr(provider, "add_span_processor", None)
    if add is not None and not any(seen is provider for seen in _watcher.providers):
        _watcher.providers.append(provider)
        add(_watcher)
