"""`llm-cost demo`: start everything, let the people loose, compare the sums."""

import argparse
import json
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost_cli import channels
from llm_cost_cli.channels import DEADLINE_S
from llm_cost_cli.demo import pages, story
from llm_cost_cli.demo.driver import Tally, drive
from llm_cost_cli.demo.outcome import Outcome, Sums
from llm_cost_cli.demo.system import System, running_system
from llm_cost_cli.failures import NOT_TRIED, CommandFailed
from llm_cost_cli.report_commands import ranked_users
from llm_cost_cli.terminal import Style

_SETTLED_LIMIT_S: Final = 20  # spans and settles travel in the background, for a second or two
_LOOK_EVERY_S: Final = 0.2


def demo(arguments: argparse.Namespace) -> None:
    """Run the demo; raises `CommandFailed` when it finds a difference."""
    _check_size(arguments)
    style = Style.detect()
    print(pages.opening(style), flush=True)
    with (
        _termination_as_interrupt(),
        tempfile.TemporaryDirectory(prefix="llm-cost-demo-") as scratch,
        running_system(Path(scratch), seed=arguments.seed) as system,
    ):
        outcome = _play(system, arguments, style)
        print(pages.closing(outcome, style), flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(outcome.document(), indent=2) + "\n")
        if arguments.keep:
            _keep(system, style)
    if findings := outcome.findings():
        raise CommandFailed("the demo found: " + "; ".join(findings))


def _check_size(arguments: argparse.Namespace) -> None:
    for name, given, least in (
        ("--users", arguments.users, story.SMALLEST_USERS),
        ("--calls", arguments.calls, story.SMALLEST_CALLS),
    ):
        if given < least:
            message = f"{name} {given} is too small a story; give at least {least}"
            raise CommandFailed(message, exit_code=NOT_TRIED)


def _play(system: System, arguments: argparse.Namespace, style: Style) -> Outcome:
    app = str(system.app.ready["app"])
    print(
        pages.scene(
            provider=str(system.provider.ready["provider"]),
            app=app,
            stack=system.stack,
            users=arguments.users,
            style=style,
        ),
        flush=True,
    )
    visits = story.visits(users=arguments.users, calls=arguments.calls, seed=arguments.seed)
    tally = drive(app, visits, progress=pages.Progress(style), healthy=system.fail_if_ended)
    return _settled_outcome(system, tally, seconds=tally.seconds)


def _settled_outcome(system: System, tally: Tally, *, seconds: float) -> Outcome:
    """Return the outcome once the three sums agree, or as it stands when time is up."""
    give_up_at = time.monotonic() + _SETTLED_LIMIT_S
    while True:
        outcome = _outcome(system, tally, seconds=seconds)
        if outcome.sums.agree or time.monotonic() > give_up_at:
            return outcome
        time.sleep(_LOOK_EVERY_S)


def _outcome(system: System, tally: Tally, *, seconds: float) -> Outcome:
    with channels.policy(system.stack.policy_endpoint) as stub:
        report = stub.TierReport(pb.TierReportRequest(), timeout=DEADLINE_S)
        users = list(ranked_users(stub, top=sys.maxsize))
    served = _served(str(system.provider.ready["provider"]))
    return Outcome(
        sums=Sums(
            served_nano_usd=served["total_nano_usd"],
            served_calls=served["calls"],
            ledger_nano_usd=sum(tier.spent_nano_usd for tier in report.tiers),
            ledger_calls=sum(tier.calls for tier in report.tiers),
            spans_nano_usd=system.sink.total_nano_usd,
            spans=system.sink.priced_spans,
        ),
        tiers=report.tiers,
        users=users,
        policy_version=report.policy_version,
        period=report.period,
        wanted_calls=tally.wanted,
        seen_blocked=tally.blocked,
        failed_calls=tally.failed,
        first_failure=tally.first_failure,
        provider_refusals=served["refused"],
        seconds=seconds,
    )


def _served(provider: str) -> dict[str, int]:
    url = f"http://{provider}/served?rows=0"
    with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
        document: dict[str, int] = json.load(answer)
    return document


def _keep(system: System, style: Style) -> None:
    app = str(system.app.ready["app"])
    print(pages.keeping(app=app, stack=system.stack, style=style), flush=True)
    try:
        while True:
            time.sleep(_LOOK_EVERY_S)
            system.fail_if_ended()
    except KeyboardInterrupt:
        print()  # ends the line on which the terminal showed ^C


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM unwind as Ctrl-C does, so that no process of ours is left behind."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    before: Callable[[int, FrameType | None], Any] | int | None
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
