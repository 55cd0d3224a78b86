"""What litellm says of its requests and replies, in its own dictionaries and models.

Usage rule: that of OpenAI, which litellm translates every reply to: `prompt_tokens` include
what was read from and written to a cache.
"""

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from llm_cost.faults import contained
from llm_cost.pricing import cost_reported
from llm_cost.providers.endpoint import at, count, text_or_none, told
from llm_cost.providers.openai_usage import usage_of as openai_usage_of
from llm_cost.request import Reply, Request
from llm_cost.usage import Usage

_PROVIDERS: Final = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "cohere_chat": "cohere",
    "fireworks_ai": "fireworks",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "together_ai": "together",
    "vertex_ai": "gcp.vertex_ai",
    "vertex_ai_beta": "gcp.vertex_ai",
    "xai": "x_ai",
}
_BEDROCK_ROUTES: Final = ("converse/", "invoke/", "converse_like/")
_OPERATIONS: Final = {
    "embedding": "embeddings",
    "text_completion": "text_completion",
    "rerank": "rerank",
    "image_generation": "generate_content",
    "image_edit": "generate_content",
    "transcription": "generate_content",
    "speech": "generate_content",
}
_TEXT: Final = frozenset(("chat", "embeddings", "text_completion"))


def request_of(details: Mapping[str, Any]) -> Request:
    """Read what is asked for from litellm's `model_call_details`."""
    sold_by = text_or_none(details.get("custom_llm_provider")) or ""
    asked = at(details.get("additional_args"), "complete_input_dict")
    if isinstance(asked, str | bytes):
        with contained("reading a request of litellm"):
            asked = json.loads(asked)
    body = asked if isinstance(asked, dict) else {"input": details.get("input")}
    options = told(details.get("optional_params")).get
    limit = options("max_tokens") or options("max_completion_tokens") or options("maxTokens")
    operation = _operation_of(details)
    server = urlsplit(address_of(details))
    return Request(
        provider=_PROVIDERS.get(sold_by, sold_by),
        operation=operation,
        model=_model_of(sold_by, text_or_none(details.get("model")) or ""),
        body=body,
        stream=bool(details.get("stream") or options("stream")),
        max_output_tokens=0
        if operation == "embeddings"
        else (limit if isinstance(limit, int) else None),
        choices=max(count(options("n")), 1),
        client_user_id=text_or_none(details.get("user")),
        service_tier=text_or_none(options("service_tier")),
        server_address=server.hostname,
        server_port=server.port or {"https": 443, "http": 80}.get(server.scheme),
        is_text=operation in _TEXT,
    )


def _operation_of(details: Mapping[str, Any]) -> str:
    kind = text_or_none(details.get("call_type")) or ""
    return _OPERATIONS.get(kind) or _OPERATIONS.get(kind.removeprefix("a")) or "chat"


def _model_of(sold_by: str, model: str) -> str:
    if sold_by.startswith("bedrock"):
        for route in _BEDROCK_ROUTES:
            model = model.removeprefix(route)
    return model


def address_of(details: Mapping[str, Any]) -> str:
    """Return where a request goes; it may be told as one of an HTTP client's own URLs."""
    return str(at(details.get("additional_args"), "api_base") or "")


def usage_of(response: Any) -> Usage | None:
    """Return the exclusive buckets of one of litellm's responses."""
    searches = at(response, "meta", "billed_units", "search_units")
    if searches is not None:
        return Usage(rerank_searches=round(searches))
    usage = at(response, "usage")
    found = openai_usage_of(usage)
    if found is None or not any(found):
        return None  # litellm makes an empty one where it was told none
    details = at(usage, "prompt_tokens_details")
    told_written = count(at(details, "cache_creation_tokens"))
    told_written = told_written or count(at(usage, "cache_creation_input_tokens"))
    untold = max(told_written - found.cache_write_tokens - found.cache_write_1h_tokens, 0)
    untold = min(untold, found.input_text_tokens)
    written = found.cache_write_tokens + untold
    hour = count(at(details, "cache_creation_token_details", "ephemeral_1h_input_tokens"))
    hour = min(hour, written)
    found = found._replace(
        input_text_tokens=found.input_text_tokens - untold,
        cache_write_tokens=written - hour,
        cache_write_1h_tokens=found.cache_write_1h_tokens + hour,
    )
    searched = count(at(usage, "server_tool_use", "web_search_requests"))
    return found._replace(web_searches=searched) if searched else found


def reply_of(details: Mapping[str, Any], response: Any) -> Reply:
    """Read what came back, and what litellm says it cost."""
    reasons = (at(choice, "finish_reason") for choice in at(response, "choices") or ())
    cost = cost_reported(details.get("response_cost"), by="litellm", zero_is_unknown=True)
    return Reply(
        usage=usage_of(response),
        id=text_or_none(at(response, "id")),
        finish_reasons=tuple(reason for reason in reasons if isinstance(reason, str)),
        service_tier=text_or_none(at(response, "service_tier")),
        cost_if_unpriced=None if cost.total_nano_usd is None else cost,
    )
