"""What the demo prints, from the first line to the verdict. Pure but for `Progress`."""

import sys
from typing import Final

from llm_cost.money import format_usd
from llm_cost_cli.demo.driver import AT_A_TIME, Tally
from llm_cost_cli.demo.outcome import TOP_USERS, Outcome
from llm_cost_cli.demo.story import ABUSER, ABUSER_LIMIT_NANO_USD
from llm_cost_cli.reports import tiers_table, users_table
from llm_cost_cli.stack import Stack
from llm_cost_cli.terminal import Style, usd

_BAR_WIDTH: Final = 30
_LINES_OFF_A_TERMINAL: Final = 5  # a log needs no animation


def opening(style: Style) -> str:
    """Say what is about to happen."""
    return (
        f"\n{style.bold('otel-llm-cost demo')}: a small SaaS, the people who use it, "
        "and what they cost\n"
    )


def scene(*, provider: str, app: str, stack: Stack, users: int, style: Style) -> str:
    """Say what is running."""
    lines = (
        ("app", f"FastAPI + openai + anthropic under opentelemetry-instrument, at {app}"),
        ("providers", f"OpenAI and Anthropic on loopback, with a bill of their own, at {provider}"),
        ("services", f"policy at {stack.policy_endpoint}, processor at {stack.otlp_endpoint}"),
        ("policy", "free $5 block, pro $50 warn, enterprise $500 dry run, each user and month"),
        ("override", f"{ABUSER} {usd(ABUSER_LIMIT_NANO_USD)} block, set by the admin service"),
        (
            "people",
            f"{users:,}, {AT_A_TIME} at a time: chats, searches, summaries, reports, audits",
        ),
    )
    return "".join(f"  {style.dim(f'{name:<10}')} {text}\n" for name, text in lines)


class Progress:
    """One line that updates itself on a terminal, a few lines elsewhere."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._live = sys.stdout.isatty()
        self._lines_printed = 0

    def __call__(self, tally: Tally) -> None:
        """Show how far it is."""
        if self._live:
            end = "\n" if tally.done == tally.wanted else ""
            print(f"\r\x1b[K{self._line(tally)}", end=end, flush=True)
        elif tally.done * _LINES_OFF_A_TERMINAL >= tally.wanted * (self._lines_printed + 1):
            self._lines_printed = tally.done * _LINES_OFF_A_TERMINAL // tally.wanted
            print(self._line(tally), flush=True)

    def _line(self, tally: Tally) -> str:
        full = tally.done * _BAR_WIDTH // tally.wanted
        return (
            f"  {'█' * full}{self._style.dim('░' * (_BAR_WIDTH - full))} "
            f"{tally.done:>6,} of {tally.wanted:,} calls  {tally.seconds:>3.0f} s  "
            f"{tally.blocked:,} blocked"
        )


def closing(outcome: Outcome, style: Style) -> str:
    """Return the tables and the verdict."""
    return "\n".join(
        (
            _section(f"Top {TOP_USERS} users by spend, {outcome.period}", style),
            users_table(outcome.users[:TOP_USERS], style),
            _abuser(outcome, style),
            _section("What each tier costs to serve", style),
            tiers_table(outcome.tiers, style),
            _section("Decisions", style),
            _decisions(outcome, style),
            _section("Self-check", style),
            _checks(outcome, style),
            "",
        )
    )


def _section(title: str, style: Style) -> str:
    return f"\n{style.bold(title)}\n"


def _abuser(outcome: Outcome, style: Style) -> str:
    """The one user with an override, who seldom is among the top for that very reason."""
    lines = [
        f"{user.user_id}, held by the override: {usd(user.spent_nano_usd)} of "
        f"{usd(user.limit_nano_usd)} spent, {user.decisions.block} calls blocked"
        for user in outcome.users
        if user.user_id == ABUSER
    ]
    return style.dim("\n".join(lines))


def _decisions(outcome: Outcome, style: Style) -> str:
    meanings = (
        ("allow", "allowed", "within the limit"),
        ("warn", "warned", "allowed: near a limit, or over one that only warns"),
        ("block", "blocked", "refused before the provider was asked: nothing was spent"),
        ("dry_run", "would have been blocked", "allowed, because the tier is in dry run"),
    )
    return "\n".join(
        f"  {outcome.decisions[key]:>7,}  {name:<24} {style.dim(meaning)}"
        for key, name, meaning in meanings
    )


def _checks(outcome: Outcome, style: Style) -> str:
    sums = outcome.sums
    sides = (
        ("the providers' bill", sums.served_nano_usd, sums.served_calls, "calls"),
        ("the ledger", sums.ledger_nano_usd, sums.ledger_calls, "calls"),
        ("the sum of the spans", sums.spans_nano_usd, sums.spans, "spans"),
    )
    lines = [
        f"  {name:<21} {format_usd(nano_usd, places=9):>20}   {count:>6,} {what}"
        for name, nano_usd, count, what in sides
    ]
    findings = outcome.findings()
    if findings:
        verdict = [style.bad(f"  ✗ {finding}") for finding in findings]
    else:
        verdict = [
            style.good("  ✓ equal to the nano-USD"),
            style.good("  ✓ no user is over a limit that blocks"),
            style.dim(
                f"    {outcome.wanted_calls:,} calls in {outcome.seconds:.0f} s{_tried(outcome)}"
            ),
        ]
    return "\n".join([*lines, "", *verdict])


def keeping(*, app: str, stack: Stack, style: Style) -> str:
    """Say what may be tried while everything is left running."""
    metrics = stack.metrics_endpoints
    exports = "\n".join(f"    export {name}={value}" for name, value in stack.environment.items())
    policy, admin = stack.policy_endpoint, stack.admin_endpoint
    ask = f"""curl -X POST http://{app}/assistant -H 'x-user-id: me' -H 'x-plan: free' \\
      -H 'content-type: application/json' -d '{{"text": "What is new?"}}'"""
    return f"""
{style.bold("Everything is left running.")} Try:

    {ask}
    llm-cost users --policy-endpoint {policy}
    llm-cost override set me --limit 0 --action block --admin {admin}

  or run an application of yours against it:

{exports}

  Prometheus:

    scrape_configs:
      - job_name: llm-cost
        scrape_interval: 5s
        static_configs: [{{targets: ["{metrics["policy"]}", "{metrics["processor"]}"]}}]

{style.dim("Ctrl-C ends it all.")}
"""


def _tried(outcome: Outcome) -> str:
    refusals = outcome.provider_refusals
    if not refusals:
        return ""
    return f"; the providers turned {refusals} away, the clients tried again, nobody paid twice"
