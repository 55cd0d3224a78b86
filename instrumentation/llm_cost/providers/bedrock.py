"""Bedrock through boto3 and aiobotocore: `_make_api_call` of the bedrock-runtime service.

Converse, ConverseStream, InvokeModel, InvokeModelWithResponseStream and StartAsyncInvoke, which
tells no use and has no price. Usage rules: `bedrock_replies.py`.

botocore retries by itself. After a refusal or a lost connection that is the same call; after a
read timeout it is another one, as in docs/decisions/0004-one-call-one-span.md.

The model that is priced is the one that was asked for: its id says whether it was bought in a
region or across regions. The table's prices are those of two regions; elsewhere the price is
told as a fallback.
"""

import functools
import importlib
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from llm_cost.call import Call
from llm_cost.providers import anthropic, methods
from llm_cost.providers import bedrock_replies as replies
from llm_cost.providers.attempts import may_have_consumed
from llm_cost.providers.bedrock_streams import watch_body, watch_events
from llm_cost.providers.endpoint import at, text_or_none
from llm_cost.providers.instrumentor import Instrumentor, Patch
from llm_cost.providers.methods import Method
from llm_cost.request import Reply, Request
from llm_cost.response_bytes import MAX_BODY_BYTES, DocumentBytes
from llm_cost.streaming import ChunkReader, Progress, Reading

PROVIDER: Final = "aws.bedrock"
_SERVICE: Final = "bedrock-runtime"
_LISTED_REGIONS: Final = frozenset(("us-east-1", "us-west-2"))
_EVERYWHERE: Final = "global."  # a profile that costs the same wherever it is asked
_PICTURE_MODELS: Final = ("stability.", "titan-image", "nova-canvas", "nova-reel", "luma.")
_OUTPUT_LIMITS: Final = (
    ("max_tokens",),
    ("max_completion_tokens",),
    ("max_tokens_to_sample",),
    ("max_gen_len",),
    ("maxTokens",),
    ("inferenceConfig", "maxTokens"),
    ("inferenceConfig", "max_new_tokens"),
    ("textGenerationConfig", "maxTokenCount"),
)


# --- what is asked -----------------------------------------------------------------------


def request_of(
    client: Any, positional: tuple[Any, ...], keywords: Mapping[str, Any]
) -> Request | None:
    """Read what is asked of a model; None for every other call of any service."""
    if client._service_model.service_name != _SERVICE:
        return None
    name = positional[0] if positional else keywords["operation_name"]
    asked = positional[1] if len(positional) > 1 else keywords["api_params"]
    model = replies.model_of(asked.get("modelId"))
    if name in ("Converse", "ConverseStream"):
        body, operation, is_text = _converse_body(asked), "chat", True
    elif name in ("InvokeModel", "InvokeModelWithResponseStream"):
        body = _invoke_body(asked.get("body"))
        operation, is_text = _operation_of(model, body)
    elif name == "StartAsyncInvoke":
        body, operation, is_text = {}, "generate_content", False
    else:
        return None
    server = urlsplit(client.meta.endpoint_url)
    return Request(
        provider=PROVIDER,
        operation=operation,
        model=model,
        body=body,
        stream=name.endswith("Stream"),
        max_output_tokens=0 if operation == "embeddings" else _output_limit(body),
        choices=_choices(body),
        client_user_id=text_or_none(at(asked.get("requestMetadata"), "user_id"))
        or text_or_none(at(body.get("metadata"), "user_id")),
        service_tier=replies.tier_of(
            _type(asked.get("serviceTier")),
            asked.get("performanceConfigLatency") or at(asked.get("performanceConfig"), "latency"),
        ),
        server_address=server.hostname,
        server_port=server.port or {"https": 443, "http": 80}.get(server.scheme),
        is_text=is_text,
    )


def _type(service_tier: Any) -> Any:
    """Return the tier, which Converse wraps in an object and InvokeModel does not."""
    return at(service_tier, "type") if isinstance(service_tier, Mapping) else service_tier


def _operation_of(model: str, body: Mapping[str, Any]) -> tuple[str, bool]:
    if "embed" in model:
        return "embeddings", True
    if "rerank" in model:
        return "rerank", False
    if any(name in model for name in _PICTURE_MODELS):
        return "generate_content", False
    return ("chat" if "messages" in body else "text_completion"), True


def _output_limit(body: Mapping[str, Any]) -> int | None:
    limits = (at(body, *path) for path in _OUTPUT_LIMITS)
    return next((limit for limit in limits if isinstance(limit, int)), None)


def _choices(body: Mapping[str, Any]) -> int:
    asked = body.get("num_generations") or body.get("n")
    return max(asked, 1) if isinstance(asked, int) else 1


def _invoke_body(raw: Any) -> Mapping[str, Any]:
    """Return the JSON that is sent; nothing of a file, which is not ours to read."""
    if not isinstance(raw, str | bytes | bytearray) or len(raw) > MAX_BODY_BYTES:
        return {}
    try:
        body = json.loads(raw)
    except ValueError:
        return {}  # the service will say so
    return _measurable(body) if isinstance(body, dict) else {}


