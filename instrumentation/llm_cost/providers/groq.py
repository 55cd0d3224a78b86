"""Groq's client, made from the same base as OpenAI's, and speaking OpenAI's protocol.

Usage rule: OpenAI's. Streams tell their usage on the last chunk in `x_groq`, asked or not, and
in a chunk of its own where `stream_options` asks. Transcriptions are billed by the second and
tell their length only as `verbose_json`; otherwise their price is unknown.
"""

from typing import Any

from llm_cost.providers.endpoint import Endpoint, Surface
from llm_cost.providers.instrumentor import Instrumentor
from llm_cost.providers.openai import endpoint_of, read_request
from llm_cost.request import Request


def request_of(client: Any, options: Any, endpoint: Endpoint, stream: bool) -> Request:
    """Read what is asked for."""
    return read_request("groq", client, options, endpoint, stream=stream)


class GroqInstrumentor(Instrumentor):
    """Patches the `groq` package."""

    module = "groq"

    def _surface(self) -> Surface:
        from groq import AsyncStream, Stream

        return Surface(endpoint_of, request_of, (Stream, AsyncStream))
