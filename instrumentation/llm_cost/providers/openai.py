"""OpenAI's client: `SyncAPIClient.request` and its async twin, which everything goes through.

Usage rule: `prompt_tokens` (`input_tokens`) include cached, cache-written, audio and image
tokens, `completion_tokens` (`output_tokens`) include reasoning and audio. Cached tokens are
taken to be text, as OpenAI does not say. The two lifetimes of a cache write share a bucket.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from llm_cost.estimate import text_bytes
from llm_cost.providers.endpoint import (
    Endpoint,
    Surface,
    at,
    body_of,
    count,
    text_or_none,
    told,
)
from llm_cost.providers.instrumentor import Instrumentor
from llm_cost.providers.server import server_of
from llm_cost.request import Reply, Request
from llm_cost.streaming import Progress
from llm_cost.usage import Usage


def usage_of(usage: Any, *, web_searches: int = 0, file_searches: int = 0) -> Usage | None:
    """Return the exclusive buckets of a `usage` object of any OpenAI endpoint."""
    if usage is None:
        return None
    get = told(usage).get
    seconds = get("seconds")
    if isinstance(seconds, int | float):
        return Usage(input_audio_ms=round(seconds * 1000))
    asked = told(
        get("prompt_tokens_details") or get("input_tokens_details") or get("input_token_details")
    ).get
    made = told(get("completion_tokens_details") or get("output_tokens_details")).get
    return Usage.from_totals(
        input_tokens=count(get("prompt_tokens") or get("input_tokens")),
        output_tokens=count(get("completion_tokens") or get("output_tokens")),
        cache_read_tokens=count(asked("cached_tokens")),
        cache_write_tokens=count(asked("cache_write_tokens")),
        output_reasoning_tokens=count(made("reasoning_tokens")),
        input_audio_tokens=count(asked("audio_tokens")),
        input_image_tokens=count(asked("image_tokens")),
        output_audio_tokens=count(made("audio_tokens")),
        output_image_tokens=count(made("image_tokens")),
        web_searches=web_searches,
        file_searches=file_searches,
    )


# --- chat completions, legacy completions, embeddings ------------------------------------


def _read_completion(reply: Any) -> Reply:
    get = told(reply).get
    reasons = [told(choice).get("finish_reason") for choice in get("choices") or ()]
    return Reply(
        usage=usage_of(get("usage")),
        model=text_or_none(get("model")),
        id=text_or_none(get("id")),
        finish_reasons=tuple(reason for reason in reasons if reason),
        service_tier=text_or_none(get("service_tier")),
    )


def _read_chat_chunk(progress: Progress, chunk: Any) -> bool:
    # Nearly every chunk is one piece of text: read without a detour.
    try:
        (choice,) = chunk.choices
        content = choice.delta.content
        if content and choice.finish_reason is None and chunk.usage is None and progress.id:
            progress.output_bytes += len(content) if content.isascii() else text_bytes(content)
            return False
    except (AttributeError, TypeError, ValueError):
        pass  # another server's, or not the usual piece
    return _read_rare_chunk(progress, chunk)


def _read_rare_chunk(progress: Progress, chunk: Any) -> bool:
    get = told(chunk).get
    if progress.id is None:
        progress.id = text_or_none(get("id"))
        progress.model = text_or_none(get("model")) or None
    choices = get("choices")
    for choice in choices or ():
        of_choice = told(choice).get
        delta = of_choice("delta")
        if delta is None:
            progress.add_text(of_choice("text"))
        else:
            _count_delta(progress, told(delta).get)
        if reason := of_choice("finish_reason"):
            progress.finish_reasons += (reason,)
    usage = get("usage")
    if usage is None:
        return False
    progress.usage = usage_of(usage)
    progress.is_complete = True
    progress.model = text_or_none(get("model")) or progress.model
    progress.service_tier = text_or_none(get("service_tier"))
    return not choices


def _count_delta(progress: Progress, get: Callable[[str], Any]) -> None:
    if content := get("content"):
        progress.add_text(content)
        return
    # What reasoning models of OpenAI-compatible servers think aloud is billed like the rest.
    progress.add_text(get("reasoning_content") or get("reasoning") or get("refusal"))
    for tool in get("tool_calls") or ():
        progress.add_text(at(tool, "function", "name"))
        progress.add_text(at(tool, "function", "arguments"))


# --- responses ---------------------------------------------------------------------------


def _read_response(reply: Any) -> Reply:
    get = told(reply).get
    kinds = [told(item).get("type") for item in get("output") or ()]
    searches = at(get("tool_usage"), "web_search", "num_requests")
    status = text_or_none(get("status"))
    return Reply(
        usage=usage_of(
            get("usage"),
            web_searches=kinds.count("web_search_call") if searches is None else count(searches),
            file_searches=kinds.count("file_search_call"),
        ),
        model=text_or_none(get("model")),
        id=text_or_none(get("id")),
        finish_reasons=(status,) if status else (),
        service_tier=text_or_none(get("service_tier")),
    )


_ENDS: Final = frozenset(("response.completed", "response.incomplete", "response.failed"))


def _read_response_event(progress: Progress, event: Any) -> bool:
    get = told(event).get
    kind = get("type") or ""
    if kind.endswith(".delta"):
        progress.add_text(get("delta"))
    elif kind in _ENDS:
        reply = _read_response(get("response"))
        progress.usage, progress.is_complete = reply.usage, True
        progress.finish_reasons, progress.service_tier = reply.finish_reasons, reply.service_tier
        progress.model, progress.id = reply.model or progress.model, reply.id or progress.id
    elif kind == "response.created":
        progress.model = text_or_none(at(get("response"), "model"))
        progress.id = text_or_none(at(get("response"), "id"))
    return False


# --- images and sound --------------------------------------------------------------------


def _read_images(reply: Any) -> Reply:
    get = told(reply).get
    usage = usage_of(get("usage"))
    if usage is None:
        return Reply(usage=Usage(images=len(get("data") or ())))
    if at(get("usage"), "output_tokens_details") is None:
        # All that an image model puts out is image unless it says otherwise.
        usage = usage._replace(output_text_tokens=0, output_image_tokens=usage.output_text_tokens)
    return Reply(usage=usage)


def _read_image_event(progress: Progress, event: Any) -> bool:
    if told(event).get("usage") is not None:
        progress.usage, progress.is_complete = _read_images(event).usage, True
    return False


def _read_sound(reply: Any) -> Reply:
    return Reply(usage=usage_of(told(reply).get("usage")))


def _read_sound_event(progress: Progress, event: Any) -> bool:
    if (usage := told(event).get("usage")) is not None:
        progress.usage, progress.is_complete = usage_of(usage), True
    return False


def _count_speech(body: Mapping[str, Any]) -> Usage:
    return Usage(input_characters=len(str(body.get("input", ""))))


_CHAT: Final = Endpoint("chat", _read_completion, _read_chat_chunk, usage_on_request=True)
_RESPONSES: Final = Endpoint("chat", _read_response, _read_response_event)
_IMAGES: Final = Endpoint("generate_content", _read_images, _read_image_event, is_text=False)
_SOUND: Final = Endpoint("generate_content", _read_sound, _read_sound_event, is_text=False)
_VIDEO: Final = Endpoint("generate_content", lambda _: Reply(), is_text=False)

# Moderation is free; what is retrieved was paid for when it was made.
_ENDPOINTS: Final = {
    "/chat/completions": _CHAT,
    "/completions": Endpoint(
        "text_completion", _read_completion, _read_chat_chunk, usage_on_request=True
    ),
    "/embeddings": Endpoint("embeddings", _read_completion),
    "/responses": _RESPONSES,
    "/responses/compact": _RESPONSES,
    "/images/generations": _IMAGES,
    "/images/edits": _IMAGES,
    "/images/variations": _IMAGES,
    "/audio/speech": _SOUND._replace(count_request=_count_speech),
    "/audio/transcriptions": _SOUND,
    "/audio/translations": _SOUND,
    "/videos": _VIDEO,
    "/videos/edits": _VIDEO,
    "/videos/extensions": _VIDEO,
    "/remix": _VIDEO,
}


def endpoint_of(options: Any) -> Endpoint | None:
    """Return the billable endpoint that a request goes to, None for every other request."""
    if options.method.lower() != "post":
        return None
    url: str = options.url
    known = _ENDPOINTS.get(url)
    if known is not None:
        return known
    # An absolute URL, a query, a deployment in the path: whatever ends in a known path.
    path = url.partition("?")[0]
    parts = path.rsplit("/", 2)
    return _ENDPOINTS.get("/" + "/".join(parts[-2:])) or _ENDPOINTS.get("/" + parts[-1])


def request_of(client: Any, options: Any, endpoint: Endpoint, stream: bool) -> Request:
    """Read what is asked for."""
    body = body_of(options)
    server = server_of(client, "openai")
    get = body.get
    limit = get("max_completion_tokens") or get("max_output_tokens") or get("max_tokens")
    if endpoint.operation == "embeddings":
        limit = 0  # an embedding puts out no tokens: the estimate is a bound
    metadata = get("metadata")
    return Request(
        provider=server.provider,
        operation=endpoint.operation,
        model=str(get("model") or ""),
        body=body,
        stream=stream,
        max_output_tokens=limit if isinstance(limit, int) else None,
        choices=max(count(get("n")), count(get("best_of")), 1),
        client_user_id=text_or_none(get("safety_identifier"))
        or text_or_none(get("user"))
        or (text_or_none(metadata.get("user_id")) if isinstance(metadata, Mapping) else None),
        service_tier=text_or_none(get("service_tier")),
        server_address=server.address,
        server_port=server.port,
        is_text=endpoint.is_text,
    )


class OpenAIInstrumentor(Instrumentor):
    """Patches the `openai` package."""

    module = "openai"

    def _surface(self) -> Surface:
        from openai import AsyncStream, Stream

        return Surface(endpoint_of, request_of, (Stream, AsyncStream))
