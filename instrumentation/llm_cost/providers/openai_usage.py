"""How OpenAI and those who speak its protocol tell what was used: any `usage` → `Usage`.

Usage rule: input totals include cached, cache-written, audio and image tokens; output totals
include reasoning, audio and image. Cached tokens are text unless they are told apart, as the
realtime interface does. The two lifetimes of a cache write share a bucket.
"""

from typing import Any

from llm_cost.pricing import Cost, cost_reported
from llm_cost.providers.endpoint import at, count, told
from llm_cost.usage import Usage


def usage_of(usage: Any, *, web_searches: int = 0, file_searches: int = 0) -> Usage | None:
    """Return the exclusive buckets of a `usage` object of any OpenAI endpoint."""
    if usage is None:
        return None
    get = told(usage).get
    seconds = get("seconds")
    if isinstance(seconds, int | float):
        return Usage(input_audio_ms=milliseconds(seconds))
    asked = told(
        get("prompt_tokens_details") or get("input_tokens_details") or get("input_token_details")
    ).get
    made = told(
        get("completion_tokens_details")
        or get("output_tokens_details")
        or get("output_token_details")
    ).get
    cached = told(asked("cached_tokens_details")).get
    return Usage.from_totals(
        input_tokens=count(get("prompt_tokens") or get("input_tokens")),
        output_tokens=count(get("completion_tokens") or get("output_tokens")),
        # DeepSeek says it beside the total, in words of its own.
        cache_read_tokens=count(asked("cached_tokens") or get("prompt_cache_hit_tokens")),
        cache_write_tokens=count(asked("cache_write_tokens")),
        output_reasoning_tokens=count(made("reasoning_tokens")),
        input_audio_tokens=count(asked("audio_tokens")),
        input_image_tokens=count(asked("image_tokens")),
        cache_read_audio_tokens=count(cached("audio_tokens")),
        cache_read_image_tokens=count(cached("image_tokens")),
        output_audio_tokens=count(made("audio_tokens")),
        output_image_tokens=count(made("image_tokens")),
        web_searches=web_searches,
        file_searches=file_searches,
    )


def told_cost_of(usage: Any) -> Cost | None:
    """Return the bill inside a `usage`, as OpenRouter and Perplexity write it; None elsewhere."""
    get = told(usage).get
    amount = get("cost")
    if amount is None or get("is_byok"):
        return None  # with a key of one's own, OpenRouter tells its fee and not the bill
    if isinstance(amount, int | float | str):
        return cost_reported(amount, by="openrouter")
    parts = told(amount).get
    return cost_reported(
        parts("total_cost"),
        by="perplexity",
        input_amount=parts("input_tokens_cost"),
        output_amount=parts("output_tokens_cost"),
        tools_amount=parts("request_cost"),
    )


def image_usage_of(usage: Any) -> Usage | None:
    """Return the buckets of an image model's `usage`: what it puts out is image unless told."""
    found = usage_of(usage)
    if found is None or at(usage, "output_tokens_details") is not None:
        return found
    return found._replace(output_text_tokens=0, output_image_tokens=found.output_text_tokens)


def speech_usage_of(usage: Any) -> Usage | None:
    """Return the buckets of a speaking model's `usage`: what it puts out is sound."""
    found = usage_of(usage)
    if found is None or at(usage, "output_token_details", "audio_tokens") is not None:
        return found
    return found._replace(output_text_tokens=0, output_audio_tokens=found.output_text_tokens)


def milliseconds(seconds: object) -> int:
    """Return a duration as it is told, a number or its text; what is neither is 0."""
    try:
        return max(0, round(float(seconds) * 1000))  # type: ignore[arg-type] # told by except
    except (TypeError, ValueError, OverflowError):
        return 0
