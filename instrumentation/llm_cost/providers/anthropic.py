"""Anthropic's client: `SyncAPIClient.request` and its async twin; messages and beta messages.

Usage rule: `input_tokens` exclude the cache, so cache reads and writes stand beside them.
`output_tokens` include thinking. In a stream, counts are cumulative: the newest replaces, and
the split of cache writes by lifetime is told only at the start. `iterations` repeats what the
totals hold, with two exceptions: a compaction stands outside of them, and so does an adviser,
which is another model and is booked as a call of its own. Fetching pages costs its tokens only.

The Bedrock, Vertex, Foundry and AWS clients go through here before they rewrite the URL.
A message batch is billed when it is done: each result that is read is booked once, by the id
of its message, at the batch price. Token counts are free.

The client makes GenAI spans of its own, on by default. While a call of ours runs, its tracer
hands out our span instead, which it can propagate and cannot write to: one call, one span.
"""

from collections.abc import Callable, Mapping
from operator import add
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
from llm_cost.request import ESTIMATED, Job, Reply, Request
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

    counts = _counts(newest)
    for one in newest("iterations") or ():
        # Context that the provider compacted is billed and stands outside of the totals.
        if at(one, "type") == "compaction":
            counts = tuple(map(add, counts, _counts(told(one).get)))
    beside_cache, output, read, written, written_1h = counts
    return Usage.from_totals(
        input_tokens=beside_cache + read + written,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=written_1h,
        output_reasoning_tokens=count(at(newest("output_tokens_details"), "thinking_tokens")),
        web_searches=count(at(newest("server_tool_use"), "web_search_requests")),
    )


def _counts(get: Callable[[str], Any]) -> tuple[int, ...]:
    return (
        count(get("input_tokens")),
        count(get("output_tokens")),
        count(get("cache_read_input_tokens")),
        count(get("cache_creation_input_tokens")),
        count(at(get("cache_creation"), "ephemeral_1h_input_tokens")),
    )


def _advice(usage: Any) -> tuple[Reply, ...]:
    """Return what other models were asked inside a message, each at its own price."""
    return tuple(
        Reply(usage=usage_of(one), model=text_or_none(at(one, "model")))
        for one in at(usage, "iterations") or ()
        if at(one, "type") == "advisor_message"
    )


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
        others=_advice(usage),
    )


def _read_event(progress: Progress, event: Any) -> bool:
    get = told(event).get
    kind = get("type")
    if kind == "content_block_delta":
        of_delta = told(get("delta")).get
        progress.add_text(of_delta("text") or of_delta("thinking") or of_delta("partial_json"))
    elif kind == "message_delta":
        progress.usage = usage_of(get("usage"), progress.started)
        progress.others = _advice(get("usage"))
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


def _read_result(line: Any) -> Reply:
    """Read one line of a batch's results; what was not answered was not billed."""
    result = at(line, "result")
    if at(result, "type") != "succeeded":
        return Reply()
    reply = _read_message(at(result, "message"))
    if reply.id is None:
        return Reply()
    # Batches of clouds do not all say so in the usage; the price is the batch's all the same.
    return reply._replace(service_tier="batch", job=Job(reply.id))


MESSAGES: Final = Endpoint("chat", _read_message, _read_event, _conclude)
_RESULTS: Final = Endpoint("chat", lambda _: Reply(), is_result=True, read_line=_read_result)


def endpoint_of(options: Any) -> Endpoint | None:
    """Return the endpoint of a request that makes a message or reads what a batch made."""
    path: str = options.url.partition("?")[0]
    if options.method.lower() == "post":
        return MESSAGES if path.endswith("/v1/messages") else None
    return _RESULTS if path.endswith("/results") and "/messages/batches/" in path else None


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
