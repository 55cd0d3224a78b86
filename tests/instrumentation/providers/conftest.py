"""A provider on loopback, a gate that remembers, spans in memory, the patches on."""

from collections.abc import Iterator

import pytest

from llm_cost import policy, providers
from llm_cost.providers import seam
from support.llm_server import LlmServer, llm_server
from support.recording import RecordingGate, Spans


@pytest.fixture
def server() -> Iterator[LlmServer]:
    with llm_server() as running:
        yield running


@pytest.fixture
def gate() -> Iterator[RecordingGate]:
    recording = RecordingGate()
    with policy.use_gate(recording):
        yield recording


@pytest.fixture
def spans() -> Iterator[Spans]:
    recording = Spans()
    providers.instrument(tracer_provider=recording.provider)
    yield recording
    providers.uninstrument()
    seam._refusing_servers.clear()
