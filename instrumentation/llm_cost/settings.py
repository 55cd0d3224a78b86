"""The one reader of the library's environment. Everything else takes a `Settings`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from llm_cost.errors import ConfigurationError, InvalidAmount
from llm_cost.money import parse_usd
from llm_cost.policy.decision import OutageMode, OutagePolicy

POLICY_ENDPOINT: Final = "LLM_COST_POLICY_ENDPOINT"
POLICY_DEADLINE_MS: Final = "LLM_COST_POLICY_DEADLINE_MS"
ON_UNAVAILABLE: Final = "LLM_COST_ON_UNAVAILABLE"
ESTIMATE: Final = "LLM_COST_ESTIMATE"
ESTIMATE_MAX_OUTPUT_TOKENS: Final = "LLM_COST_ESTIMATE_MAX_OUTPUT_TOKENS"
IDENTITY: Final = "LLM_COST_IDENTITY"
PRICES: Final = "LLM_COST_PRICES"
PRICES_ACCOUNT: Final = "LLM_COST_PRICES_ACCOUNT"

_DEADLINE_MS_LIMIT: Final = 60_000
_OUTPUT_TOKENS_LIMIT: Final = 10_000_000
EVERY_OTHER_TIER: Final = ""


def _blocked_everywhere() -> dict[str, OutagePolicy]:
    # A hard cap that a restart of the policy service could open would not be one.
    return {EVERY_OTHER_TIER: OutagePolicy(OutageMode.BLOCK)}


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything an operator can say to the library by the environment.

    policy_endpoint: "host:port" of the policy service; None: attribute and price only.
    policy_deadline_s: how long one call may wait for a decision.
    on_unavailable: outage rule by tier until the service has told its own; the key
        `EVERY_OTHER_TIER` speaks for the rest.
    worst_case_estimates: hold the model's largest output where the caller gives no limit.
    estimate_max_output_tokens: cap of an estimate that rests on what was seen.
    """

    policy_endpoint: str | None = None
    policy_deadline_s: float = 0.05
    on_unavailable: Mapping[str, OutagePolicy] = field(default_factory=_blocked_everywhere)
    worst_case_estimates: bool = False
    estimate_max_output_tokens: int = 4_096

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Return the settings; a value that cannot be read raises `ConfigurationError`."""
        env = os.environ if environment is None else environment
        return cls(
            policy_endpoint=env.get(POLICY_ENDPOINT, "").strip() or None,
            policy_deadline_s=_whole(env, POLICY_DEADLINE_MS, 50, _DEADLINE_MS_LIMIT) / 1000,
            on_unavailable=_outage_rules(env.get(ON_UNAVAILABLE, "")),
            worst_case_estimates=_estimate_is_worst_case(env.get(ESTIMATE, "observed")),
            estimate_max_output_tokens=_whole(
                env, ESTIMATE_MAX_OUTPUT_TOKENS, 4_096, _OUTPUT_TOKENS_LIMIT
            ),
        )

    def outage_policy(self, tier: str) -> OutagePolicy:
        """Return the outage rule that the environment gives for `tier`."""
        return self.on_unavailable.get(tier) or self.on_unavailable[EVERY_OTHER_TIER]


def names_a_policy_endpoint(environment: Mapping[str, str] | None = None) -> bool:
    """Return whether limits are asked for, even where the rest cannot be read."""
    env = os.environ if environment is None else environment
    return bool(env.get(POLICY_ENDPOINT, "").strip())


def identity_text(environment: Mapping[str, str] | None = None) -> str:
    """Return where requests carry who pays, as `llm_cost.identity_source` reads it, or ""."""
    env = os.environ if environment is None else environment
    return env.get(IDENTITY, "").strip()


def prices_path(environment: Mapping[str, str] | None = None) -> Path | None:
    """Return the price table, price book or folder of both to use; None: the bundled table."""
    env = os.environ if environment is None else environment
    text = env.get(PRICES, "").strip()
    return Path(text) if text else None


def prices_account(environment: Mapping[str, str] | None = None) -> str | None:
    """Return whose contract the price book is read for; None: the rules for everybody."""
    env = os.environ if environment is None else environment
    return env.get(PRICES_ACCOUNT, "").strip() or None


def _whole(env: Mapping[str, str], name: str, default: int, largest: int) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= largest:
        raise ConfigurationError(f"{name}={text!r} is not a whole number from 1 to {largest}")
    return int(text)


def _estimate_is_worst_case(text: str) -> bool:
    if text not in ("observed", "worst_case"):
        raise ConfigurationError(f"{ESTIMATE}={text!r} is neither 'observed' nor 'worst_case'")
    return text == "worst_case"


def _outage_rules(text: str) -> dict[str, OutagePolicy]:
    """Read "block", or "free=block, pro=allow_up_to:0.25, enterprise=allow"."""
    rules = _blocked_everywhere()
    for part in filter(None, (part.strip() for part in text.split(","))):
        tier, _, rule = part.rpartition("=")
        mode, _, amount = rule.partition(":")
        try:
            allowance_nano_usd = parse_usd(amount) if mode == "allow_up_to" else 0
            rules[tier.strip()] = OutagePolicy(OutageMode(mode), allowance_nano_usd)
        except (InvalidAmount, ValueError):
            raise ConfigurationError(
                f"{ON_UNAVAILABLE}: {part!r} is not 'block', 'allow' or 'allow_up_to:AMOUNT', "
                "alone or as TIER=RULE"
            ) from None
    return rules
