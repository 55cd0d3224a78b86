"""Mistral's client, and its Azure and Google Cloud editions: `BaseSDK.do_request` of each.

Usage rule: `prompt_tokens` include cached ones, `completion_tokens` include reasoning. Seconds of
sound stand outside of both. What connectors put into a conversation (`connector_tokens`) stands
outside of `prompt_tokens` and is billed as input; each use of a connector is billed on top.
A transcription is billed by its seconds alone. OCR is billed by the page, and an annotated page
at a price of its own instead.

The client can make GenAI spans of its own, which are off unless asked for. While a call of ours
runs it makes none, and its trace headers name our span: one call, one span.
"""

import functools
import importlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry import propagate, trace

from llm_cost.faults import contained
from llm_cost.providers import speakeasy
from llm_cost.providers.attempts import running
from llm_cost.providers.endpoint import Endpoint, at, count, text_or_none, told
from llm_cost.providers.instrumentor import Instrumentor, Patch
from llm_cost.providers.server import provider_of
from llm_cost.request import Reply, Request
from llm_cost.streaming import Progress
from llm_cost.usage import Usage


def usage_of(usage: Any) -> Usage | None:
    """Return the exclusive buckets of any `usage` object that counts tokens."""
    get = told(usage).get
    if get("prompt_tokens") is None and get("input_tokens") is None:
        return None  # missing, or the client's own mark for that
    asked = told(get("prompt_tokens_details") or get("input_tokens_details")).get
    made = told(get("completion_tokens_details") or get("output_tokens_details")).get
    used = told(get("connectors")).get
    return Usage.from_totals(
        input_tokens=count(get("prompt_tokens") or get("input_tokens"))
        + count(get("connector_tokens")),
        output_tokens=count(get("completion_tokens") or get("output_tokens")),
        cache_read_tokens=count(asked("cached_tokens")) or count(get("num_cached_tokens")),
        output_reasoning_tokens=count(made("reasoning_tokens")),
        input_audio_ms=count(get("prompt_audio_seconds")) * 1000,
        web_searches=count(used("web_search")) + count(used("web_search_premium")),
        images=count(used("image_generation")),
    )


# --- chat, agents, fill in the middle, embeddings, classification -------------------------


def _read_completion(reply: Any) -> Reply:
    get = told(reply).get
    usage = get("usage")
    reasons = [told(choice).get("finish_reason") for choice in get("choices") or ()]
    return Reply(
        usage=usage_of(usage),
        model=text_or_none(get("model")),
        id=text_or_none(get("id")),
        finish_reasons=tuple(reason for reason in reasons if isinstance(reason, str)),
        service_tier=text_or_none(told(usage).get("service_tier")),
    )


def _event_of(event: Any) -> Any:
    """Return what an event carries: the client wraps it, the wire does not."""
    carried = told(event).get("data")
    return event if carried is None else carried


def _read_completion_chunk(progress: Progress, event: Any) -> bool:
    chunk = _event_of(event)
    get = told(chunk).get
    for choice in get("choices") or ():
        of_choice = told(choice).get
        _count_delta(progress, told(of_choice("delta")).get)
    if told(get("usage")):
        progress.is_complete = True
    reply = _read_completion(chunk)
    progress.usage = reply.usage or progress.usage
    progress.model, progress.id = reply.model or progress.model, reply.id or progress.id
    progress.finish_reasons += reply.finish_reasons
    progress.service_tier = reply.service_tier or progress.service_tier
    return False


def _count_delta(progress: Progress, get: Callable[[str], Any]) -> None:
    content = get("content")
    for piece in content if isinstance(content, list) else (content,):
        progress.add_text(piece if isinstance(piece, str) else told(piece).get("text"))
    calls = get("tool_calls")
    for tool in calls if isinstance(calls, list) else ():
        progress.add_text(at(tool, "function", "name"))
        progress.add_text(at(tool, "function", "arguments"))


# --- conversations, responses ------------------------------------------------------------


