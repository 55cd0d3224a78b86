"""Patches go on and come off and leave the clients as they were found."""

import subprocess
import sys
from importlib.metadata import entry_points
from typing import Any

import anthropic
import anthropic._base_client
import httpx2
import openai._base_client
import pytest
from opentelemetry import trace

from llm_cost import providers
from llm_cost.providers.anthropic import AnthropicInstrumentor
from llm_cost.providers.openai import OpenAIInstrumentor
from llm_cost.providers.server import provider_of
from support import llm_server as says
from support.llm_server import Answer, LlmServer
from support.recording import RecordingGate, Spans

MESSAGE: Any = {
    "model": "claude-sonnet-4-6",
    "messages": [{"role": "user", "content": says.PROMPT}],
    "max_tokens": 100,
}


def _classes() -> list[dict[str, Any]]:
    return [
        dict(vars(owner))
        for base in (openai._base_client, anthropic._base_client)
        for owner in (base.SyncAPIClient, base.AsyncAPIClient, base.BaseClient)
    ]


def test_patches_come_off_and_go_on_again() -> None:
    found = _classes()

    for _ in range(2):
        assert {"openai", "anthropic"} <= set(providers.instrument())
        providers.instrument()
        assert _classes() != found
        providers.uninstrument()
        providers.uninstrument()

        assert _classes() == found


def test_an_instrumentor_is_one_object_and_takes_the_loaders_arguments() -> None:
    assert OpenAIInstrumentor() is OpenAIInstrumentor()
    assert OpenAIInstrumentor() is not AnthropicInstrumentor()

    OpenAIInstrumentor().instrument(skip_dep_check=True)

    assert OpenAIInstrumentor().is_instrumented
    assert not AnthropicInstrumentor().is_instrumented
    OpenAIInstrumentor().uninstrument()


def test_a_patch_of_somebody_else_on_top_of_ours_survives(
    server: LlmServer, gate: RecordingGate
) -> None:
    owner: Any = openai._base_client.SyncAPIClient
    found, spans = owner.request, Spans()
    client = openai.OpenAI(api_key="k", base_url=server.url)
    server.will(Answer(body=says.chat()))
    try:
        providers.instrument(tracer_provider=spans.provider)
        ours = owner.request

        def theirs(*positional: Any, **keywords: Any) -> Any:
            return ours(*positional, **keywords)

        owner.request = theirs
        providers.uninstrument()
        client.chat.completions.create(model="gpt-4o-mini", messages=[])
        after_uninstrument = len(spans.finished())
        survived = owner.request is theirs

        providers.instrument(tracer_provider=spans.provider)
        client.chat.completions.create(model="gpt-4o-mini", messages=[])
    finally:
        providers.uninstrument()
        owner.request = found

    assert survived
    assert after_uninstrument == 0
    assert len(spans.finished()) == len(gate.reserved) == 1


def test_spans_of_the_http_client_become_children_of_the_calls(gate: RecordingGate) -> None:
    spans, current = Spans(), []

    def answer(_: httpx2.Request) -> httpx2.Response:
        current.append(trace.get_current_span().get_span_context().span_id)
        return httpx2.Response(200, json=says.chat())

    providers.instrument(tracer_provider=spans.provider)
    client = openai.OpenAI(
        api_key="k", http_client=httpx2.Client(transport=httpx2.MockTransport(answer))
    )
    client.chat.completions.create(model="gpt-4o-mini", messages=[])
    providers.uninstrument()

    (span,) = spans.finished()
    assert span.context is not None
    assert current == [span.context.span_id]
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_the_entry_points_name_the_instrumentors() -> None:
    points = {point.name: point for point in entry_points(group="opentelemetry_instrumentor")}

    assert points["llm_cost_openai"].load() is OpenAIInstrumentor
    assert points["llm_cost_anthropic"].load() is AnthropicInstrumentor


def test_a_missing_client_is_a_module_not_found() -> None:
    hidden = (
        "import sys; sys.modules['openai'] = None\n"
        "from llm_cost.providers.openai import OpenAIInstrumentor\n"
        "try:\n    OpenAIInstrumentor().instrument()\n"
        "except ModuleNotFoundError: print('skipped')\n"
        "from llm_cost import providers\n"
        "print('openai' in (patched := providers.instrument()), 'anthropic' in patched)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", hidden], capture_output=True, text=True, check=True
    )

    assert done.stdout == "skipped\nFalse True\n"


def test_loading_an_instrumentor_imports_no_client() -> None:
    loading = (
        "import sys, llm_cost.providers.openai, llm_cost.providers.anthropic\n"
        "print([m for m in ('openai', 'anthropic', 'grpc', 'pydantic') if m in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", loading], capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"


class _NativeSpans(Spans):
    """The spans that the anthropic client makes by itself."""

    def client(self, server: LlmServer) -> anthropic.Anthropic:
        return anthropic.Anthropic(
            api_key="k",
            base_url=server.url,
            max_retries=0,
            open_telemetry={"tracer_provider": self.provider},
        )


def test_the_native_span_gives_way_to_ours_and_comes_back(
    server: LlmServer, gate: RecordingGate
) -> None:
    native, ours = _NativeSpans(), Spans()
    server.will(Answer(body=says.message()))
    client = native.client(server)

    providers.instrument(tracer_provider=ours.provider)
    client.messages.create(**MESSAGE)
    while_patched = len(native.finished())
    providers.uninstrument()
    client.messages.create(**MESSAGE)

    assert while_patched == 0
    assert len(ours.finished()) == len(native.finished()) == 1


def test_the_native_trace_headers_still_go_out_and_name_our_span(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.message()))

    _NativeSpans().client(server).messages.create(**MESSAGE)

    (span,) = spans.finished()
    assert span.context is not None
    assert server.seen[0].headers["traceparent"].split("-")[2] == trace.format_span_id(
        span.context.span_id
    )


def test_native_spans_of_what_we_do_not_measure_stay(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    native = _NativeSpans()
    server.will(Answer(body={"input_tokens": 3}))

    native.client(server).messages.count_tokens(
        model="claude-sonnet-4-6", messages=MESSAGE["messages"]
    )

    assert [span.name for span in native.finished()] == ["anthropic.messages.count_tokens"]
    assert not spans.finished()


@pytest.mark.parametrize(
    ("client_class", "host", "provider"),
    [
        ("OpenAI", "api.openai.com", "openai"),
        ("OpenAI", "eu.api.openai.com", "openai"),
        ("AzureOpenAI", "corp.example", "azure.ai.openai"),
        ("OpenAI", "corp.openai.azure.com", "azure.ai.openai"),
        ("AsyncOpenAI", "api.groq.com", "groq"),
        ("OpenAI", "api.x.ai", "x_ai"),
        ("OpenAI", "127.0.0.1", "openai"),
        ("OpenAI", "evil-api.openai.com.example", "openai"),
        ("AsyncAnthropicBedrock", "bedrock-runtime.us-east-1.amazonaws.com", "aws.bedrock"),
    ],
)
def test_the_provider_is_read_from_host_and_class(
    client_class: str, host: str, provider: str
) -> None:
    assert provider_of(client_class, host, "openai") == provider
