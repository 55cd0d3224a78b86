"""List where a second public source disagrees with the prices in use.

    python tools/compare_prices.py model_prices_and_context_window.json [--at 2026-11-24]

The file is the map that litellm publishes (https://github.com/BerriAI/litellm); give it
yourself, nothing is fetched. It has one price per model and no dates, so that it can be asked
for today only. Who is right is for a reader to find out: the exit code is 0 either way.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

from llm_cost.pricing import in_use
from llm_cost.pricing.comparison import percent
from llm_cost.pricing.price_list import Line, offers

PROVIDERS: Final = {
    "openai": "openai",
    "text-completion-openai": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
    "mistral": "mistral",
    "deepseek": "deepseek",
}
"""Their name and ours."""

TIERS: Final = {"": "standard", "_batches": "batch", "_flex": "flex", "_priority": "priority"}
FIELDS: Final = {
    "input_cost_per_token": "input_mtok",
    "output_cost_per_token": "output_mtok",
    "cache_read_input_token_cost": "cache_read_mtok",
    "cache_creation_input_token_cost": "cache_write_mtok",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h_mtok",
    "input_cost_per_audio_token": "input_audio_mtok",
    "output_cost_per_audio_token": "output_audio_mtok",
}
STEPS: Final = {
    "": 0,
    **{f"_above_{k}k_tokens": k * 1_000 for k in (100, 128, 200, 256, 272)},
}


class Disagreement(NamedTuple):
    """One rate of which the two sources say different things; None for what one does not say."""

    provider: str
    model: str
    service_tier: str
    price: str
    above_input_tokens: int
    ours: str | None
    theirs: str | None


def theirs_of(entry: Mapping[str, Any], tier_suffix: str) -> dict[tuple[str, int], str]:
    """Return their rates of a tier per million tokens, by price key and step."""
    found = {}
    for field, key in FIELDS.items():
        for step, above in STEPS.items():
            cost = entry.get(f"{field}{step}{tier_suffix}")
            if cost is not None:
                found[key, above] = _per_million(cost)
    return found


def _per_million(cost: Any) -> str:
    # They publish floats per token: the text is what somebody wrote.
    text = format(Decimal(str(cost)).scaleb(6), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def ours_of(provider: str, model: str, tier: str, at_s: int) -> dict[tuple[str, int], str] | None:
    """Return our rates of a tier in the same form; None for what is not listed."""
    listed = offers(in_use(), provider=provider, model=model, service_tier=tier, at_s=at_s)
    if not listed or listed[0].status != "exact":
        return None
    lines: tuple[Line, ...] = listed[0].lines
    return {
        (line.key, line.above_input_tokens): line.usd
        for line in lines
        if line.key in FIELDS.values()
    }


def _models(prices: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield provider, model and entry of the models that both sources may list, each once."""
    seen = set()
    for name, entry in sorted(prices.items()):
        if not isinstance(entry, Mapping) or entry.get("litellm_provider") not in PROVIDERS:
            continue
        provider, model = PROVIDERS[entry["litellm_provider"]], name.rpartition("/")[2]
        # A region, a size or a reseller before the name makes another offer of it.
        plain = name in (model, f"{entry['litellm_provider']}/{model}")
        if plain and (provider, model) not in seen and "embedding" not in model:
            seen.add((provider, model))
            yield provider, model, entry


def _differ(ours: str | None, theirs: str | None) -> bool:
    # Floats end in noise: less than a twentieth of a percent is one and the same price.
    return ours is None or theirs is None or percent(ours, theirs) not in ("+0.0%", "-0.0%")


def disagreements(prices: Mapping[str, Any], at_s: int) -> Iterator[Disagreement]:
    """Yield what the two sources say differently about the models that both list.

    A rate that only one of them has is left out, but for a long-context step.
    """
    for provider, model, entry in _models(prices):
        for suffix, tier in TIERS.items():
            ours, theirs = ours_of(provider, model, tier, at_s), theirs_of(entry, suffix)
            if ours is None or not theirs:
                continue
            for key, above in sorted({*ours, *theirs}):
                pair = ours.get((key, above)), theirs.get((key, above))
                if (above or None not in pair) and _differ(*pair):
                    yield Disagreement(provider, model, tier, key, above, *pair)


def main() -> None:
    """Print the disagreements as a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--at", type=date.fromisoformat, default=datetime.now(UTC).date())
    arguments = parser.parse_args()
    try:
        prices = json.loads(arguments.file.read_text())
    except (OSError, ValueError) as error:
        raise SystemExit(f"{arguments.file}: {error}") from None
    if not isinstance(prices, dict):
        raise SystemExit(f"{arguments.file} is not an object of models, as litellm publishes it")
    noon = datetime.combine(arguments.at, datetime.min.time(), UTC).timestamp()
    found = list(disagreements(prices, int(noon) + 12 * 3600))
    print("| provider | model | tier | price | above tokens | ours | theirs | |")
    print("|---|---|---|---|---|---|---|---|")
    for each in found:
        change = (percent(each.ours, each.theirs) or "") if each.ours and each.theirs else ""
        cells = ["-" if part is None else str(part) for part in each]
        print(f"| {' | '.join([*cells, change])} |")
    print(f"\n{len(found)} rates of {len({each[:2] for each in found})} models disagree")


if __name__ == "__main__":
    main()