def _read_conversation(reply: Any) -> Reply:
    get = told(reply).get
    usage = get("usage")
    models = [told(output).get("model") for output in get("outputs") or get("output") or ()]
    return Reply(
        usage=usage_of(usage),
        model=text_or_none(get("model")) or next(filter(_is_text, models), None),
        id=text_or_none(get("id")),
        service_tier=text_or_none(get("service_tier") or told(usage).get("service_tier")),
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _read_conversation_event(progress: Progress, event: Any) -> bool:
    carried = _event_of(event)
    get = told(carried).get
    kind = text_or_none(get("type")) or ""
    progress.model = text_or_none(get("model")) or progress.model
    if kind.endswith(".delta"):
        content = get("content") or get("delta") or get("arguments")
        progress.add_text(content if isinstance(content, str) else told(content).get("text"))
        return False
    # A conversation tells its usage in its last event, a response in the response it carries.
    reply = _read_conversation(get("response") or carried)
    progress.model = reply.model or progress.model
    if reply.usage is not None:
        progress.usage, progress.is_complete = reply.usage, True
        progress.id, progress.service_tier = reply.id, reply.service_tier
    return False


# --- pages and sound ---------------------------------------------------------------------


def _read_pages(reply: Any) -> Reply:
    get = told(reply).get
    pages = count(at(get("usage_info"), "pages_processed"))
    return Reply(usage=Usage(pages=pages), model=text_or_none(get("model")))


def _read_annotated_pages(reply: Any) -> Reply:
    read = _read_pages(reply)
    assert read.usage is not None
    return read._replace(usage=Usage(annotated_pages=read.usage.pages))


def _read_transcript(reply: Any) -> Reply:
    get = told(reply).get
    usage = usage_of(get("usage"))
    if usage is not None and usage.input_audio_ms:
        usage = Usage(input_audio_ms=usage.input_audio_ms)
    return Reply(usage=usage, model=text_or_none(get("model")))


def _read_transcript_event(progress: Progress, event: Any) -> bool:
    reply = _read_transcript(_event_of(event))
    if reply.usage is not None:
        progress.usage, progress.is_complete = reply.usage, True
        progress.model = reply.model
    return False


def _count_speech(body: Mapping[str, Any]) -> Usage:
    return Usage(input_characters=len(str(body.get("input", ""))))


# --- what is billed ----------------------------------------------------------------------

_CHAT: Final = Endpoint("chat", _read_completion, _read_completion_chunk)
_CONVERSATION: Final = Endpoint("chat", _read_conversation, _read_conversation_event)
_MIDDLE: Final = _CHAT._replace(operation="text_completion")
_EMBEDDINGS: Final = Endpoint("embeddings", _read_completion)
_CLASSIFICATION: Final = Endpoint("classification", _read_completion)
_PAGES: Final = Endpoint("generate_content", _read_pages, is_text=False)
_ENDPOINTS: Final = {
    "chat/completions": _CHAT,
    "agents/completions": _CHAT,
    "fim/completions": _MIDDLE,
    "embeddings": _EMBEDDINGS,
    "moderations": _CLASSIFICATION,
    "chat/moderations": _CLASSIFICATION,
    "classifications": _CLASSIFICATION,
    "chat/classifications": _CLASSIFICATION,
    "conversations": _CONVERSATION,
    "responses": _CONVERSATION,
    "ocr": _PAGES,
    "audio/transcriptions": Endpoint(
        "generate_content", _read_transcript, _read_transcript_event, is_text=False
    ),
    "audio/speech": Endpoint(
        "generate_content", lambda _: Reply(), is_text=False, count_request=_count_speech
    ),
}
_CLOUD_METHODS: Final = (":rawPredict", ":streamRawPredict", "/rawPredict", "/streamRawPredict")
_CONVERSATION_PATH: Final = re.compile(r"/conversations/[^/]+(/restart)?$")


def endpoint_of(request: Any) -> Endpoint | None:
    """Return the billable endpoint that an HTTP request goes to, None for every other one."""
    if request.method != "POST":
        return None
    path: str = request.url.path
    if path.endswith(_CLOUD_METHODS):
        return _CHAT
    if _CONVERSATION_PATH.search(path):
        return _CONVERSATION
    parts = path.rsplit("/", 2)
    return _ENDPOINTS.get("/".join(parts[-2:])) or _ENDPOINTS.get(parts[-1])


def body_endpoint(endpoint: Endpoint, body: Mapping[str, Any]) -> Endpoint:
    """Return the endpoint as the request's body makes it: annotated pages have another price."""
    is_annotated = body.get("document_annotation_format") or body.get("bbox_annotation_format")
    if endpoint is _PAGES and is_annotated:
        return _PAGES._replace(read_reply=_read_annotated_pages)
    return endpoint


def request_of(
    default_provider: str, request: Any, body: Mapping[str, Any], endpoint: Endpoint
) -> Request:
    """Read what is asked for. A conversation that goes on names no model: its reply does."""
    host = request.url.host
    limit = body.get("max_tokens") or body.get("max_output_tokens")
    limit = limit or told(body.get("completion_args")).get("max_tokens")
    if endpoint.operation in ("embeddings", "classification"):
        limit = 0  # they put out no tokens: the estimate is a bound
    return Request(
        provider=provider_of("", host, default_provider),
        operation=endpoint.operation,
        model=str(body.get("model") or body.get("agent_id") or ""),
        body=body,
        stream=body.get("stream") in (True, "true"),
        max_output_tokens=limit if isinstance(limit, int) else None,
        choices=max(count(body.get("n")), 1),
        service_tier=text_or_none(body.get("service_tier")),
        server_address=host or None,
        server_port=request.url.port or {"https": 443, "http": 80}.get(request.url.scheme),
        is_text=endpoint.is_text,
    )


def _without_native_span(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return `get_traced_request_and_span`, which makes none while a call of ours has one."""

    @functools.wraps(original)
    def traced(*positional: Any, **keywords: Any) -> Any:
        attempt, request = running(), keywords.get("request")
        if request is None or attempt is None or attempt.call is None:
            return original(*positional, **keywords)
        span = attempt.call.span
        if not span.get_span_context().is_valid:
            return original(*positional, **keywords)
        with contained("propagating a span"):
            propagate.inject(request.headers, context=trace.set_span_in_context(span))
        return request, None

    return traced


# The client's package in use and its editions; before 2.0 they were packages side by side.
_EDITIONS: Final = (
    (("mistralai.client", "mistralai"), "mistral_ai"),
    (("mistralai.azure.client", "mistralai_azure"), "azure.ai.inference"),
    (("mistralai.gcp.client", "mistralai_gcp"), "gcp.vertex_ai"),
)


def _load(package: str, name: str) -> Any:
    """Return a module of a package; None where the package or the module is not there."""
    try:
        return importlib.import_module(f"{package}.{name}")
    except ModuleNotFoundError as error:
        # Not here: of this package or above it. Anything else is missing from the client.
        if error.name is None or not f"{package}.{name}.".startswith(f"{error.name}."):
            raise
        return None


class MistralAIInstrumentor(Instrumentor):
    """Patches the `mistralai` package."""

    module = "mistralai"

    def _base_module(self) -> Any:
        for package in _EDITIONS[0][0]:
            if (base := _load(package, "basesdk")) is not None:
                return base
        raise ModuleNotFoundError("no module 'mistralai.client.basesdk'", name=self.module)

    def _patches(self, base_client: Any) -> list[Patch]:
        del base_client
        is_on = self._switch_on()
        found: list[Patch] = []
        for packages, provider in _EDITIONS:
            for package in packages:
                if (base := _load(package, "basesdk")) is None:
                    continue
                surface = speakeasy.Surface(
                    endpoint_of, functools.partial(request_of, provider), body_endpoint
                )
                found += speakeasy.patches(
                    speakeasy.while_on(is_on.is_set, surface),
                    base=base,
                    events=_load(package, "utils.eventstreaming"),
                    retries=_load(package, "utils.retries"),
                )
                tracing = _load(package, "_hooks.tracing")
                if "get_traced_request_and_span" in vars(tracing or object):
                    found.append(
                        Patch(tracing, "get_traced_request_and_span", _without_native_span)
                    )
                break
        return found
