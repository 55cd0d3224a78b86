"""`llm-cost users` and `llm-cost tiers`."""

import argparse
import json
from collections.abc import Iterator
from typing import Final

from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost.policy.v1.policy_pb2_grpc import PolicyServiceStub
from llm_cost_cli import channels
from llm_cost_cli.channels import DEADLINE_S
from llm_cost_cli.reports import (
    tier_document,
    tiers_table,
    unpriced_note,
    user_document,
    users_table,
)
from llm_cost_cli.terminal import Style

_PAGE_SIZE: Final = 1_000  # the most that one answer holds


def users(arguments: argparse.Namespace) -> None:
    """Print users, the highest spend first."""
    with channels.policy(arguments.policy_endpoint) as stub:
        ranked = list(
            ranked_users(
                stub, tier=arguments.tier or "", period=arguments.period or "", top=arguments.top
            )
        )
    if arguments.json:
        print(json.dumps({"users": [user_document(user) for user in ranked]}, indent=2))
        return
    style = Style.detect()
    print(users_table(ranked, style) if ranked else _NOBODY)
    _print_note(unpriced_note(ranked), style)


def ranked_users(
    stub: PolicyServiceStub, *, tier: str = "", period: str = "", top: int
) -> Iterator[pb.UserUsage]:
    """Yield up to `top` users, the highest spend first, page by page."""
    token = ""
    while top > 0:
        request = pb.ListUsersRequest(
            tier=tier, period=period, page_size=min(top, _PAGE_SIZE), page_token=token
        )
        page = stub.ListUsers(request, timeout=DEADLINE_S)
        yield from page.users
        top -= len(page.users)
        token = page.next_page_token
        if not token:
            return


def tiers(arguments: argparse.Namespace) -> None:
    """Print what each tier costs to serve."""
    with channels.policy(arguments.policy_endpoint) as stub:
        request = pb.TierReportRequest(period=arguments.period or "")
        report = stub.TierReport(request, timeout=DEADLINE_S)
    if arguments.json:
        document = {
            "period": report.period,
            "policy_version": report.policy_version,
            "tiers": [tier_document(tier) for tier in report.tiers],
        }
        print(json.dumps(document, indent=2))
        return
    style = Style.detect()
    print(tiers_table(report.tiers, style) if report.tiers else _NOBODY)
    _print_note(unpriced_note(report.tiers), style)
    print(style.dim(f"period {report.period}, policy version {report.policy_version}"))


def _print_note(note: str, style: Style) -> None:
    if note:
        print(style.bold(note))


_NOBODY: Final = "nobody has spent anything in this period"
