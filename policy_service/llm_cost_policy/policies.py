"""What a policy says, as values: tiers, overrides, and the rule for one user. Pure.

How a policy is written down stands in `policy_document.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from zoneinfo import ZoneInfo

from llm_cost.policy.decision import Action, OutagePolicy
from llm_cost_policy.periods import Window


class UnknownPriceMode(Enum):
    """What a call without a known price means for a limit."""

    DENY = "deny"
    ALLOW = "allow"
    CEILING = "ceiling"


@dataclass(frozen=True, slots=True)
class UnknownPrice:
    """Rule for calls whose price is unknown; under CEILING each counts as `ceiling_nano_usd`."""

    mode: UnknownPriceMode = UnknownPriceMode.ALLOW
    ceiling_nano_usd: int = 0


@dataclass(frozen=True, slots=True)
class Tier:
    """One plan. `limit_nano_usd` None: no limit; `plan_price_nano_usd` None: not told."""

    name: str
    limit_nano_usd: int | None
    action: Action  # WARN, BLOCK or DRY_RUN, when over the limit
    warn_at_percents: tuple[int, ...]  # ascending
    plan_price_nano_usd: int | None
    unknown_price: UnknownPrice
    on_unavailable: OutagePolicy


@dataclass(frozen=True, slots=True)
class Override:
    """A limit for one user instead of the tier's, until it expires (0: never)."""

    user_id: str
    limit_nano_usd: int | None  # None: no limit
    action: Action | None  # None: the tier's
    reason: str
    expires_unix_ms: int
    author: str
    created_unix_ms: int

    def applies(self, at_unix_ms: int) -> bool:
        """Whether it has not expired."""
        return self.expires_unix_ms == 0 or at_unix_ms < self.expires_unix_ms


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for one user: where it comes from, the limit and what happens beyond it."""

    name: str  # "override:<user>" | "tier:<tier>" | "default:<claimed tier>"
    note: str  # for the reason: where the rule comes from, if that needs saying
    tier: str  # as booked
    limit_nano_usd: int | None
    action: Action
    warn_at_percents: tuple[int, ...]
    unknown_price: UnknownPrice
    on_unavailable: OutagePolicy


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy document, read."""

    zone: ZoneInfo
    window: Window
    default_tier: str
    tiers: Mapping[str, Tier]
    rules: Mapping[str, Rule]  # by tier, made once: most calls need no more

    def rule_of_tier(self, claimed_tier: str) -> Rule:
        """Return the rule of `claimed_tier`; the default tier's where it is empty or unknown."""
        rule = self.rules.get(claimed_tier or self.default_tier)
        if rule is not None:
            return rule
        return rule_of(
            self.tiers[self.default_tier],
            name=f"default:{claimed_tier}",
            note=f"tier {claimed_tier!r} is not in the policy, so {self.default_tier!r} applies",
            booked_tier=claimed_tier,
        )


def rule_of(tier: Tier, *, name: str, note: str, booked_tier: str) -> Rule:
    """Return what `tier` says, under the given name."""
    return Rule(
        name,
        note,
        booked_tier,
        tier.limit_nano_usd,
        tier.action,
        tier.warn_at_percents,
        tier.unknown_price,
        tier.on_unavailable,
    )


@dataclass(frozen=True, slots=True)
class Rules:
    """The policy that runs, its version, and the overrides by user."""

    policy: Policy
    version: int
    overrides: Mapping[str, Override]

    def rule_for(self, user_id: str, claimed_tier: str, at_unix_ms: int) -> Rule:
        """Resolve override before tier before default tier."""
        rule = self.policy.rule_of_tier(claimed_tier)
        override = self.overrides.get(user_id)
        if override is None or not override.applies(at_unix_ms):
            return rule
        return Rule(
            f"override:{user_id}",
            f"override ({override.reason})" if override.reason else "override",
            rule.tier,
            override.limit_nano_usd,
            override.action or rule.action,
            rule.warn_at_percents,
            rule.unknown_price,
            rule.on_unavailable,
        )
