"""Google's client: `BaseApiClient._request` and its async twin, which every request goes through.

What Gemini says about its use, and the usage rule, is in `gemini.py`; live sessions, which have
a websocket, are in `google_live.py`; interactions, which have a generated client of their own, go
through `speakeasy.py`. Each request of automatic function calling is a call of its own.

A stream's chunks are seen where the client has parsed them, between its response and its models.
"""

import functools
import importlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import wrapt

from llm_cost import call as calls
from llm_cost.faults import contained
from llm_cost.providers import google_live, speakeasy
from llm_cost.providers.attempts import Attempt, running
from llm_cost.providers.endpoint import Endpoint, count, text_or_none, told
from llm_cost.providers.gemini import INTERACTIONS, endpoint_of
from llm_cost.providers.instrumentor import Instrumentor, Patch
from llm_cost.providers.server import provider_of
from llm_cost.request import Reply, Request
from llm_cost.streaming import AsyncChunks, Reading, SyncChunks

GEMINI: Final = "gcp.gemini"
VERTEX: Final = "gcp.vertex_ai"
_READING: Final = "_llm_cost_reading"
_INTERACTIONS_MODULE: Final = "google.genai._gaos.basesdk"
_TIER_HEADER: Final = "x-gemini-service-tier"
_URLS_REMEMBERED: Final = 1_024  # one per model and method in use


class _Target(NamedTuple):
    """Where a request goes: what of which model, on which server."""

    method: str
    model: str
    address: str | None
    port: int | None


@functools.lru_cache(_URLS_REMEMBERED)
def _target_of(url: str) -> _Target:
    """Read ".../publishers/google/models/gemini-2.5-flash:generateContent?alt=sse"."""
    parts = urlsplit(url)
    resource, _, method = parts.path.rpartition(":")
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return _Target(method, resource.rpartition("/")[2], parts.hostname, port)


# --- one request -------------------------------------------------------------------------


class _Sent(Attempt):
    """A request of an API client; on Vertex with the place that it is served from."""

    __slots__ = ("_region",)

    def __init__(self, endpoint: Endpoint, request: Request, region: str | None) -> None:
        super().__init__(endpoint, request)
        self._region = region

    def take(self, response: Any) -> None:
        """Read the response, or have it read when the client does."""
        call = self.call
        if call is None:
            return
        headers = response.headers
        if not self.request.stream:
            self.answered(lambda: self._read(response.response_stream, headers))
            return
        with contained("watching a response"):
            reading = _Chunks(
                call,
                self.endpoint.read_chunk,
                lambda progress: self._complete(self.endpoint.conclude(progress), headers),
                hides_usage=False,
            )
            response.__dict__[_READING] = reading
            response.__class__ = _watched(type(response))

    def _read(self, texts: Any, headers: Mapping[str, str]) -> Reply:
        document = speakeasy.document_of(texts[0]) if texts and texts[0] else {}
        return self._complete(self.read_reply(document), headers)

    def _complete(self, reply: Reply, headers: Mapping[str, str]) -> Reply:
        tier = reply.service_tier or (headers or {}).get(_TIER_HEADER)
        return reply._replace(region=self._region, service_tier=tier)


