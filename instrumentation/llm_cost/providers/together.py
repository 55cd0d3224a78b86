"""Together's client, made from the same base as OpenAI's, and speaking OpenAI's protocol.

Usage rule: OpenAI's, without any details. Images, speech and videos are billed by size, by
character and by clip; where the price table does not know a model by these, its price is
unknown.
"""

from typing import Any

from llm_cost.providers.endpoint import Endpoint, Surface
from llm_cost.providers.instrumentor import Instrumentor
from llm_cost.providers.openai import endpoint_of, read_request
from llm_cost.request import Request


def request_of(client: Any, options: Any, endpoint: Endpoint, stream: bool) -> Request:
    """Read what is asked for."""
    return read_request("together", client, options, endpoint, stream=stream)


class TogetherInstrumentor(Instrumentor):
    """Patches the `together` package, from 2.0 on."""

    module = "together"

    def _surface(self) -> Surface:
        from together import AsyncStream, Stream

        return Surface(endpoint_of, request_of, (Stream, AsyncStream))
