"""What users and tiers cost: the ledger's sums joined with the rules that hold for them."""

import base64
import json
from dataclasses import dataclass
from typing import Final

from llm_cost.money import round_half_even
from llm_cost.policy.decision import Action
from llm_cost_policy.ledger import Counts, Ledger, TierPeriod, UserPeriod
from llm_cost_policy.periods import Period
from llm_cost_policy.policies import Rule, Rules
from llm_cost_policy.validation import InvalidRequest

_NEAR_PERCENT: Final = 80
_FULL_PERCENT: Final = 100


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user's counter, the rule that holds for them now, and the period."""

    user: UserPeriod
    rule: Rule
    period: Period


@dataclass(frozen=True, slots=True)
class TierRow:
    """A tier's sums and what its plan says."""

    sums: TierPeriod
    avg_per_call_nano_usd: int
    avg_per_user_nano_usd: int
    limit_nano_usd: int | None
    action: Action
    plan_price_nano_usd: int | None
    users_at_80_percent: int
    users_at_100_percent: int


def user_row(ledger: Ledger, user_id: str, period: Period) -> UserRow:
    """Return one user's row, an empty one for a user who made no call."""
    default_tier = ledger.rules.policy.default_tier
    empty = UserPeriod(user_id, default_tier, 0, 0, 0, 0, Counts(), 0)
    return _with_rule(ledger, ledger.user(user_id, period.name) or empty, period)


def ranked_users(
    ledger: Ledger, period: Period, *, tier: str, page_token: str, page_size: int
) -> tuple[list[UserRow], str]:
    """Return a page of users, highest spend first, and the token of the next page ("": none)."""
    after = _read_token(page_token, period.name, tier) if page_token else None
    # One more than asked for tells whether there is another page.
    users = ledger.users(period.name, tier=tier, after=after, at_most=page_size + 1)
    more = len(users) > page_size
    page = users[:page_size]
    token = _token(period.name, tier, page[-1]) if more else ""
    return [_with_rule(ledger, user, period) for user in page], token


def tier_rows(ledger: Ledger, period: Period) -> list[TierRow]:
    """Return every tier of the policy, also without users, then those only callers know."""
    rules = ledger.rules
    sums = {tier.tier: tier for tier in ledger.tiers(period.name)}
    names = [*rules.policy.tiers, *(name for name in sums if name not in rules.policy.tiers)]
    overridden = _overridden_users(ledger, rules, period)
    return [
        _tier_row(ledger, period, sums.get(name) or _empty(name), overridden.get(name, []))
        for name in names
    ]


def _with_rule(ledger: Ledger, user: UserPeriod, period: Period) -> UserRow:
    rule = ledger.rules.rule_for(user.user_id, user.tier, ledger.now_unix_ms())
    return UserRow(user, rule, period)


def _empty(tier: str) -> TierPeriod:
    return TierPeriod(tier, 0, 0, 0, 0, 0, 0, 0, Counts())


def _overridden_users(
    ledger: Ledger, rules: Rules, period: Period
) -> dict[str, list[tuple[int, int | None]]]:
    """Return (spend, own limit) of the users under an override, by tier."""
    now = ledger.now_unix_ms()
    by_tier: dict[str, list[tuple[int, int | None]]] = {}
    for override in rules.overrides.values():
        if override.applies(now) and (user := ledger.user(override.user_id, period.name)):
            found = (user.posted_nano_usd, override.limit_nano_usd)
            by_tier.setdefault(user.tier, []).append(found)
    return by_tier


def _tier_row(
    ledger: Ledger,
    period: Period,
    sums: TierPeriod,
    overridden: list[tuple[int, int | None]],
) -> TierRow:
    policy = ledger.rules.policy
    rule = policy.rule_of_tier(sums.tier)
    tier = policy.tiers.get(sums.tier)

    def users_over(percent: int) -> int:
        # By the tier's limit first, then each overridden user by their own.
        count = 0
        if rule.limit_nano_usd is not None:
            threshold = _share(rule.limit_nano_usd, percent)
            count = ledger.users_at(period.name, sums.tier, threshold)
            count -= sum(spent >= threshold for spent, _ in overridden)
        return count + sum(
            limit is not None and spent >= _share(limit, percent) for spent, limit in overridden
        )

    return TierRow(
        sums,
        avg_per_call_nano_usd=_average(sums.posted_nano_usd, sums.calls),
        avg_per_user_nano_usd=_average(sums.posted_nano_usd, sums.users),
        limit_nano_usd=rule.limit_nano_usd,
        action=rule.action,
        plan_price_nano_usd=tier.plan_price_nano_usd if tier else None,
        users_at_80_percent=users_over(_NEAR_PERCENT),
        users_at_100_percent=users_over(_FULL_PERCENT),
    )


def _average(total_nano_usd: int, count: int) -> int:
    return round_half_even(total_nano_usd, count) if count else 0


def _share(limit_nano_usd: int, percent: int) -> int:
    """The smallest amount that is `percent` of the limit or more."""
    return -(-limit_nano_usd * percent // 100)


def _token(period: str, tier: str, last: UserPeriod) -> str:
    place = json.dumps([period, tier, last.posted_nano_usd, last.user_id])
    return base64.urlsafe_b64encode(place.encode()).decode()


def _read_token(token: str, period: str, tier: str) -> tuple[int, str]:
    try:
        of_period, of_tier, spent, user_id = json.loads(base64.urlsafe_b64decode(token))
        whole = isinstance(spent, int) and 0 <= spent < 2**63 and isinstance(user_id, str)
    except (ValueError, TypeError):
        whole = False
    if not whole or (of_period, of_tier) != (period, tier):
        raise InvalidRequest(
            f"page_token: {token[:40]!r} is not of this list; "
            "send it with the period and tier that it came with, or leave it out"
        )
    return spent, user_id
