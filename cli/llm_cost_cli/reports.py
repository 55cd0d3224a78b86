"""Spend by user and by tier: protobuf in, a table or stable JSON out. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost_cli.terminal import Column, Style, bar, exact_usd, left, table, usd

ACTION_NAMES = {
    pb.ACTION_UNSPECIFIED: "",
    pb.ACTION_ALLOW: "allow",
    pb.ACTION_WARN: "warn",
    pb.ACTION_BLOCK: "block",
    pb.ACTION_DRY_RUN: "dry_run",
}


def money(**amounts_nano_usd: int | None) -> dict[str, Any]:
    """Return each amount twice: `NAME_nano_usd` as an integer, `NAME_usd` as exact text."""
    written: dict[str, Any] = {}
    for name, nano_usd in amounts_nano_usd.items():
        written[f"{name}_nano_usd"] = nano_usd
        written[f"{name}_usd"] = exact_usd(nano_usd)
    return written


def decision_counts(counts: pb.DecisionCounts) -> dict[str, int]:
    """Return the four counts by name."""
    return {
        "allow": counts.allow,
        "warn": counts.warn,
        "block": counts.block,
        "dry_run": counts.dry_run,
    }


def user_document(user: pb.UserUsage) -> dict[str, Any]:
    """Return one user for a program."""
    return {
        "user_id": user.user_id,
        "tier": user.tier,
        "period": user.period,
        "calls": user.calls,
        "unpriced_calls": user.unpriced_calls,
        "action": ACTION_NAMES[user.action],
        "rule": user.rule,
        "decisions": decision_counts(user.decisions),
        "last_call_unix_ms": user.last_call_unix_ms,
        "resets_at_unix_ms": user.resets_at_unix_ms,
        **money(spent=user.spent_nano_usd, held=user.held_nano_usd, limit=user_limit(user)),
    }


def user_limit(user: pb.UserUsage) -> int | None:
    """Return the limit, None where there is none."""
    return user.limit_nano_usd if user.HasField("limit_nano_usd") else None


def users_table(users: Iterable[pb.UserUsage], style: Style) -> str:
    """Return users in the order given, with what they may spend."""
    columns = [
        Column("#"), left("user"), left("tier"), Column("spent"), Column("limit"),
        left("used"), left("when over"), Column("calls"),
        Column("warned"), Column("blocked"), Column("dry run"),
    ]  # fmt: skip
    rows = [
        [
            str(rank), user.user_id, user.tier, usd(user.spent_nano_usd), usd(user_limit(user)),
            bar(user.spent_nano_usd, user_limit(user)), _when_over(user), f"{user.calls:,}",
            _count(user.decisions.warn), _count(user.decisions.block),
            _count(user.decisions.dry_run),
        ]
        for rank, user in enumerate(users, 1)
    ]  # fmt: skip
    return table(columns, rows, style)


def _when_over(user: pb.UserUsage) -> str:
    own = " (override)" if user.rule.startswith("override:") else ""
    return ACTION_NAMES[user.action].replace("_", " ") + own


def _count(number: int) -> str:
    """A zero would hide the few numbers that matter."""
    return f"{number:,}" if number else "·"


def tier_limit(tier: pb.TierUsage) -> int | None:
    """Return the limit of each user of the tier, None where there is none."""
    return tier.limit_nano_usd if tier.HasField("limit_nano_usd") else None


def tier_revenue(tier: pb.TierUsage) -> int | None:
    """Return plan price times active users, None where the plan has no price."""
    if not tier.HasField("plan_price_nano_usd"):
        return None
    return tier.plan_price_nano_usd * tier.users


def tier_document(tier: pb.TierUsage) -> dict[str, Any]:
    """Return one tier for a program."""
    revenue = tier_revenue(tier)
    return {
        "tier": tier.tier,
        "users": tier.users,
        "calls": tier.calls,
        "unpriced_calls": tier.unpriced_calls,
        "action": ACTION_NAMES[tier.action],
        "users_at_80_percent": tier.users_at_80_percent,
        "users_at_100_percent": tier.users_at_100_percent,
        "decisions": decision_counts(tier.decisions),
        **money(
            spent=tier.spent_nano_usd,
            avg_per_call=tier.avg_per_call_nano_usd,
            avg_per_user=tier.avg_per_user_nano_usd,
            p50_per_user=tier.p50_per_user_nano_usd,
            p95_per_user=tier.p95_per_user_nano_usd,
            max_per_user=tier.max_per_user_nano_usd,
            limit=tier_limit(tier),
            plan_price=tier.plan_price_nano_usd if revenue is not None else None,
            margin=revenue - tier.spent_nano_usd if revenue is not None else None,
        ),
    }


def tiers_table(tiers: Sequence[pb.TierUsage], style: Style) -> str:
    """Return what each tier costs to serve, and what is left of its price."""
    columns = [
        left("tier"), Column("users"), Column("calls"), Column("spend"), Column("avg/call"),
        Column("avg/user"), Column("p95/user"), Column("limit"),
        left("when over"), left("avg of limit"), Column("≥80%"), Column("price"),
        Column("margin"),
    ]  # fmt: skip
    return table(columns, [_tier_row(tier) for tier in tiers], style)


def unpriced_note(rows: Iterable[pb.UserUsage] | Iterable[pb.TierUsage]) -> str:
    """Return a line about calls that the sums lack, "" where they lack none."""
    calls = sum(row.unpriced_calls for row in rows)
    if not calls:
        return ""
    have = "call has" if calls == 1 else "calls have"
    return f"! {calls:,} {have} no known price: not in these sums"


def _tier_row(tier: pb.TierUsage) -> list[str]:
    revenue = tier_revenue(tier)
    limit = tier_limit(tier)
    return [
        tier.tier, f"{tier.users:,}", f"{tier.calls:,}", usd(tier.spent_nano_usd),
        usd(tier.avg_per_call_nano_usd, places=4), usd(tier.avg_per_user_nano_usd),
        usd(tier.p95_per_user_nano_usd), usd(limit),
        ACTION_NAMES[tier.action].replace("_", " "), bar(tier.avg_per_user_nano_usd, limit),
        f"{tier.users_at_80_percent:,}",
        usd(tier.plan_price_nano_usd if revenue is not None else None),
        usd(revenue - tier.spent_nano_usd if revenue is not None else None),
    ]  # fmt: skip
