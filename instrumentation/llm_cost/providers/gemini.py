"""What Google's models say about their use, in the wire's own names. No client is touched here.

Usage rule: `promptTokenCount` includes `cachedContentTokenCount` and every modality;
`candidatesTokenCount` excludes `thoughtsTokenCount`, and `toolUsePromptTokenCount`, which is
billed as input, stands outside of both. Each count has a list that splits it by modality; what a
document takes counts as text. In a stream every chunk tells the counts so far: the last one counts.

Grounding is billed by the query from Gemini 3 on, and before that by the answer that it grounds.
Searches within Google Maps have no price here; daily free quotas are not known to a process.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from llm_cost.providers.endpoint import Endpoint, at, count, text_or_none, told
from llm_cost.request import ESTIMATED, Reply
from llm_cost.streaming import Progress
from llm_cost.usage import Usage

BYTES_PER_SEEN_TOKEN: Final = 4  # of a stream that was cut, as in `estimate`
DEFAULT_VIDEO_S: Final = 8  # what the Veo models make when the request does not say
_BILLS_EACH_QUERY: Final = re.compile(r"gemini-([3-9]|\d\d)")


def _by_modality(details: Any, amount: str = "tokenCount") -> Callable[[str], int]:
    """Return the counts of a list that splits one by modality; what it lacks is 0."""
    found: dict[str, int] = {}
    for one in details or ():
        get = told(one).get
        kind = str(get("modality")).upper()
        found[kind] = found.get(kind, 0) + count(get(amount))
    return lambda kind: found.get(kind, 0)


def usage_of(usage: Any, *, web_searches: int = 0) -> Usage | None:
    """Return the exclusive buckets of `usageMetadata`, of an answer or of a live message."""
    if not usage:
        return None
    get = told(usage).get
    thoughts = count(get("thoughtsTokenCount"))
    asked = _by_modality(get("promptTokensDetails"))
    tools = _by_modality(get("toolUsePromptTokensDetails"))
    cached = _by_modality(get("cacheTokensDetails"))
    made = _by_modality(get("candidatesTokensDetails") or get("responseTokensDetails"))
    answered = count(get("candidatesTokenCount") or get("responseTokenCount"))
    return Usage.from_totals(
        input_tokens=count(get("promptTokenCount")) + count(get("toolUsePromptTokenCount")),
        output_tokens=answered + thoughts,
        cache_read_tokens=count(get("cachedContentTokenCount")),
        output_reasoning_tokens=thoughts,
        input_audio_tokens=asked("AUDIO") + tools("AUDIO"),
        input_image_tokens=asked("IMAGE") + tools("IMAGE"),
        # Cached frames are priced like cached text, which has a bucket.
        input_video_tokens=max(asked("VIDEO") + tools("VIDEO") - cached("VIDEO"), 0),
        cache_read_audio_tokens=cached("AUDIO"),
        cache_read_image_tokens=cached("IMAGE"),
        output_audio_tokens=made("AUDIO"),
        output_image_tokens=made("IMAGE"),
        output_video_tokens=made("VIDEO"),
        web_searches=web_searches,
    )


def service_tier(usage: Any) -> str | None:
    """Return the tier that served: by name on the Gemini API, as traffic type on Vertex."""
    get = told(usage).get
    return text_or_none(get("serviceTier")) or text_or_none(get("trafficType"))


def _searches(candidates: Iterable[Any], model: str | None) -> int:
    queries = sum(
        len(at(candidate, "groundingMetadata", "webSearchQueries") or ())
        for candidate in candidates
    )
    return queries if _BILLS_EACH_QUERY.search(model or "") else min(queries, 1)


# --- text --------------------------------------------------------------------------------


def _read_answer(reply: Any) -> Reply:
    get = told(reply).get
    usage, candidates = get("usageMetadata"), get("candidates") or ()
    model = text_or_none(get("modelVersion"))
    reasons = [told(candidate).get("finishReason") for candidate in candidates]
    return Reply(
        usage=usage_of(usage, web_searches=_searches(candidates, model)),
        model=model,
        id=text_or_none(get("responseId")),
        finish_reasons=tuple(reason for reason in reasons if reason),
        service_tier=service_tier(usage),
    )


def _read_chunk(progress: Progress, chunk: Any) -> bool:
    """Take in one chunk. The counts so far wait in `progress.started` until the stream ends."""
    get = told(chunk).get
    usage, searches = progress.started or (None, 0)
    progress.model = text_or_none(get("modelVersion")) or progress.model
    progress.id = text_or_none(get("responseId")) or progress.id
    candidates = get("candidates") or ()
    for candidate in candidates:
        of_candidate = told(candidate).get
        for part in at(of_candidate("content"), "parts") or ():
            progress.add_text(told(part).get("text"))
        if reason := text_or_none(of_candidate("finishReason")):
            progress.finish_reasons += (reason,)
            progress.is_complete = True
    searches = max(searches, _searches(candidates, progress.model))
    progress.started = (get("usageMetadata") or usage, searches)
    return False


def _conclude(progress: Progress) -> Reply:
    """Return the last usage told; of a stream that was cut, at least the output that arrived."""
    reply = progress.reply()
    told_last, searches = progress.started or (None, 0)
    usage = usage_of(told_last, web_searches=searches)
    reply = reply._replace(usage=usage, service_tier=service_tier(told_last))
    if usage is None or progress.is_complete:
        return reply
    seen_tokens = -(-progress.output_bytes // BYTES_PER_SEEN_TOKEN)
    output_tokens = max(usage.output_text_tokens, seen_tokens)
    return reply._replace(
        usage=usage._replace(output_text_tokens=output_tokens), usage_source=ESTIMATED
    )


# --- embeddings, images, videos ----------------------------------------------------------


def _read_embeddings(reply: Any) -> Reply:
    """Read both forms: with `usageMetadata`, and Vertex's statistics of each prediction."""
    get = told(reply).get
    usage = usage_of(get("usageMetadata"))
    if usage is None:
        tokens = sum(
            count(at(one, "embeddings", "statistics", "token_count"))
            for one in get("predictions") or ()
        )
        characters = count(at(get("metadata"), "billableCharacterCount"))
        if tokens:
            usage = Usage(input_text_tokens=tokens)
        elif characters:
            usage = Usage(input_characters=characters)
    return Reply(usage=usage)


