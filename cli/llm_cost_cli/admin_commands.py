"""`llm-cost policy ...` and `llm-cost override ...`."""

import argparse
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from llm_cost.errors import InvalidAmount
from llm_cost.money import parse_usd
from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost_cli import channels, settings
from llm_cost_cli.channels import DEADLINE_S
from llm_cost_cli.failures import NOT_TRIED, CommandFailed
from llm_cost_cli.reports import ACTION_NAMES, money
from llm_cost_cli.terminal import Column, Style, left, table, usd

_DOCUMENT_LIMIT_BYTES: Final = 1_000_000  # a policy is a page; this is somebody's log file
_ACTIONS: Final = {name: number for number, name in ACTION_NAMES.items() if name}
NO_LIMIT: Final = "none"


def policy_apply(arguments: argparse.Namespace) -> None:
    """Replace the policy document."""
    request = pb.PutPolicyRequest(
        document_yaml=_document(arguments.file),
        expected_version=arguments.expected_version,
        author=arguments.author or settings.author(),
        reason=arguments.reason,
    )
    with channels.admin(arguments.admin) as stub:
        version = stub.PutPolicy(request, timeout=DEADLINE_S).version
    _tell(arguments, {"version": version}, f"policy version {version} is in force")


def policy_show(arguments: argparse.Namespace) -> None:
    """Print the running policy document."""
    with channels.admin(arguments.admin) as stub:
        running = stub.GetPolicy(pb.GetPolicyRequest(), timeout=DEADLINE_S)
    document = {"version": running.version, "document_yaml": running.document_yaml}
    _tell(arguments, document, f"# version {running.version}\n{running.document_yaml.rstrip()}")


def policy_history(arguments: argparse.Namespace) -> None:
    """Print every admin change, newest first."""
    request = pb.HistoryRequest(page_size=arguments.top)
    with channels.admin(arguments.admin) as stub:
        entries = stub.History(request, timeout=DEADLINE_S).entries
    columns = [
        left("when (UTC)"), left("who"), left("change"), left("of"), Column("version"),
        left("reason"),
    ]  # fmt: skip
    rows = [
        [_time(entry.at_unix_ms), entry.author, entry.change.replace("_", " "), entry.subject,
         str(entry.policy_version), entry.reason]
        for entry in entries
    ]  # fmt: skip
    _tell(
        arguments,
        {"entries": [_entry_document(entry) for entry in entries]},
        table(columns, rows, Style.detect()) if rows else "nothing was ever changed",
    )


def override_set(arguments: argparse.Namespace) -> None:
    """Give one user a limit, an action, or both, until a day."""
    override = pb.Override(
        user_id=arguments.user,
        limit_nano_usd=limit_nano_usd(arguments.limit),
        action=pb.Action.ValueType(_ACTIONS.get(arguments.action, pb.ACTION_UNSPECIFIED)),
        reason=arguments.reason,
        author=arguments.author or settings.author(),
        expires_unix_ms=expiry_unix_ms(arguments.expires),
    )
    with channels.admin(arguments.admin) as stub:
        answer = stub.PutOverride(pb.PutOverrideRequest(override=override), timeout=DEADLINE_S)
    document = _override_document(override) | {"policy_version": answer.policy_version}
    limit, action = _limit_text(override), _action_text(override)
    ends = f", until {_time(override.expires_unix_ms)} UTC" if override.expires_unix_ms else ""
    _tell(arguments, document, f"{override.user_id}: {limit}, when over: {action}{ends}")


def override_rm(arguments: argparse.Namespace) -> None:
    """Return one user to their tier's rule."""
    request = pb.DeleteOverrideRequest(
        user_id=arguments.user,
        author=arguments.author or settings.author(),
        reason=arguments.reason,
    )
    with channels.admin(arguments.admin) as stub:
        version = stub.DeleteOverride(request, timeout=DEADLINE_S).policy_version
    document = {"user_id": arguments.user, "policy_version": version}
    _tell(arguments, document, f"{arguments.user}: back to the tier's rule")


def override_list(arguments: argparse.Namespace) -> None:
    """Print every override."""
    with channels.admin(arguments.admin) as stub:
        overrides = stub.ListOverrides(pb.ListOverridesRequest(), timeout=DEADLINE_S).overrides
    columns = [
        left("user"), Column("limit"), left("when over"), left("until (UTC)"), left("who"),
        left("reason"),
    ]  # fmt: skip
    rows = [
        [override.user_id, _limit_text(override), _action_text(override),
         _time(override.expires_unix_ms) if override.expires_unix_ms else "-",
         override.author, override.reason]
        for override in overrides
    ]  # fmt: skip
    _tell(
        arguments,
        {"overrides": [_override_document(override) for override in overrides]},
        table(columns, rows, Style.detect()) if rows else "no overrides: every user has the tier's",
    )


def limit_nano_usd(text: str) -> int | None:
    """Return the limit that `text` says; None for "none"."""
    if text == NO_LIMIT:
        return None
    try:
        return parse_usd(text)
    except InvalidAmount as error:
        raise CommandFailed(f"--limit: {error}", exit_code=NOT_TRIED) from None


def expiry_unix_ms(text: str | None) -> int:
    """Return when `text` ends: a day counts to its end, UTC; 0 stands for never."""
    if text is None:
        return 0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        message = f"--expires {text!r} is not a day; write for example 2026-12-31"
        raise CommandFailed(message, exit_code=NOT_TRIED) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if len(text) == len("2026-12-31"):
        moment += timedelta(days=1)
    return int(moment.timestamp()) * 1_000


def _document(path: Path) -> str:
    try:
        if path.stat().st_size > _DOCUMENT_LIMIT_BYTES:
            message = f"{path} has more than {_DOCUMENT_LIMIT_BYTES:,} bytes; is it a policy file?"
            raise CommandFailed(message, exit_code=NOT_TRIED)
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"the policy file {path} cannot be read: {error}"
        raise CommandFailed(message, exit_code=NOT_TRIED) from None


def _override_document(override: pb.Override) -> dict[str, Any]:
    return {
        "user_id": override.user_id,
        "action": ACTION_NAMES[override.action] or None,
        "reason": override.reason,
        "author": override.author,
        "expires_unix_ms": override.expires_unix_ms or None,
        "created_unix_ms": override.created_unix_ms or None,
        **money(limit=override.limit_nano_usd if override.HasField("limit_nano_usd") else None),
    }


def _entry_document(entry: pb.HistoryEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "at_unix_ms": entry.at_unix_ms,
        "author": entry.author,
        "change": entry.change,
        "subject": entry.subject,
        "reason": entry.reason,
        "before": entry.before,
        "after": entry.after,
        "policy_version": entry.policy_version,
    }


def _limit_text(override: pb.Override) -> str:
    return usd(override.limit_nano_usd) if override.HasField("limit_nano_usd") else "no limit"


def _action_text(override: pb.Override) -> str:
    return ACTION_NAMES[override.action].replace("_", " ") or "as the tier"


def _time(unix_ms: int) -> str:
    return f"{datetime.fromtimestamp(unix_ms / 1000, UTC):%Y-%m-%d %H:%M}"


def _tell(arguments: argparse.Namespace, document: Any, text: str) -> None:
    print(json.dumps(document, indent=2) if arguments.json else text)
