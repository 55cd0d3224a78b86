"""What Bedrock's models say: Converse's one shape, and each vendor's own in InvokeModel.

Usage rules:

* Converse: `inputTokens` exclude the cache; reads and writes stand beside them, and
  `cacheDetails` split the writes by lifetime. `outputTokens` include reasoning, untold.
* InvokeModel: the vendor's body says it in the vendor's words. Anthropic, and the models that
  speak OpenAI's chat, by the rules of their own files; Amazon's Nova by Converse's; Titan's
  `inputTextTokenCount` and Meta's `prompt_token_count` are all there is. Where a body says
  nothing (Mistral, Cohere), Bedrock counts in the headers, or in a stream's last chunk, as in
  Converse: without the cache.
* Images are billed each, a ranking by the hundred documents.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from llm_cost.providers import anthropic, openai_replies, openai_usage
from llm_cost.providers.endpoint import at, count, text_or_none, told
from llm_cost.request import Reply
from llm_cost.response_bytes import Fields
from llm_cost.streaming import Progress
from llm_cost.usage import Usage

Get = Callable[[str], Any]

_METRICS: Final = "amazon-bedrock-invocationMetrics"
_HEADER: Final = "x-amzn-bedrock-"
_DOCUMENTS_PER_SEARCH: Final = 100


def usage_of(usage: Any) -> Usage | None:
    """Return the exclusive buckets of Bedrock's own counts, in any of their spellings."""
    get = told(usage).get
    asked = _first(get, "inputTokens", "inputTokenCount")
    made = _first(get, "outputTokens", "outputTokenCount")
    read = _first(get, "cacheReadInputTokens", "cacheReadInputTokenCount")
    written = _first(get, "cacheWriteInputTokens", "cacheWriteInputTokenCount")
    if asked is None and made is None:
        return None
    details = [told(one).get for one in get("cacheDetails") or ()]
    return Usage.from_totals(
        input_tokens=count(asked) + count(read) + count(written),
        output_tokens=count(made),
        cache_read_tokens=count(read),
        cache_write_tokens=count(written),
        cache_write_1h_tokens=sum(count(of("inputTokens")) for of in details if of("ttl") == "1h"),
    )


def _first(get: Get, *names: str) -> Any:
    return next((found for name in names if (found := get(name)) is not None), None)


def usage_of_headers(headers: Mapping[str, str]) -> Usage | None:
    """Return what the headers of an InvokeModel reply count, None where they do not."""

    def counted(kind: str) -> int | None:
        value = headers.get(f"{_HEADER}{kind}-token-count", "")
        return int(value) if value.isdecimal() else None

    return usage_of(
        {
            "inputTokens": counted("input"),
            "outputTokens": counted("output"),
            "cacheReadInputTokens": counted("cache-read-input"),
            "cacheWriteInputTokens": counted("cache-write-input"),
        }
    )


# --- Converse ----------------------------------------------------------------------------


def read_converse(reply: Any) -> Reply:
    """Read the result of Converse, or a ConverseStream's metadata."""
    get = told(reply).get
    reason = text_or_none(get("stopReason"))
    return Reply(
        usage=usage_of(get("usage")),
        # A prompt router chooses the model that is billed.
        model=model_of(at(get("trace"), "promptRouter", "invokedModelId")) or None,
        id=text_or_none(at(get("ResponseMetadata"), "RequestId")),
        finish_reasons=(reason,) if reason else (),
        service_tier=tier_of(
            at(get("serviceTier"), "type"), at(get("performanceConfig"), "latency")
        ),
    )


def tier_of(service_tier: object, latency: object) -> str | None:
    """Return what decides the price: the service tier, or the optimised latency."""
    return text_or_none(latency if latency == "optimized" else service_tier)


def model_of(model_id: object) -> str:
    """Return the model that an id or a resource name stands for, without the account in it."""
    name = text_or_none(model_id) or ""
    if not name.startswith("arn:"):
        return name
    resource = name.split(":", 5)[-1]
    kind, _, model = resource.partition("/")
    # Profiles of an application, prompts and imported models are named by their owner: no
    # model can be told from that, so the kind stays in front of the name.
    return model if kind in ("foundation-model", "inference-profile") else resource