def _converse_body(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    names = ("system", "messages", "promptVariables", "inferenceConfig")
    body = {name: asked[name] for name in names if name in asked}
    if tools := at(asked.get("toolConfig"), "tools"):
        body["tools"] = tools
    return _measurable(body)


def _measurable(body: dict[str, Any]) -> dict[str, Any]:
    """Return `body` with pictures and cache points as an estimate knows them."""
    messages = body.get("messages")
    if isinstance(messages, list):
        body["messages"] = [
            {**message, "content": _measurable_blocks(message.get("content"))}
            if isinstance(message, dict)
            else message
            for message in messages
        ]
    for name in ("system", "tools"):
        body[name] = _measurable_blocks(body.get(name))
    return body


def _measurable_blocks(blocks: Any) -> Any:
    if not isinstance(blocks, list):
        return blocks
    return [_measurable_block(block) if isinstance(block, dict) else block for block in blocks]


def _measurable_block(block: dict[str, Any]) -> dict[str, Any]:
    if isinstance(block.get("image"), dict):
        return {"type": "image"}
    if "cachePoint" in block:
        return {"cache_control": block["cachePoint"]}
    return block


# --- what comes back ---------------------------------------------------------------------


def take(call: Call, client: Any, result: Any) -> Any:
    """End the call with a result, or have it ended by who reads its stream or its body."""
    request = call.request
    region = _priced_region(client.meta.region_name, request.model)
    if "invocationArn" in result:
        call.stop(Reply(region=region))
    elif "stream" in result:
        conclude = functools.partial(_conclude_converse, region)
        _read_events(call, result["stream"], replies.read_converse_event, conclude)
    elif "body" not in result:
        call.stop(replies.read_converse(result)._replace(region=region))
    else:
        conclude = functools.partial(_conclude_invoke, region, result)
        if hasattr(result["body"], "get_initial_response"):
            _read_events(call, result["body"], replies.read_invoke_event, conclude)
        else:
            reading = Reading(call, _no_chunk, conclude, hides_usage=False)
            document = DocumentBytes(reading, lambda body: replies.read_body(body, request.body))
            watch_body(result["body"], reading, document)
    return result


def _priced_region(region: str | None, model: str) -> str | None:
    is_listed = region in _LISTED_REGIONS or model.startswith(_EVERYWHERE)
    return None if is_listed else region


def _read_events(
    call: Call, stream: Any, read_chunk: ChunkReader, conclude: Callable[[Progress], Reply]
) -> None:
    watch_events(stream, Reading(call, read_chunk, conclude, hides_usage=False))


def _no_chunk(progress: Progress, chunk: Any) -> bool:
    del progress, chunk
    return False


def _conclude_converse(region: str | None, progress: Progress) -> Reply:
    return progress.reply()._replace(region=region)


def _conclude_invoke(region: str | None, result: Mapping[str, Any], progress: Progress) -> Reply:
    reply = anthropic.MESSAGES.conclude(progress)
    if reply.usage is None:
        headers = at(result, "ResponseMetadata", "HTTPHeaders") or {}
        reply = reply._replace(usage=replies.usage_of_headers(headers))
    return reply._replace(
        model=None,  # in its vendor's words, which are not Bedrock's
        region=region,
        service_tier=replies.tier_of(
            result.get("serviceTier"), result.get("performanceConfigLatency")
        ),
    )


def _consumed(error: BaseException) -> Reply | None:
    if isinstance(error, Exception) and isinstance(getattr(error, "response", None), Mapping):
        return None  # the service refused
    is_made = type(error).__name__ == "ResponseParserError"
    return Reply() if is_made or may_have_consumed(error) else None


# --- patches -----------------------------------------------------------------------------


def _patched_needs_retry(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return `_needs_retry`: what was sent and may be billed is booked before the next."""

    @functools.wraps(original)
    def needs_retry(self: Any, *positional: Any, **keywords: Any) -> Any:
        again = original(self, *positional, **keywords)
        if again and (error := _caught(positional, keywords)) is not None:
            methods.resend(error)
        return again

    return needs_retry


def _patched_async_needs_retry(
    original: Callable[..., Awaitable[Any]],
) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(original)
    async def needs_retry(self: Any, *positional: Any, **keywords: Any) -> Any:
        again = await original(self, *positional, **keywords)
        if again and (error := _caught(positional, keywords)) is not None:
            await methods.resend_async(error)
        return again

    return needs_retry


def _caught(positional: tuple[Any, ...], keywords: Mapping[str, Any]) -> BaseException | None:
    caught = positional[4] if len(positional) > 4 else keywords.get("caught_exception")
    return caught if isinstance(caught, BaseException) else None


class BedrockInstrumentor(Instrumentor):
    """Patches `botocore`, which boto3 is made on."""

    module = "botocore"

    def _base_module(self) -> Any:
        return importlib.import_module("botocore.client")

    def _patches(self, base_client: Any) -> list[Patch]:
        method = Method(request_of, take, _consumed).while_on(self._switch_on())
        endpoint = importlib.import_module("botocore.endpoint").Endpoint
        return [
            Patch(
                base_client.BaseClient,
                "_make_api_call",
                functools.partial(methods.patched, method),
            ),
            Patch(endpoint, "_needs_retry", _patched_needs_retry),
        ]


class AioBedrockInstrumentor(Instrumentor):
    """Patches `aiobotocore`, botocore's async twin."""

    module = "aiobotocore"

    def _base_module(self) -> Any:
        return importlib.import_module("aiobotocore.client")

    def _patches(self, base_client: Any) -> list[Patch]:
        method = Method(request_of, take, _consumed).while_on(self._switch_on())
        endpoint = importlib.import_module("aiobotocore.endpoint").AioEndpoint
        return [
            Patch(
                base_client.AioBaseClient,
                "_make_api_call",
                functools.partial(methods.patched_async, method),
            ),
            Patch(endpoint, "_needs_retry", _patched_async_needs_retry),
        ]