def _read_images(reply: Any) -> Reply:
    """Count what was made: a picture that a filter held back has no content and is not billed."""
    made = [told(one).get for one in told(reply).get("predictions") or ()]
    return Reply(
        usage=Usage(images=sum(1 for get in made if get("bytesBase64Encoded") or get("gcsUri")))
    )


def _count_video(body: Mapping[str, Any]) -> Usage:
    get = told(body.get("parameters")).get
    seconds = count(get("durationSeconds")) or DEFAULT_VIDEO_S
    return Usage(output_video_ms=seconds * 1000 * max(count(get("sampleCount")), 1))


_TEXT: Final = Endpoint("generate_content", _read_answer, _read_chunk, _conclude)
_EMBEDDINGS: Final = Endpoint("embeddings", _read_embeddings)
_IMAGES: Final = Endpoint("generate_content", _read_images, is_text=False)
_VIDEO: Final = Endpoint(
    "generate_content", lambda _: Reply(), is_text=False, count_request=_count_video
)
_ENDPOINTS: Final = {
    "generateContent": _TEXT,
    "streamGenerateContent": _TEXT,
    "embedContent": _EMBEDDINGS,
    "batchEmbedContents": _EMBEDDINGS,
    "predictLongRunning": _VIDEO,
}


def endpoint_of(method: str, body: Mapping[str, Any]) -> Endpoint | None:
    """Return the endpoint of the last word of a path, after its colon; None for what is free."""
    if method != "predict":
        return _ENDPOINTS.get(method)
    # One method for all that Vertex and the Gemini API predict: an instance says what it is.
    instances = body.get("instances") or [{}]
    return _EMBEDDINGS if "content" in told(instances[0]) else _IMAGES


# --- interactions ------------------------------------------------------------------------


def interaction_usage_of(usage: Any) -> Usage | None:
    """Return the exclusive buckets of an interaction's `usage`: Gemini's rule by other names."""
    get = told(usage).get
    if not (get("total_tokens") or get("total_input_tokens")):
        return None
    thoughts = count(get("total_thought_tokens"))
    asked = _by_modality(get("input_tokens_by_modality"), "tokens")
    tools = _by_modality(get("tool_use_tokens_by_modality"), "tokens")
    cached = _by_modality(get("cached_tokens_by_modality"), "tokens")
    made = _by_modality(get("output_tokens_by_modality"), "tokens")
    searched = [told(one).get for one in get("grounding_tool_count") or ()]
    return Usage.from_totals(
        input_tokens=count(get("total_input_tokens")) + count(get("total_tool_use_tokens")),
        output_tokens=count(get("total_output_tokens")) + thoughts,
        cache_read_tokens=count(get("total_cached_tokens")),
        output_reasoning_tokens=thoughts,
        input_audio_tokens=asked("AUDIO") + tools("AUDIO"),
        input_image_tokens=asked("IMAGE") + tools("IMAGE"),
        input_video_tokens=max(asked("VIDEO") + tools("VIDEO") - cached("VIDEO"), 0),
        cache_read_audio_tokens=cached("AUDIO"),
        cache_read_image_tokens=cached("IMAGE"),
        output_audio_tokens=made("AUDIO"),
        output_image_tokens=made("IMAGE"),
        output_video_tokens=made("VIDEO"),
        web_searches=sum(count(one("count")) for one in searched if one("type") == "google_search"),
    )


def _read_interaction(reply: Any) -> Reply:
    get = told(reply).get
    status = text_or_none(get("status"))
    return Reply(
        usage=interaction_usage_of(get("usage")),
        model=text_or_none(get("model")),
        id=text_or_none(get("id")) or None,
        finish_reasons=(status,) if status else (),
        service_tier=text_or_none(get("service_tier")),
    )


def _read_interaction_event(progress: Progress, event: Any) -> bool:
    get = told(event).get
    kind = get("event_type")
    if kind == "step.delta":
        progress.add_text(at(get("delta"), "text") or at(get("delta"), "content", "text"))
    elif kind in ("interaction.created", "interaction.completed"):
        reply = _read_interaction(get("interaction"))
        progress.model, progress.id = reply.model or progress.model, reply.id or progress.id
        if kind == "interaction.completed":
            progress.usage, progress.is_complete = reply.usage, True
            progress.finish_reasons = reply.finish_reasons
            progress.service_tier = reply.service_tier
    return False


INTERACTIONS: Final = Endpoint("generate_content", _read_interaction, _read_interaction_event)
