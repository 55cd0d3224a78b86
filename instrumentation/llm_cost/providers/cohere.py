"""Cohere's client: the raw methods of v1 and v2 that every billed call goes through once.

Usage rule: `billed_units` are what the bill says; `tokens` also count what Cohere puts around a
prompt and does not charge, so they stand in only where nothing is billed. `cached_tokens` are
part of the input. Image tokens stand beside the input's; where `text_tokens` are told, they
are the text. Counts are floats on the wire. A classification has no price of its own in the
table: its use is untold, so its price is unknown.

The client's `embed` sends batches of 96 texts: each is a call. It retries refusals and failed
connections by itself, which consumed nothing; a timeout it does not retry.
"""

import functools
import importlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import (
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from typing import Any, Final
from urllib.parse import urlsplit

from llm_cost import call as calls
from llm_cost.providers import methods
from llm_cost.providers.endpoint import Endpoint, at, text_or_none, told
from llm_cost.providers.instrumentor import Instrumentor, Patch
from llm_cost.providers.methods import Method
from llm_cost.providers.server import provider_of
from llm_cost.request import Reply, Request
from llm_cost.streaming import Progress, Reading
from llm_cost.usage import Usage


def _whole(value: object) -> int:
    return round(value) if isinstance(value, int | float) and value > 0 else 0


def usage_of(usage: Any) -> Usage | None:
    """Return the exclusive buckets of a `usage` (v2 chat) or a `meta` (everything else)."""
    billed = told(at(usage, "billed_units")).get
    if billed("classifications"):
        return None
    image = _whole(billed("image_tokens"))
    text = _whole(
        billed("input_tokens") if billed("text_tokens") is None else billed("text_tokens")
    )
    found = Usage.from_totals(
        input_tokens=text + image,
        input_image_tokens=image,
        output_tokens=_whole(billed("output_tokens")),
        cache_read_tokens=min(_whole(at(usage, "cached_tokens")), text),
        rerank_searches=_whole(billed("search_units")),
        images=0 if image else _whole(billed("images")),
        pages=_whole(billed("pages")),
    )
    return found if any(found) else _unbilled(told(at(usage, "tokens")).get)


def _unbilled(get: Callable[[str], Any]) -> Usage | None:
    read, made = _whole(get("input_tokens")), _whole(get("output_tokens"))
    return Usage(input_text_tokens=read, output_text_tokens=made) if read or made else None


# --- replies -----------------------------------------------------------------------------


def _read_reply(response: Any) -> Reply:
    get = told(response.data).get
    reasons = [
        get("finish_reason"),
        *(at(one, "finish_reason") for one in get("generations") or ()),
    ]
    return Reply(
        usage=usage_of(get("usage") or get("meta")),
        id=text_or_none(get("id") or get("response_id") or get("generation_id")),
        finish_reasons=tuple(str(reason) for reason in reasons if reason),
    )


def _read_event(progress: Progress, event: Any) -> bool:
    get = told(event).get
    kind, delta = get("type"), get("delta")
    if kind == "message-end":
        _end(progress, at(delta, "usage"), at(delta, "finish_reason"))
    elif kind == "message-start":
        progress.id = text_or_none(get("id"))
    elif message := at(delta, "message"):
        of_message = told(message).get
        content = told(of_message("content")).get
        progress.add_text(content("text") or content("thinking") or of_message("tool_plan"))
        progress.add_text(at(of_message("tool_calls"), "function", "name"))
        progress.add_text(at(of_message("tool_calls"), "function", "arguments"))
    return False


def _read_event_v1(progress: Progress, event: Any) -> bool:
    get = told(event).get
    kind = get("event_type")
    if kind == "text-generation":
        progress.add_text(get("text"))
    elif kind == "stream-start":
        progress.id = text_or_none(get("generation_id"))
    elif kind == "stream-end":
        _end(progress, at(get("response"), "meta"), get("finish_reason"))
    elif kind == "tool-calls-chunk":
        call = at(get("tool_call_delta"), "parameters")
        progress.add_text(call or get("text"))
    return False


def _end(progress: Progress, usage: Any, reason: Any) -> None:
    progress.usage, progress.is_complete = usage_of(usage), True
    if reason:
        progress.finish_reasons = (str(reason),)


_CHAT: Final = Endpoint("chat", _read_reply, _read_event)
_CHAT_V1: Final = Endpoint("chat", _read_reply, _read_event_v1)
_GENERATE: Final = Endpoint("text_completion", _read_reply, _read_event_v1)
_EMBED: Final = Endpoint("embeddings", _read_reply)
_RERANK: Final = Endpoint("rerank", _read_reply, is_text=False)
_OTHER: Final = Endpoint("generate_content", _read_reply, is_text=False)

_V1: Final = {
    "chat": _CHAT_V1,
    "chat_stream": _CHAT_V1,
    "generate": _GENERATE,
    "generate_stream": _GENERATE,
    "embed": _EMBED,
    "rerank": _RERANK,
    "classify": _OTHER,
    "summarize": _GENERATE,
}
_V2: Final = {
    "chat": _CHAT,
    "chat_stream": _CHAT,
    "parse": _OTHER,
    "embed": _EMBED,
    "rerank": _RERANK,
}
_SURFACES: Final = (
    ("cohere.raw_base_client", "RawBaseCohere", _V1),
    ("cohere.v2.raw_client", "RawV2Client", _V2),
    ("cohere.audio.transcriptions.raw_client", "RawTranscriptionsClient", {"create": _OTHER}),
)


# --- requests ----------------------------------------------------------------------------


def _requests_of(endpoint: Endpoint, *, stream: bool) -> Callable[..., Request]:
    def request_of(owner: Any, _: tuple[Any, ...], keywords: Mapping[str, Any]) -> Request:
        provider, server = _served_by(owner._client_wrapper)
        # What the caller left out stands there as an ellipsis.
        body = {
            name: value
            for name, value in keywords.items()
            if value is not None and value is not ... and name not in ("request_options", "file")
        }
        limit = body.get("max_tokens")
        if endpoint.operation == "embeddings":
            limit = 0  # an embedding puts out no tokens: the estimate is a bound
        return Request(
            provider=provider,
            operation=endpoint.operation,
            model=str(body.get("model") or ""),
            body=body,
            stream=stream,
            max_output_tokens=limit if isinstance(limit, int) else None,
            choices=max(_whole(body.get("num_generations")), 1),
            server_address=server.hostname,
            server_port=server.port or {"https": 443, "http": 80}.get(server.scheme),
            is_text=endpoint.is_text,
        )

    return request_of


def _served_by(wrapper: Any) -> tuple[str, Any]:
    """Return who sells this client its models, and the address that it asks."""
    server = urlsplit(wrapper.get_base_url())
    for hook in wrapper.httpx_client.httpx_client.event_hooks.get("request", ()):
        # The clients for AWS are given Cohere's address and sign and send elsewhere.
        if getattr(hook, "__module__", "") == "cohere.aws_client":
            told_hook = dict(zip(hook.__code__.co_freevars, hook.__closure__, strict=True))
            service = told_hook["service"].cell_contents
            address = (
                f"https://{service}-runtime.{told_hook['aws_region'].cell_contents}.amazonaws.com"
            )
            return f"aws.{service}", urlsplit(address)
    return provider_of("", server.hostname or "", "cohere"), server


# --- streams -----------------------------------------------------------------------------


def _patched_stream(
    method: Method, endpoint: Endpoint, original: Callable[..., Any]
) -> Callable[..., Any]:
    @functools.wraps(original)
    @contextmanager
    def billed(self: Any, **keywords: Any) -> Iterator[Any]:
        request = method.request(self, (), keywords)
        call = None if request is None else calls.begin(request)
        with ExitStack() as manager:
            if call is None:
                yield manager.enter_context(original(self, **keywords))
                return
            try:
                with call.current():
                    response = manager.enter_context(original(self, **keywords))
            except BaseException as error:
                method.failed(call, error)
                raise
            reading = _reading(call, endpoint)
            response._data = methods.read_along(response._data, reading)
            try:
                yield response
            finally:
                reading.closed()

    return billed


def _patched_async_stream(
    method: Method, endpoint: Endpoint, original: Callable[..., Any]
) -> Callable[..., Any]:
    @functools.wraps(original)
    @asynccontextmanager
    async def billed(self: Any, **keywords: Any) -> AsyncIterator[Any]:
        request = method.request(self, (), keywords)
        call = None if request is None else await calls.begin_async(request)
        async with AsyncExitStack() as manager:
            if call is None:
                yield await manager.enter_async_context(original(self, **keywords))
                return
            try:
                with call.current():
                    response = await manager.enter_async_context(original(self, **keywords))
            except BaseException as error:
                method.failed(call, error)
                raise
            reading = _reading(call, endpoint)
            response._data = methods.read_along_async(response._data, reading)
            try:
                yield response
            finally:
                reading.closed()

    return billed


def _reading(call: calls.Call, endpoint: Endpoint) -> Reading:
    return Reading(call, endpoint.read_chunk, endpoint.conclude, hides_usage=False)


class CohereInstrumentor(Instrumentor):
    """Patches the `cohere` package, from the release on that has raw clients."""

    module = "cohere"

    def _base_module(self) -> Any:
        return importlib.import_module("cohere.raw_base_client")

    def _patches(self, base_client: Any) -> list[Patch]:
        del base_client
        is_on = self._switch_on()
        patches = []
        for path, name, endpoints in _SURFACES:
            try:
                module = importlib.import_module(path)
            except ModuleNotFoundError:
                continue  # an older client, without that part
            for prefix in ("", "Async"):
                owner = getattr(module, prefix + name)
                for method_name in endpoints.keys() & vars(owner).keys():
                    endpoint = endpoints[method_name]
                    is_stream = method_name.endswith("_stream")
                    method = Method(
                        _requests_of(endpoint, stream=is_stream),
                        methods.document(endpoint.read_reply),
                        methods.consumed_over_http,
                    ).while_on(is_on)
                    patches.append(
                        Patch(owner, method_name, _wrap(method, endpoint, prefix, is_stream))
                    )
        return patches


def _wrap(method: Method, endpoint: Endpoint, prefix: str, is_stream: bool) -> Callable[[Any], Any]:
    if is_stream:
        wrap = _patched_async_stream if prefix else _patched_stream
        return functools.partial(wrap, method, endpoint)
    return functools.partial(methods.patched_async if prefix else methods.patched, method)
