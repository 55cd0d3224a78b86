"""Names as callers write them: providers, models, service tiers and regions."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Final

PROVIDER_ALIASES: Final = {
    # The values of gen_ai.provider.name, and of gen_ai.system before it, that name a provider
    # in other words than the table does.
    "aws.bedrock": "aws",
    "aws_bedrock": "aws",
    "bedrock": "aws",
    "az.ai.inference": "azure",
    "az.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "azure_openai": "azure",
    "fireworks_ai": "fireworks",
    "fireworks-ai": "fireworks",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "gemini": "google",
    "vertex_ai": "google",
    "mistral_ai": "mistral",
    "moonshot_ai": "moonshotai",
    "together_ai": "together",
    "x_ai": "x-ai",
    "x.ai": "x-ai",
    "xai": "x-ai",
    "z_ai": "zai",
}
"""Provider names that the table's own clauses miss, or would give to somebody else:
"azure.ai.openai" contains "openai", yet Azure sends the bill. `ibm.watsonx.ai` has no prices.
"""

STANDARD_TIERS: Final = frozenset(
    {"", "auto", "default", "on_demand", "standard", "standard_only", "traffic_type_unspecified"}
)
"""What providers call the tier that the plain price is for."""

STANDARD_REGIONS: Final = frozenset({"", "default", "global", "not_available", "standard"})

_TIER_CONTEXTS: Final[dict[str, Mapping[str, str]]] = {
    "batch": {"processing": "batch"},
    "fast": {"speed": "fast", "service_tier": "fast"},
    "on_demand_flex": {"service_tier": "flex"},
    "on_demand_priority": {"service_tier": "priority"},
}
"""Where the table asks for a tier in other words than a response reports it."""

_COMPACT_DATE: Final = re.compile(r"-(20\d\d)(\d\d)(\d\d)(?=-|:|$)")


def tier_context(service_tier: str | None) -> Mapping[str, str]:
    """Return what a variant must ask for to be this tier's price; empty for the standard one."""
    tier = (service_tier or "").strip().lower()
    if tier in STANDARD_TIERS:
        return {}
    return _TIER_CONTEXTS.get(tier, {"service_tier": tier})


def region_asked(region: str | None) -> str:
    """Return the region that somebody chose, or "" where none was."""
    name = (region or "").strip().lower()
    return "" if name in STANDARD_REGIONS else name


def _dashed(match: re.Match[str]) -> str:
    year, month, day = match.groups()
    try:
        return f"-{date(int(year), int(month), int(day)).isoformat()}"
    except ValueError:
        return match.group()


def model_spellings(provider: str, model: str) -> list[str]:
    """Return the spellings under which a model is looked up, the caller's own first.

    Google's resource names ("models/x", "publishers/google/models/x") also by their last part;
    compact dates ("-20251211") also with dashes.
    """
    spellings = [model.lower()]
    if provider == "google" and "models/" in spellings[0]:
        spellings.append(spellings[0].rpartition("models/")[2])
    dashed = [_COMPACT_DATE.sub(_dashed, each) for each in spellings]
    return list(dict.fromkeys(spellings + dashed))


def split_litellm(provider: str, model: str) -> tuple[str, str]:
    """Return the provider and model behind litellm's "provider/model"."""
    if provider != "litellm" or "/" not in model:
        return provider, model
    behind, _, rest = model.partition("/")
    return behind, rest
