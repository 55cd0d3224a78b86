"""OpenAI's client in front of somebody else: who serves it, and whose price and bill count."""

from types import SimpleNamespace
from typing import Any

import httpx2
import openai
import pytest

from llm_cost.providers.server import server_of
from support import llm_server as says
from support.llm_server import Answer, LlmServer
from support.recording import RecordingGate, Spans

MESSAGES: Any = [{"role": "user", "content": says.PROMPT}]


def _client(host: str, body: Any) -> openai.OpenAI:
    """Return a client whose requests never leave: the host is only a name here."""
    answers = httpx2.MockTransport(lambda _: httpx2.Response(200, json=body))
    return openai.OpenAI(
        api_key="k", base_url=host, http_client=httpx2.Client(transport=answers), max_retries=0
    )


SERVERS = [
    ("https://api.groq.com/openai/v1", "groq", "openai/gpt-oss-120b", "exact"),
    (
        "https://api.together.xyz/v1",
        "together",
        "meta-llama/Llama-3.3-70B-Instruct-Turbo",
        "partial",
    ),
    ("https://api.deepseek.com", "deepseek", "deepseek-chat", "exact"),
    ("https://api.x.ai/v1", "x_ai", "grok-4", "exact"),
    ("https://openrouter.ai/api/v1", "openrouter", "openai/gpt-4o-mini", "exact"),
    (
        "https://api.fireworks.ai/inference/v1",
        "fireworks",
        "accounts/fireworks/models/llama-v3p1-8b-instruct",
        "partial",
    ),
    ("https://api.perplexity.ai", "perplexity", "sonar", "partial"),
    ("https://api.mistral.ai/v1", "mistral_ai", "mistral-small-latest", "exact"),
    ("https://api.cerebras.ai/v1", "cerebras", "llama3.1-8b", "partial"),
    ("https://api.moonshot.ai/v1", "moonshot_ai", "kimi-k2-0905-preview", "exact"),
    ("http://localhost:11434/v1", "ollama", "llama3.2", "partial"),
    ("https://ollama.com/v1", "ollama_cloud", "gpt-oss:120b", "unknown"),
    ("http://localhost:8000/v1", "openai", "Qwen/Qwen3-8B", "unknown"),  # vLLM
    ("https://gateway.example/v1", "openai", "gpt-4o-mini", "exact"),
]


@pytest.mark.parametrize(
    ("url", "provider", "model", "price"),
    [
        pytest.param(
            *server,
            id=server[0],
            marks=pytest.mark.covers("openai, other servers", server[0].split("/")[2]),
        )
        for server in SERVERS
    ],
)
def test_a_server_is_told_by_its_host_and_priced_as_itself(
    url: str, provider: str, model: str, price: str, gate: RecordingGate, spans: Spans
) -> None:
    client = _client(url, says.chat(model=model))

    client.chat.completions.create(model=model, messages=MESSAGES)

    (settled,) = gate.settled
    assert settled.provider == spans.only()["gen_ai.provider.name"] == provider
    assert settled.price_status == price
    assert (settled.actual_nano_usd is None) == (price == "unknown")


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("https://api.groq.com.evil.example/v1", "openai"),
        ("https://notgroq.com/v1", "openai"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://corp.openai.azure.com/openai", "azure.ai.openai"),
        ("https://bedrock-mantle.us-east-1.api.aws/v1", "aws.bedrock"),
        ("https://us-east5-aiplatform.googleapis.com/v1", "gcp.vertex_ai"),
    ],
)
def test_only_the_very_host_counts(host: str, provider: str) -> None:
    class OpenAI(SimpleNamespace):
        __hash__ = object.__hash__

    assert server_of(OpenAI(_base_url=httpx2.URL(host)), "openai").provider == provider


@pytest.mark.covers("openai on Azure", "chat create")
def test_a_deployment_is_priced_by_the_model_that_answers(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.chat()))
    client = openai.AzureOpenAI(
        api_key="k", azure_endpoint=server.url, api_version="2026-01-01", max_retries=0
    )

    client.chat.completions.create(model="our-deployment", messages=MESSAGES)

    assert server.seen[0].path.startswith("/openai/deployments/our-deployment/chat/completions")
    (settled,) = gate.settled
    assert (settled.provider, settled.model) == ("azure.ai.openai", "gpt-4o-mini-2024-07-18")
    assert settled.actual_nano_usd
    assert spans.only()["gen_ai.request.model"] == "our-deployment"


@pytest.mark.covers("openai on Azure", "chat stream")
async def test_a_stream_of_a_deployment_in_the_base_url_is_read(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_events()))
    client = openai.AsyncAzureOpenAI(
        api_key="k",
        azure_endpoint=server.url,
        azure_deployment="our-deployment",
        api_version="2026-01-01",
    )

    stream = await client.chat.completions.create(model="x", messages=MESSAGES, stream=True)
    assert [chunk async for chunk in stream]

    assert gate.settled[0].provider == "azure.ai.openai"
    assert gate.settled[0].usage_source == "reported"


def _with_cost(cost: Any, **more: Any) -> dict[str, Any]:
    return says.chat(model="openai/gpt-4o-mini", usage={**says.CHAT_USAGE, "cost": cost, **more})


@pytest.mark.covers("openai, other servers", "openrouter.ai, with its own bill")
def test_openrouters_own_bill_counts(gate: RecordingGate, spans: Spans) -> None:
    client = _client("https://openrouter.ai/api/v1", _with_cost(0.00014))

    client.chat.completions.create(model="openai/gpt-4o-mini", messages=MESSAGES)

    assert gate.settled[0].actual_nano_usd == 140_000
    assert spans.only()["gen_ai.usage.cost.source"] == "provider"


@pytest.mark.parametrize(
    ("url", "cost", "more"),
    [
        ("https://gateway.example/v1", 7.5, {}),  # who knows in which currency
        ("https://openrouter.ai/api/v1", "much", {}),
        ("https://openrouter.ai/api/v1", -1, {}),
        ("https://openrouter.ai/api/v1", 0.000001, {"is_byok": True}),  # its fee, not the bill
    ],
)
def test_what_is_no_bill_of_the_server_itself_is_left(
    url: str, cost: Any, more: Any, gate: RecordingGate, spans: Spans
) -> None:
    client = _client(url, _with_cost(cost, **more))

    client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)

    assert spans.only().get("gen_ai.usage.cost.source") != "provider"


@pytest.mark.covers("openai, other servers", "api.perplexity.ai, with its own bill")
def test_perplexitys_own_bill_counts(gate: RecordingGate, spans: Spans) -> None:
    cost = {
        "input_tokens_cost": 0.00012,
        "output_tokens_cost": 0.00005,
        "request_cost": 0.006,
        "total_cost": 0.00617,
    }
    usage = {**says.CHAT_USAGE, "cost": cost}
    client = _client("https://api.perplexity.ai", says.chat(model="sonar", usage=usage))

    client.chat.completions.create(model="sonar", messages=MESSAGES)

    assert gate.settled[0].actual_nano_usd == 6_170_000
    assert spans.only()["llm_cost.cost.tools_nano_usd"] == 6_000_000
