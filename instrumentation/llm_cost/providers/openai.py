"""OpenAI's client: `SyncAPIClient.request` and its async twin, which everything goes through.

This file says which requests cost; `openai_replies.py` how they are read, `openai_usage.py`
the usage rule, `openai_socket.py` what goes over a websocket instead. Moderation is free, and
what is retrieved was paid for when it was made. Two things are billed only when they are done,
and booked by whoever reads them then: background responses and batches.
"""

import sys
from collections.abc import Mapping
from typing import Any, Final

import wrapt

from llm_cost.providers import openai_socket
from llm_cost.providers.endpoint import Endpoint, Surface, body_of, count, text_or_none
from llm_cost.providers.instrumentor import Instrumentor, Patch
from llm_cost.providers.openai_replies import (
    conclude_response,
    count_speech,
    read_batch,
    read_chat_chunk,
    read_completion,
    read_image_event,
    read_images,
    read_response,
    read_response_event,
    read_sound,
    read_sound_event,
    read_speech_event,
    read_video,
)
from llm_cost.providers.server import server_of
from llm_cost.request import Request

_CHAT: Final = Endpoint("chat", read_completion, read_chat_chunk, usage_on_request=True)
_RESPONSES: Final = Endpoint("chat", read_response, read_response_event, conclude_response)
_IMAGES: Final = Endpoint("generate_content", read_images, read_image_event, is_text=False)
_SOUND: Final = Endpoint("generate_content", read_sound, read_sound_event, is_text=False)
_SPEECH: Final = Endpoint(
    "generate_content", read_sound, read_speech_event, count_request=count_speech, is_text=False
)
_VIDEO: Final = Endpoint("generate_content", read_video, is_text=False)

_ENDPOINTS: Final = {
    "/chat/completions": _CHAT,
    "/completions": _CHAT._replace(operation="text_completion"),
    "/embeddings": Endpoint("embeddings", read_completion),
    "/rerank": Endpoint("rerank", read_completion),
    "/responses": _RESPONSES,
    "/responses/compact": _RESPONSES,
    "/images/generations": _IMAGES,
    "/images/edits": _IMAGES,
    "/images/variations": _IMAGES,
    "/audio/speech": _SPEECH,
    "/audio/transcriptions": _SOUND,
    "/audio/translations": _SOUND,
    "/videos": _VIDEO,
    "/videos/edits": _VIDEO,
    "/videos/extensions": _VIDEO,
    "/remix": _VIDEO,
}
_RESULTS: Final = {
    ("get", "responses"): _RESPONSES._replace(is_result=True),
    ("post", "responses"): _RESPONSES._replace(is_result=True),  # cancel, which answers with it
    # A batch's usage is the sum of many calls: nothing to expect one by.
    ("get", "batches"): Endpoint("chat", read_batch, is_text=False, is_result=True),
}
_LIMITS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens")


def endpoint_of(options: Any) -> Endpoint | None:
    """Return the endpoint of a request that costs, or whose answer may tell a cost; else None."""
    url: str = options.url
    method = options.method.lower()
    if method == "post":
        known = _ENDPOINTS.get(url)
        if known is not None:
            return known
    # An absolute URL, a query, a deployment in the path: whatever ends in a known path.
    parts = url.partition("?")[0].rsplit("/", 3)
    if method == "post":
        known = _ENDPOINTS.get("/" + "/".join(parts[-2:])) or _ENDPOINTS.get("/" + parts[-1])
        if known is not None or parts[-1] != "cancel":
            return known
        parts.pop()
    return _RESULTS.get((method, parts[-2])) if len(parts) > 1 else None


def request_of(client: Any, options: Any, endpoint: Endpoint, stream: bool) -> Request:
    """Read what is asked for."""
    return read_request("openai", client, options, endpoint, stream=stream)


def read_request(
    default_provider: str, client: Any, options: Any, endpoint: Endpoint, *, stream: bool
) -> Request:
    """Read what is asked for in OpenAI's words, of whoever serves the client."""
    body = body_of(options)
    server = server_of(client, default_provider)
    get = body.get
    limit = next((value for name in _LIMITS if (value := get(name))), None)
    if endpoint.operation in ("embeddings", "rerank"):
        limit = 0  # nothing is put out in tokens: the estimate is a bound
    metadata = get("metadata")
    return Request(
        provider=server.provider,
        operation=endpoint.operation,
        model=str(get("model") or ""),
        body=body,
        stream=stream,
        max_output_tokens=limit if isinstance(limit, int) else None,
        choices=max(count(get("n")), count(get("best_of")), 1),
        client_user_id=text_or_none(get("safety_identifier"))
        or text_or_none(get("user"))
        or (text_or_none(metadata.get("user_id")) if isinstance(metadata, Mapping) else None),
        service_tier=text_or_none(get("service_tier")),
        server_address=server.address,
        server_port=server.port,
        is_text=endpoint.is_text,
    )


class OpenAIInstrumentor(Instrumentor):
    """Patches the `openai` package."""

    module = "openai"

    def _surface(self) -> Surface:
        from openai import AsyncStream, Stream

        return Surface(endpoint_of, request_of, (Stream, AsyncStream))

    def _more_patches(self, base_client: Any) -> list[Patch]:
        """Return the patches of websockets; those that are not loaded yet are waited for."""
        del base_client
        is_on, found = self._is_on, list[Patch]()

        def loaded(module: Any) -> None:
            if is_on.is_set():
                self._put_on(openai_socket.patches_of(module, is_on.is_set))

        for name in openai_socket.MODULES:
            if name in sys.modules:
                found += openai_socket.patches_of(sys.modules[name], is_on.is_set)
            else:
                wrapt.register_post_import_hook(loaded, name)
        return found
