"""Ollama's client: `Client._request` and its async twin, which every endpoint goes through.

Usage rule: `prompt_eval_count` is the whole input, `eval_count` the whole output, thinking
included; there is no cache to tell apart. A stream tells them in its last part, always. The
old `/api/embeddings` tells nothing and is estimated.

Nobody bills a model on one's own machine: see `pricing/overlay.py` for what that costs. What
runs in Ollama's cloud (by its host, or by a model whose name ends in "cloud") has no price.

A stream is lazy here: nothing is sent before it is read. It is asked for when it is made, as
every call is, and let go of where nobody ever reads it.
"""

import functools
import importlib
import weakref
from collections.abc import Awaitable, Callable, Mapping
from threading import Event
from typing import Any, Final

from llm_cost import abandoned
from llm_cost.call import Call
from llm_cost.providers import methods
from llm_cost.providers.endpoint import Endpoint, at, count, text_or_none, told
from llm_cost.providers.instrumentor import Instrumentor, Patch
from llm_cost.providers.methods import Method
from llm_cost.providers.server import server_of
from llm_cost.request import Reply, Request
from llm_cost.streaming import Progress, Reading
from llm_cost.usage import Usage


def usage_of(reply: Any) -> Usage | None:
    """Return the buckets of a reply or of a stream's last part; None where it tells no counts."""
    get = told(reply).get
    asked, made = get("prompt_eval_count"), get("eval_count")
    if asked is None and made is None:
        return None
    # A prompt that the server still had evaluated is not counted again.
    return Usage(input_text_tokens=count(asked), output_text_tokens=count(made))


def _read(reply: Any) -> Reply:
    get = told(reply).get
    reason = text_or_none(get("done_reason"))
    return Reply(
        usage=usage_of(reply),
        model=text_or_none(get("model")),
        finish_reasons=(reason,) if reason else (),
    )


def _read_part(progress: Progress, part: Any) -> bool:
    get = told(part).get
    message = get("message")
    progress.add_text(at(message, "content") or get("response"))
    progress.add_text(at(message, "thinking") or get("thinking"))
    progress.model = text_or_none(get("model")) or progress.model
    if get("done"):
        reply = _read(part)
        progress.usage, progress.is_complete = reply.usage, True
        progress.finish_reasons = reply.finish_reasons
    return False


def _read_answers(reply: Any) -> Reply:
    return Reply(
        usage=Usage(
            input_text_tokens=count(at(reply, "usage", "input_tokens")),
            output_text_tokens=count(at(reply, "usage", "output_tokens")),
        ),
        model=text_or_none(at(reply, "model")),
    )


_ENDPOINTS: Final = {
    "/api/chat": Endpoint("chat", _read, _read_part),
    "/api/generate": Endpoint("text_completion", _read, _read_part),
    "/api/embed": Endpoint("embeddings", _read),
    "/api/embeddings": Endpoint("embeddings", _read),
    "/api/systemone": Endpoint("chat", _read_answers),
    "/v1/systemone": Endpoint("chat", _read_answers),
}


def endpoint_of(positional: tuple[Any, ...]) -> Endpoint | None:
    """Return the endpoint of `_request(type, method, path)`, None for one that runs no model."""
    return _ENDPOINTS.get(str(positional[2])) if len(positional) > 2 else None


def _request_of(
    client: Any, positional: tuple[Any, ...], keywords: Mapping[str, Any]
) -> Request | None:
    endpoint = endpoint_of(positional)
    if endpoint is None:
        return None
    body = keywords.get("json")
    body = body if isinstance(body, Mapping) else {}
    server = server_of(client._client, "ollama")
    limit = 0 if endpoint.operation == "embeddings" else at(body.get("options"), "num_predict")
    return Request(
        provider=server.provider,
        operation=endpoint.operation,
        model=str(body.get("model") or ""),
        body=body,
        stream=bool(keywords.get("stream")),
        # -1 and -2 stand for no limit.
        max_output_tokens=limit if isinstance(limit, int) and limit >= 0 else None,
        server_address=server.address,
        server_port=server.port,
    )


class _Asked:
    """A lazy stream's call: it is sent, and may fail as a plain one would, when it is read."""

    __slots__ = ("call",)

    def __init__(self, call: Call) -> None:
        self.call = call

    def stop(self, reply: Reply) -> None:
        """It was read to its end."""
        self.call.stop(reply)

    def cancel(self, reply: Reply) -> None:
        """It was left."""
        self.call.cancel(reply)

    def fail(self, error: BaseException, reply: Reply | None) -> None:
        """It raised `error`, perhaps before the server did anything."""
        is_begun = reply is not None and reply.first_chunk_at_s is not None
        self.call.fail(error, reply if is_begun else methods.consumed_over_http(error))


def _dropped(asked: _Asked, reading: Reading) -> None:
    if reading.progress.first_chunk_at_s is not None:
        reading.closed()
    else:
        # Nobody read it, so nothing was sent.
        unread = functools.partial(asked.call.fail, GeneratorExit("never read"), None)
        abandoned.end(unread)


def _streamed(read_along: Callable[..., Any], endpoint: Endpoint, call: Call, parts: Any) -> Any:
    asked = _Asked(call)
    reading = Reading(asked, endpoint.read_chunk, endpoint.conclude, hides_usage=False)
    stream = read_along(parts, reading)
    # A generator that was never started runs nothing when it is dropped.
    weakref.finalize(stream, _dropped, asked, reading).atexit = False
    return stream


def _take(endpoint: Endpoint, read_along: Callable[..., Any]) -> Callable[[Call, Any, Any], Any]:
    def take(call: Call, _: Any, result: Any) -> Any:
        if call.request.stream:
            return _streamed(read_along, endpoint, call, result)
        call.stop(endpoint.read_reply(result))
        return result

    return take


def _patched(is_on: Event, original: Callable[..., Any]) -> Callable[..., Any]:
    return _by_endpoint(is_on, original, methods.patched, methods.read_along)


def _patched_async(
    is_on: Event, original: Callable[..., Awaitable[Any]]
) -> Callable[..., Awaitable[Any]]:
    return _by_endpoint(is_on, original, methods.patched_async, methods.read_along_async)


def _by_endpoint(
    is_on: Event,
    original: Callable[..., Any],
    patched: Callable[[Method, Callable[..., Any]], Callable[..., Any]],
    read_along: Callable[..., Any],
) -> Callable[..., Any]:
    """Return `_request` with the life of a call around it, for the endpoints that run a model."""
    billed = {
        path: patched(
            Method(_request_of, _take(endpoint, read_along), methods.consumed_over_http).while_on(
                is_on
            ),
            original,
        )
        for path, endpoint in _ENDPOINTS.items()
    }

    @functools.wraps(original)
    def request(self: Any, *positional: Any, **keywords: Any) -> Any:
        path = positional[2] if len(positional) > 2 else ""
        return billed.get(path, original)(self, *positional, **keywords)

    return request


class OllamaInstrumentor(Instrumentor):
    """Patches the `ollama` package."""

    module = "ollama"

    def _base_module(self) -> Any:
        return importlib.import_module("ollama._client")

    def _patches(self, base_client: Any) -> list[Patch]:
        is_on = self._switch_on()
        return [
            Patch(base_client.Client, "_request", functools.partial(_patched, is_on)),
            Patch(base_client.AsyncClient, "_request", functools.partial(_patched_async, is_on)),
        ]
