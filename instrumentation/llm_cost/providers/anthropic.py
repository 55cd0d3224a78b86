"""Anthropic's client: `SyncAPIClient.request` and its async twin; messages and beta messages.

Usage rule: `input_tokens` exclude the cache, so cache reads and writes stand beside them.
`output_tokens` include thinking. In a stream, counts are cumulative: the newest replaces, and
the split of cache writes by lifetime is told only at the start.

The client makes GenAI spans of its own, on by default. While a call of ours runs, its tracer
hands out our span instead, which it can propagate and cannot write to: one call, one span.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from llm_cost.providers.endpoint import (
    Endpoint,
    Surface,
    at,
    body_of,
    count,
    text_or_none,
    told,
)
from llm_cost.providers.instrumentor import Instrumentor, Patch
from llm_cost.providers.seam import BorrowedTracer, running_call
from llm_cost.providers.server import server_of
from llm_cost.request import ESTIMATED, Reply, Request
from llm_cost.streaming import Progress
from llm_cost.usage import Usage


def usage_of(usage: Any, started: Any = None) -> Usage | None:
    """Return the exclusive buckets of `usage`, completed by what the stream `started` with."""
    if usage is None:
        return None
    get = told(usage).get
    first = told(started).get

    def newest(name: str) -> Any:
        value = get(name)
        return first(name) if value is None else value

    # Context that the provider compacted is billed and stands outside of the totals.
    compacted = [told(one).get for one in newest("iterations") or ()]
    compacted = [one for one in compacted if one("type") == "compaction"]
    read = count(newest("cache_read_input_tokens"))
    written = count(newest("cache_creation_input_tokens"))
    beside_cache = count(newest("input_tokens")) + _sum(compacted, "input_tokens")
    return Usage.from_totals(
        input_tokens=beside_cache + read + written,
        output_tokens=count(newest("output_tokens")) + _sum(compacted, "output_tokens"),
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=count(at(newest("cache_creation"), "ephemeral_1h_input_tokens")),
        output_reasoning_tokens=count(at(newest("output_tokens_details"), "thinking_tokens")),
        web_searches=count(at(newest("server_tool_use"), "web_search_requests")),
    )


def _sum(parts: Sequence[Callable[[str], Any]], name: str) -> int:
    return sum(count(get(name)) for get in parts)


def _service_tier(usage: Any) -> str | None:
    get = told(usage).get
    # Fast mode has prices of its own, which no service tier says.
    return "fast" if get("speed") == "fast" else text_or_none(get("service_tier"))


def _read_message(reply: Any) -> Reply:
    get = told(reply).get
    usage, reason = get("usage"), text_or_none(get("stop_reason"))
    return Reply(
        usage=usage_of(usage),
        model=text_or_none(get("model")),
        id=text_or_none(get("id")),
        finish_reasons=(reason,) if reason else (),
        service_tier=_service_tier(usage),
        region=text_or_none(at(usage, "inference_geo")),
    )


def _read_event(progress: Progress, event: Any) -> bool:
    get = told(event).get
    kind = get("type")
    if kind == "content_block_delta":
        of_delta = told(get("delta")).get
        progress.add_text(of_delta("text") or of_delta("thinking") or of_delta("partial_json"))
    elif kind == "message_delta":
        progress.usage = usage_of(get("usage"), progress.started)
        progress.is_complete = True
        if reason := text_or_none(at(get("delta"), "stop_reason")):
            progress.finish_reasons = (reason,)
    elif kind == "message_start":
        message = get("message")
        reply = _read_message(message)
        progress.started = at(message, "usage")
        progress.model, progress.id = reply.model, reply.id
        progress.service_tier, progress.region = reply.service_tier, reply.region
    return False


def _conclude(progress: Progress) -> Reply:
    """Return the reported usage; of a stream cut before it, the input that it began with."""
    reply = progress.reply()
    if progress.usage is not None or progress.started is None:
        return reply
    begun = usage_of(progress.started)
    assert begun is not None
    seen_tokens = -(-progress.output_bytes // 4)
    return reply._replace(
        usage=begun._replace(output_text_tokens=max(begun.output_text_tokens, seen_tokens)),
        usage_source=ESTIMATED,
    )


_MESSAGES: Final = Endpoint("chat", _read_message, _read_event, _conclude)


def endpoint_of(options: Any) -> Endpoint | None:
    """Return the endpoint of a request that makes a message, None for every other request."""
    is_message = options.method.lower() == "post" and (
        options.url.partition("?")[0].endswith("/v1/messages")
    )
    return _MESSAGES if is_message else None


def request_of(client: Any, options: Any, endpoint: Endpoint, stream: bool) -> Request:
    """Read what is asked for."""
    body = body_of(options)
    server = server_of(client, "anthropic")
    limit, metadata = body.get("max_tokens"), body.get("metadata")
    return Request(
        provider=server.provider,
        operation=endpoint.operation,
        model=str(body.get("model") or ""),
        body=body,
        stream=stream,
        max_output_tokens=limit if isinstance(limit, int) else None,
        client_user_id=text_or_none(metadata.get("user_id"))
        if isinstance(metadata, Mapping)
        else None,
        service_tier="fast"
        if body.get("speed") == "fast"
        else text_or_none(body.get("service_tier")),
        server_address=server.address,
        server_port=server.port,
    )


def _lend_our_span(original: property) -> property:
    assert original.fget is not None
    read = original.fget

    def tracer(self: Any) -> Any:
        native = read(self)
        call = running_call()
        if native is None or call is None or not call.span.get_span_context().is_valid:
            return native
        return BorrowedTracer(call.span)

    return property(tracer)


class AnthropicInstrumentor(Instrumentor):
    """Patches the `anthropic` package."""

    module = "anthropic"

    def _surface(self) -> Surface:
        from anthropic import AsyncStream, Stream

        return Surface(endpoint_of, request_of, (Stream, AsyncStream))

    def _more_patches(self, base_client: Any) -> list[Patch]:
        # Clients before 2.0 make no spans.
        if not isinstance(vars(base_client.BaseClient).get("_tracer"), property):
            return []
        return [Patch(base_client.BaseClient, "_tracer", _lend_our_span)]
