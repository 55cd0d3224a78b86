"""What the demo found: three independent sums, every user, and whether they agree. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llm_cost.money import format_usd
from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost_cli.reports import tier_document, user_document, user_limit

TOP_USERS: Final = 10


@dataclass(frozen=True, slots=True)
class Sums:
    """The same money, seen from three sides, and how many calls each side saw."""

    served_nano_usd: int
    served_calls: int
    ledger_nano_usd: int
    ledger_calls: int
    spans_nano_usd: int
    spans: int

    @property
    def agree(self) -> bool:
        """Whether all three are equal, to the nano-USD and the call."""
        money = {self.served_nano_usd, self.ledger_nano_usd, self.spans_nano_usd}
        calls = {self.served_calls, self.ledger_calls, self.spans}
        return len(money) == len(calls) == 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run. `users` are all of them, the highest spend first."""

    sums: Sums
    tiers: Sequence[pb.TierUsage]
    users: Sequence[pb.UserUsage]
    policy_version: int
    period: str
    wanted_calls: int
    seen_blocked: int  # by the people who were refused
    failed_calls: int
    first_failure: str
    provider_refusals: int
    seconds: float

    @property
    def decisions(self) -> dict[str, int]:
        """The decisions of every tier, added up."""
        names = ("allow", "warn", "block", "dry_run")
        return {name: sum(getattr(t.decisions, name) for t in self.tiers) for name in names}

    def users_over_a_block_limit(self) -> list[pb.UserUsage]:
        """Return those who spent more than a limit that blocks: there must be none."""
        return [
            user
            for user in self.users
            if user.action == pb.ACTION_BLOCK
            and (limit := user_limit(user)) is not None
            and user.spent_nano_usd > limit
        ]

    def findings(self) -> list[str]:
        """Return what is wrong, in sentences; nothing, in a good run."""
        return list(self._findings())

    def _findings(self) -> Iterator[str]:
        sums = self.sums
        if not sums.agree:
            yield (
                f"the sums differ: provider {_exactly(sums.served_nano_usd)} in "
                f"{sums.served_calls} calls, ledger {_exactly(sums.ledger_nano_usd)} in "
                f"{sums.ledger_calls}, spans {_exactly(sums.spans_nano_usd)} in {sums.spans}"
            )
        if self.failed_calls:
            yield f"{self.failed_calls} calls failed; the first: {self.first_failure}"
        for user in self.users_over_a_block_limit():
            yield (
                f"{user.user_id} spent {_exactly(user.spent_nano_usd)}, over the limit of "
                f"{_exactly(user.limit_nano_usd)} that should block"
            )
        if self.seen_blocked != self.decisions["block"]:
            yield (
                f"the application refused {self.seen_blocked} calls, the policy service counts "
                f"{self.decisions['block']}"
            )
        for name, meaning in (("warn", "warned"), ("block", "blocked"), ("dry_run", "dry-run")):
            if not self.decisions[name]:
                yield f"no call was {meaning}, though the story has people over their limits"

    def document(self) -> dict[str, Any]:
        """Return everything for a program."""
        sums = self.sums
        return {
            "served_nano_usd": sums.served_nano_usd,
            "ledger_nano_usd": sums.ledger_nano_usd,
            "spans_nano_usd": sums.spans_nano_usd,
            "served_calls": sums.served_calls,
            "ledger_calls": sums.ledger_calls,
            "spans": sums.spans,
            "users": len(self.users),
            "calls": self.wanted_calls,
            "failed_calls": self.failed_calls,
            "provider_refusals": self.provider_refusals,
            "users_over_a_block_limit": len(self.users_over_a_block_limit()),
            "decisions": self.decisions,
            "tiers": [tier_document(tier) for tier in self.tiers],
            "top_users": [user_document(user) for user in self.users[:TOP_USERS]],
            "period": self.period,
            "policy_version": self.policy_version,
            "findings": self.findings(),
            "seconds": round(self.seconds, 1),
        }


def _exactly(nano_usd: int) -> str:
    return format_usd(nano_usd, places=9)
