"""Who serves a client: read from the host of its base URL.

An unknown host speaks the wire protocol of the client's own provider, so that provider is
assumed: most often it is a company's gateway in front of it. Where it is not (vLLM, LM Studio),
its models have other names, and a name that the provider does not sell has no price: unknown,
never wrong.
"""

from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary


class Server(NamedTuple):
    """The server behind a client."""

    provider: str
    address: str | None
    port: int | None


_BY_HOST: Final = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "api.groq.com": "groq",
    "api.deepseek.com": "deepseek",
    "api.x.ai": "x_ai",
    "api.together.xyz": "together",
    "api.together.ai": "together",
    "openrouter.ai": "openrouter",
    "api.fireworks.ai": "fireworks",
    "api.novita.ai": "novita",
    "api.deepinfra.com": "deepinfra",
    "api.sambanova.ai": "sambanova",
    "integrate.api.nvidia.com": "nvidia",
    "api.studio.nebius.com": "nebius",
    "api.tokenfactory.nebius.com": "nebius",
    "models.github.ai": "github_models",
    "api.minimax.io": "minimax",
    "api.z.ai": "z_ai",
    "open.bigmodel.cn": "zhipuai",
    "dashscope.aliyuncs.com": "alibaba",
    "dashscope-intl.aliyuncs.com": "alibaba",
    "ollama.com": "ollama_cloud",
    "api.mistral.ai": "mistral_ai",
    "api.perplexity.ai": "perplexity",
    "api.cohere.com": "cohere",
    "api.cohere.ai": "cohere",
    "api.moonshot.ai": "moonshot_ai",
    "api.moonshot.cn": "moonshot_ai",
    "api.cerebras.ai": "cerebras",
    "router.huggingface.co": "huggingface",
    "generativelanguage.googleapis.com": "gcp.gemini",
}
_BY_DOMAIN: Final = (
    (".openai.com", "openai"),  # data residency: eu.api.openai.com
    (".openai.azure.com", "azure.ai.openai"),
    (".cognitiveservices.azure.com", "azure.ai.openai"),
    (".services.ai.azure.com", "azure.ai.inference"),
    (".aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("-aiplatform.googleapis.com", "gcp.vertex_ai"),
    (".amazonaws.com", "aws.bedrock"),
    (".api.aws", "aws.bedrock"),
    (".x.ai", "x_ai"),
)
_BY_PORT: Final = {11434: "ollama"}  # which serves OpenAI's protocol beside its own
_BY_CLIENT: Final = (
    ("AzureOpenAI", "azure.ai.openai"),
    ("Bedrock", "aws.bedrock"),
    ("Vertex", "gcp.vertex_ai"),
    ("Foundry", "azure.ai.inference"),
)
_known: WeakKeyDictionary[Any, tuple[Any, Server]] = WeakKeyDictionary()


def server_of(client: Any, default_provider: str) -> Server:
    """Return the server of `client`, remembered until its base URL is another."""
    base_url = client._base_url
    remembered = _known.get(client)
    if remembered is not None and remembered[0] is base_url:
        return remembered[1]
    host = base_url.host or None
    port = base_url.port or {"https": 443, "http": 80}.get(base_url.scheme)
    provider = provider_of(type(client).__name__, host or "", default_provider)
    if provider == default_provider and port is not None:
        provider = _BY_PORT.get(port, provider)
    server = Server(provider, host, port)
    _known[client] = (base_url, server)
    return server


def provider_of(client_class: str, host: str, default_provider: str) -> str:
    """Return the provider by its host, else by the client's class, else the default."""
    if host in _BY_HOST:
        return _BY_HOST[host]
    for domain, provider in _BY_DOMAIN:
        if host.endswith(domain):
            return provider
    for part, provider in _BY_CLIENT:
        if part in client_class:
            return provider
    return default_provider