def read_converse_event(progress: Progress, event: Any) -> bool:
    """Take in one event of a ConverseStream, or of a Nova stream, which has the same."""
    get = told(event).get
    if delta := at(get("contentBlockDelta"), "delta"):
        of_delta = told(delta).get
        progress.add_text(of_delta("text") or at(of_delta("toolUse"), "input"))
        progress.add_text(at(of_delta("reasoningContent"), "text"))
    elif stop := get("messageStop"):
        if reason := text_or_none(at(stop, "stopReason")):
            progress.finish_reasons = (reason,)
    elif metadata := get("metadata"):
        reply = read_converse(metadata)
        progress.usage, progress.is_complete = reply.usage, True
        progress.model, progress.service_tier = reply.model, reply.service_tier
    return False


# --- InvokeModel -------------------------------------------------------------------------


def read_body(body: Any, request: Mapping[str, Any]) -> Reply:
    """Read the body of an InvokeModel reply, whoever's it is."""
    get = told(body).get
    return Reply(
        usage=_usage_of_body(get, request),
        id=text_or_none(get("id")),
        finish_reasons=_reasons(get),
    )


def _usage_of_body(get: Get, request: Mapping[str, Any]) -> Usage | None:
    usage = get("usage")
    if usage is not None:
        return _usage_in_words_of_its_vendor(usage)
    if get("inputTextTokenCount") is not None:
        made = sum(count(at(one, "tokenCount")) for one in get("results") or ())
        return Usage(input_text_tokens=count(get("inputTextTokenCount")), output_text_tokens=made)
    if get("prompt_token_count") is not None:
        return Usage(
            input_text_tokens=count(get("prompt_token_count")),
            output_text_tokens=count(get("generation_token_count")),
        )
    if pictures := get("images") or get("artifacts"):
        return Usage(images=len(pictures))
    if get("results") and request.get("documents"):
        return Usage(rerank_searches=-(-len(request["documents"]) // _DOCUMENTS_PER_SEARCH))
    return None


def _usage_in_words_of_its_vendor(usage: Any) -> Usage | None:
    get = told(usage).get
    if get("prompt_tokens") is not None:
        return openai_usage.usage_of(usage)
    if get("input_tokens") is not None:
        return anthropic.usage_of(usage)
    return usage_of(usage)


def _reasons(get: Get) -> tuple[str, ...]:
    places: list[Any] = [
        {"finish_reason": _first(get, "stop_reason", "stopReason", "finish_reason")}
    ]
    for several in ("choices", "outputs", "results", "generations"):
        found = get(several)
        places += found if isinstance(found, list) else ()
    reasons = [
        _first(told(place).get, "finish_reason", "stop_reason", "completionReason")
        for place in places
    ]
    return tuple(reason for reason in reasons if isinstance(reason, str))


def read_invoke_event(progress: Progress, event: Any) -> bool:
    """Take in one chunk of an InvokeModelWithResponseStream."""
    raw = at(event, "chunk", "bytes")
    if raw is None:
        return False
    chunk = json.loads(raw, object_hook=Fields)
    get = told(chunk).get
    if get("choices") is not None:
        _read_choices(progress, chunk)
    elif get("type") is not None and get("event_type") is None:
        anthropic.MESSAGES.read_chunk(progress, chunk)
    elif any(get(name) is not None for name in ("contentBlockDelta", "messageStop", "metadata")):
        read_converse_event(progress, chunk)
    else:
        _read_plain_chunk(progress, get)
    if metrics := get(_METRICS):
        progress.is_complete = True
        if progress.usage is None:
            progress.usage = usage_of(metrics)
    return False


def _read_choices(progress: Progress, chunk: Any) -> None:
    openai_replies.read_chat_chunk(progress, chunk)
    for choice in chunk["choices"]:
        # Mistral's large models repeat the shape of a whole reply in every chunk.
        progress.add_text(at(choice, "message", "content"))
        if reason := text_or_none(at(choice, "stop_reason")):
            progress.finish_reasons = (reason,)


def _read_plain_chunk(progress: Progress, get: Get) -> None:
    text = _first(get, "generation", "outputText", "completion", "text")
    progress.add_text(text)
    for one in get("outputs") or ():
        progress.add_text(at(one, "text"))
    if reasons := _reasons(get) or tuple(filter(None, (text_or_none(get("completionReason")),))):
        progress.finish_reasons = reasons
