"""The command line: which commands there are, and what each takes."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from llm_cost_cli import admin_commands, price_commands, report_commands, settings, up
from llm_cost_cli.failures import NOT_TRIED, CommandFailed

_EXIT_CODES: Final = """\
exit codes:
  0    done
  1    the service refused, or the demo found a difference
  2    nothing was tried: the command line is wrong, or the service is away
  130  interrupted
"""
_TOP_LIMIT: Final = 100_000
_Commands = Any  # argparse keeps the type of its sub-parsers to itself


def parser() -> argparse.ArgumentParser:
    """Return the parser; every command sets `run` to the function that does it."""
    root = argparse.ArgumentParser(
        prog="llm-cost",
        description="What each user and tier of an LLM product costs, and limits that hold.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = root.add_subparsers(metavar="COMMAND", required=True)
    _add_up(commands)
    _add_demo(commands)
    _add_reports(commands)
    _add_policy(commands)
    _add_override(commands)
    price_commands.add_prices(commands)
    return root


def _command(
    commands: _Commands, name: str, run: Callable[[argparse.Namespace], None], purpose: str
) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = commands.add_parser(name, help=purpose, description=purpose)
    added.set_defaults(run=run)
    return added


def _add_up(commands: _Commands) -> None:
    it = _command(commands, "up", up.up, "run the policy service and the processor here")
    it.add_argument(
        "--data", type=Path, default=settings.data_directory(), metavar="DIR",
        help=f"where the ledger lies ({settings.DATA_DIRECTORY}, else ./.llm-cost)",
    )  # fmt: skip
    it.add_argument("--policy", type=Path, metavar="FILE", help="the policy to begin with")
    for option, port, what in (
        ("--policy-port", settings.POLICY_PORT, "the policy service"),
        ("--admin-port", settings.ADMIN_PORT, "the admin service"),
        ("--policy-metrics-port", settings.POLICY_METRICS_PORT, "the policy service's metrics"),
        ("--otlp-port", settings.OTLP_PORT, "OTLP"),
        ("--processor-metrics-port", settings.PROCESSOR_METRICS_PORT, "the processor's metrics"),
    ):
        it.add_argument(
            option, type=_port, default=port, metavar="PORT", help=f"for {what} ({port})"
        )
    it.add_argument("--ephemeral", action="store_true", help="let the system choose every port")
    _add_json(it)


def _add_demo(commands: _Commands) -> None:
    it = _command(commands, "demo", _demo, "a small SaaS and its users, checked to the nano")
    it.add_argument("--users", type=_count, default=300, metavar="N", help="how many (300)")
    it.add_argument("--calls", type=_count, default=3_000, metavar="N", help="how many (3,000)")
    it.add_argument("--seed", type=int, default=1, help="another seed is another story (1)")
    it.add_argument("--json", type=Path, metavar="FILE", help="write the outcome to FILE")
    it.add_argument(
        "--keep", action="store_true", help="leave everything running afterwards, until Ctrl-C"
    )


def _demo(arguments: argparse.Namespace) -> None:
    # Loaded only here: the other commands do without the demo's and the server's packages.
    try:
        from llm_cost_cli.demo.command import demo
    except ModuleNotFoundError as missing:
        message = f"the demo needs {missing.name}: pip install 'otel-llm-cost[demo]'"
        raise CommandFailed(message, exit_code=NOT_TRIED) from None
    demo(arguments)


def _add_reports(commands: _Commands) -> None:
    users = _command(commands, "users", report_commands.users, "users, the highest spend first")
    users.add_argument("--tier", metavar="T", help="of this tier only")
    users.add_argument("--top", type=_count, default=20, metavar="N", help="how many (20)")
    tiers = _command(commands, "tiers", report_commands.tiers, "what each tier costs to serve")
    for it in (users, tiers):
        it.add_argument("--period", metavar="P", help="for example 2026-11 (the current one)")
        it.add_argument(
            "--policy-endpoint", default=settings.policy_endpoint(), metavar="HOST:PORT",
            help=f"of the policy service ({settings.POLICY_ENDPOINT}, else port 50151 here)",
        )  # fmt: skip
        _add_json(it)


def _add_policy(commands: _Commands) -> None:
    group = commands.add_parser("policy", help="the policy document: apply, show, history")
    verbs = group.add_subparsers(metavar="VERB", required=True)
    apply = _command(verbs, "apply", admin_commands.policy_apply, "replace the policy document")
    apply.add_argument("file", type=Path, metavar="FILE")
    apply.add_argument(
        "--expected-version", type=int, default=0, metavar="V",
        help="refuse if another version runs by now (0: whatever runs)",
    )  # fmt: skip
    _add_author(apply)
    show = _command(verbs, "show", admin_commands.policy_show, "print the running document")
    history = _command(
        verbs, "history", admin_commands.policy_history, "every change, newest first"
    )
    history.add_argument("--top", type=_page, default=50, metavar="N", help="how many (50)")
    for it in (apply, show, history):
        _add_admin(it)


def _add_override(commands: _Commands) -> None:
    group = commands.add_parser("override", help="rules for single users: set, rm, list")
    verbs = group.add_subparsers(metavar="VERB", required=True)
    put = _command(verbs, "set", admin_commands.override_set, "give one user a rule of their own")
    put.add_argument(
        "--limit", required=True, metavar="USD",
        help=f"for example 0.50; {admin_commands.NO_LIMIT!r} lifts the limit",
    )  # fmt: skip
    put.add_argument(
        "--action", choices=("block", "warn", "dry_run"), help="the tier's, if left out"
    )
    put.add_argument("--expires", metavar="DAY", help="the last day, UTC, as 2026-12-31")
    remove = _command(verbs, "rm", admin_commands.override_rm, "return one user to the tier's rule")
    listing = _command(verbs, "list", admin_commands.override_list, "every override")
    for it in (put, remove):
        it.add_argument("user", metavar="USER")
        _add_author(it)
    for it in (put, remove, listing):
        _add_admin(it)


def _add_author(it: argparse.ArgumentParser) -> None:
    it.add_argument("--author", metavar="NAME", help="who makes the change (the login name)")
    it.add_argument("--reason", default="", metavar="TEXT", help="why, for the history")


def _add_admin(it: argparse.ArgumentParser) -> None:
    it.add_argument(
        "--admin", default=settings.admin_endpoint(), metavar="HOST:PORT",
        help=f"of the admin service ({settings.ADMIN_ENDPOINT}, else port 50152 here)",
    )  # fmt: skip
    _add_json(it)


def _add_json(it: argparse.ArgumentParser) -> None:
    it.add_argument("--json", action="store_true", help="for programs, with stable keys")


def _within(smallest: int, largest: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not smallest <= int(text) <= largest:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a whole number from {smallest} to {largest}"
            )
        return int(text)

    return whole


_port = _within(0, 65_535)
_count = _within(1, _TOP_LIMIT)
_page = _within(1, 1_000)