def _attempt(client: Any, positional: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
    with contained("recognising a request"):
        sent = keywords["http_request"] if "http_request" in keywords else positional[0]
        if sent.method.lower() != "post" or not isinstance(sent.data, Mapping):
            return None
        target = _target_of(sent.url)
        endpoint = endpoint_of(target.method, sent.data)
        if endpoint is None:
            return None
        is_vertex = bool(client.vertexai)
        region = text_or_none(client.location) if is_vertex else None
        return _Sent(endpoint, _request_of(target, endpoint, sent.data, is_vertex), region)
    return None


def _request_of(
    target: _Target, endpoint: Endpoint, body: Mapping[str, Any], is_vertex: bool
) -> Request:
    wanted = told(body.get("generationConfig")).get
    limit = wanted("maxOutputTokens")
    if endpoint.operation == "embeddings":
        limit = 0  # an embedding puts out no tokens: the estimate is a bound
    return Request(
        provider=VERTEX if is_vertex else GEMINI,
        operation=endpoint.operation,
        model=target.model,
        body=body,
        stream=target.method == "streamGenerateContent",
        max_output_tokens=limit if isinstance(limit, int) else None,
        choices=max(count(wanted("candidateCount")), 1),
        service_tier=text_or_none(body.get("serviceTier")),
        server_address=target.address,
        server_port=target.port,
        is_text=endpoint.is_text,
    )


def _patched_request(is_on: Callable[[], bool], original: Callable[..., Any]) -> Callable[..., Any]:
    """Return `_request` with a call's life around it."""

    @functools.wraps(original)
    def request(self: Any, *positional: Any, **keywords: Any) -> Any:
        attempt = _attempt(self, positional, keywords) if is_on() else None
        if attempt is not None:
            attempt.call = calls.begin(attempt.request)
        if attempt is None or attempt.call is None:
            return original(self, *positional, **keywords)
        with attempt.inside():
            try:
                response = original(self, *positional, **keywords)
            except BaseException as error:
                attempt.failed(error)
                raise
        attempt.take(response)
        return response

    return request


def _patched_async_request(
    is_on: Callable[[], bool], original: Callable[..., Awaitable[Any]]
) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(original)
    async def request(self: Any, *positional: Any, **keywords: Any) -> Any:
        attempt = _attempt(self, positional, keywords) if is_on() else None
        if attempt is not None:
            attempt.call = await calls.begin_async(attempt.request)
        if attempt is None or attempt.call is None:
            return await original(self, *positional, **keywords)
        with attempt.inside():
            try:
                response = await original(self, *positional, **keywords)
            except BaseException as error:
                attempt.failed(error)
                raise
        attempt.take(response)
        return response

    return request


def _patched_once(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return `_request_once`, which the client sends each of several attempts through."""

    @functools.wraps(original)
    def request_once(self: Any, *positional: Any, **keywords: Any) -> Any:
        attempt = running()
        if attempt is None:
            return original(self, *positional, **keywords)
        return attempt.send(lambda: original(self, *positional, **keywords))

    return request_once


def _patched_async_once(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(original)
    async def request_once(self: Any, *positional: Any, **keywords: Any) -> Any:
        attempt = running()
        if attempt is None:
            return await original(self, *positional, **keywords)
        return await attempt.send_async(lambda: original(self, *positional, **keywords))

    return request_once


# --- one stream --------------------------------------------------------------------------


class _Chunks(Reading):
    """A stream whose errors come as chunks, which the client raises outside of our iterator."""

    __slots__ = ()

    def saw(self, chunk: Any) -> bool:
        """Take in one chunk; an error ends the call."""
        if type(chunk) is dict and "error" in chunk:
            self.fail(_error_in(chunk))
            return False
        return super().saw(chunk)


def _error_in(chunk: Mapping[str, Any]) -> BaseException:
    """Return an empty error of the class that the client is about to raise."""
    errors = importlib.import_module("google.genai.errors")
    is_ours = 400 <= count(told(chunk.get("error")).get("code")) < 500
    kind = errors.ClientError if is_ours else errors.ServerError
    empty: BaseException = kind.__new__(kind)
    return empty


_watched_classes: dict[type, type] = {}


def _watched(base: Any) -> type:
    """Return the response class whose segments are read along.

    A class and not attributes of the response: those would refer back to it, and a dropped
    stream would wait for the garbage collector.
    """
    if base in _watched_classes:
        return _watched_classes[base]

    class Watched(base):  # type: ignore[misc] # the client's own response class
        def segments(self) -> Iterator[Any]:
            return SyncChunks(super().segments(), self.__dict__[_READING])

        def async_segments(self) -> AsyncIterator[Any]:
            return AsyncChunks(super().async_segments(), self.__dict__[_READING])

        def __del__(self) -> None:
            if not sys.is_finalizing():
                self.__dict__[_READING].closed()

    Watched.__name__, Watched.__qualname__ = base.__name__, base.__qualname__
    Watched.__module__ = base.__module__
    return _watched_classes.setdefault(base, Watched)


# --- interactions ------------------------------------------------------------------------


def _interactions_endpoint(request: Any) -> Endpoint | None:
    is_made = request.method == "POST" and request.url.path.endswith("/interactions")
    return INTERACTIONS if is_made else None


def _interactions_request(request: Any, body: Mapping[str, Any], endpoint: Endpoint) -> Request:
    host, path = request.url.host, request.url.path
    limit = told(body.get("generation_config")).get("max_output_tokens")
    return Request(
        provider=provider_of("", host, VERTEX if "/projects/" in path else GEMINI),
        operation=endpoint.operation,
        model=str(body.get("model") or body.get("agent") or ""),
        body=body,
        stream=body.get("stream") is True,
        max_output_tokens=limit if isinstance(limit, int) else None,
        service_tier=text_or_none(body.get("service_tier")),
        server_address=host or None,
        server_port=request.url.port or {"https": 443, "http": 80}.get(request.url.scheme),
    )


class GoogleGenAIInstrumentor(Instrumentor):
    """Patches the `google.genai` package."""

    module = "google.genai"

    def _base_module(self) -> Any:
        return importlib.import_module("google.genai._api_client")

    def _patches(self, base_client: Any) -> list[Patch]:
        on = self._switch_on()
        client = base_client.BaseApiClient
        patches = [
            Patch(client, "_request", functools.partial(_patched_request, on.is_set)),
            Patch(client, "_async_request", functools.partial(_patched_async_request, on.is_set)),
        ]
        # Older clients send once, in `_request` itself.
        if "_request_once" in vars(client) and "_async_request_once" in vars(client):
            patches += [
                Patch(client, "_request_once", _patched_once),
                Patch(client, "_async_request_once", _patched_async_once),
            ]
        patches += google_live.patches(on.is_set)
        return patches + self._interactions_patches(on)

    def _interactions_patches(self, on: Any) -> list[Patch]:
        """Return the patches of the generated client; where it is not loaded yet, wait for it.

        Most applications never use it, and loading it takes a second.
        """
        surface = speakeasy.while_on(
            on.is_set, speakeasy.Surface(_interactions_endpoint, _interactions_request)
        )
        if _INTERACTIONS_MODULE in sys.modules:
            return _generated_patches(surface)

        def loaded(_: Any) -> None:
            if on.is_set():
                self._put_on(_generated_patches(surface))

        wrapt.register_post_import_hook(loaded, _INTERACTIONS_MODULE)
        return []


def _generated_patches(surface: speakeasy.Surface) -> list[Patch]:
    load = importlib.import_module
    return speakeasy.patches(
        surface,
        base=load(_INTERACTIONS_MODULE),
        events=load("google.genai._gaos.utils.eventstreaming"),
        retries=load("google.genai._gaos.utils.retries"),
    )
