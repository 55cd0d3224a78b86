"""Policies, overrides and the history of both, inside the writer's transaction."""

import json
import sqlite3
from collections.abc import Callable
from typing import Final

from llm_cost.policy.decision import Action
from llm_cost_policy.ledger import HistoryEntry, NotThere, Refused, VersionMismatch
from llm_cost_policy.ledger.booking import Book
from llm_cost_policy.ledger.schema import ACCOUNT
from llm_cost_policy.policies import Override, Policy, Rules

MOST_OVERRIDES: Final = 100_000  # all are in memory, about 30 MB; beyond that, a tier is meant

Parser = Callable[[str], Policy]

_NEWEST: Final = (
    "SELECT version, document_yaml FROM policy_version WHERE account = ? "
    "ORDER BY version DESC LIMIT 1"
)
_NEWEST_FROM_FILE: Final = (
    "SELECT document_yaml FROM policy_version WHERE account = ? AND source = 'file' "
    "ORDER BY version DESC LIMIT 1"
)
_OVERRIDE_COLUMNS: Final = (
    "user_id, limit_nano_usd, action, reason, expires_unix_ms, author, created_unix_ms"
)


def newest_document(cursor: sqlite3.Cursor) -> tuple[str, int] | None:
    """Return the newest policy document and its version."""
    row = cursor.execute(_NEWEST, (ACCOUNT,)).fetchone()
    return None if row is None else (row[1], row[0])


def newest_document_from_file(cursor: sqlite3.Cursor) -> str | None:
    """Return the newest document that came from a file at a start."""
    row = cursor.execute(_NEWEST_FROM_FILE, (ACCOUNT,)).fetchone()
    return None if row is None else str(row[0])


def load_rules(cursor: sqlite3.Cursor, parse: Parser) -> Rules | None:
    """Return what runs, as the database says."""
    newest = newest_document(cursor)
    if newest is None:
        return None
    document_yaml, version = newest
    return Rules(parse(document_yaml), version, _load_overrides(cursor))


def put_document(
    cursor: sqlite3.Cursor, document_yaml: str, version: int, *, source: str, now_unix_ms: int
) -> None:
    """Append a version."""
    cursor.execute(
        "INSERT INTO policy_version (account, version, document_yaml, source, at_unix_ms) "
        "VALUES (?, ?, ?, ?, ?)",
        (ACCOUNT, version, document_yaml, source, now_unix_ms),
    )


def put_policy(
    book: Book, document_yaml: str, policy: Policy, *, expected_version: int, who: tuple[str, str]
) -> int:
    """Replace the policy if `expected_version` (0: any) runs; `who` is author and reason."""
    running = newest_document(book.cursor)
    before, version = running if running is not None else ("", 0)
    if expected_version not in (0, version):
        raise VersionMismatch(
            f"expected_version {expected_version} is not the running version {version}; "
            "read the policy again and put the change on top of it"
        )
    put_document(
        book.cursor, document_yaml, version + 1, source="admin", now_unix_ms=book.now_unix_ms
    )
    book.use_rules(Rules(policy, version + 1, book.rules.overrides))
    _record(book, "put_policy", "", who, before, document_yaml)
    return version + 1


def put_override(book: Book, override: Override) -> int:
    """Set a user's override."""
    overrides = dict(book.rules.overrides)
    before = overrides.get(override.user_id)
    if before is None and len(overrides) >= MOST_OVERRIDES:
        raise Refused(f"override: there are {MOST_OVERRIDES} already; delete some, or use a tier")
    stored = Override(
        override.user_id,
        override.limit_nano_usd,
        override.action,
        override.reason,
        override.expires_unix_ms,
        override.author,
        book.now_unix_ms,
    )
    overrides[stored.user_id] = stored
    book.cursor.execute(
        f"INSERT OR REPLACE INTO override (account, {_OVERRIDE_COLUMNS}) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (ACCOUNT, *_row_of(stored)),
    )
    book.use_rules(Rules(book.rules.policy, book.rules.version, overrides))
    who = (override.author, override.reason)
    _record(book, "put_override", stored.user_id, who, _json_of(before), _json_of(stored))
    return book.rules.version


def delete_override(book: Book, user_id: str, *, author: str, reason: str) -> int:
    """Remove a user's override; without one raises `NotThere`."""
    overrides = dict(book.rules.overrides)
    before = overrides.pop(user_id, None)
    if before is None:
        raise NotThere(f"user_id: {user_id!r} has no override; ListOverrides names those who have")
    book.cursor.execute(
        "DELETE FROM override WHERE account = ? AND user_id = ?", (ACCOUNT, user_id)
    )
    book.use_rules(Rules(book.rules.policy, book.rules.version, overrides))
    _record(book, "delete_override", user_id, (author, reason), _json_of(before), "")
    return book.rules.version


def read_history(cursor: sqlite3.Cursor, *, before_id: int, at_most: int) -> list[HistoryEntry]:
    """Return admin changes, newest first, from below `before_id` (0: from the newest)."""
    rows = cursor.execute(
        "SELECT id, at_unix_ms, author, change, subject, reason, before, after, policy_version "
        "FROM history WHERE account = ? AND (? = 0 OR id < ?) ORDER BY id DESC LIMIT ?",
        (ACCOUNT, before_id, before_id, at_most),
    )
    return [HistoryEntry(*row) for row in rows]


def _record(
    book: Book, change: str, subject: str, who: tuple[str, str], before: str, after: str
) -> None:
    author, reason = who
    book.cursor.execute(
        "INSERT INTO history (account, at_unix_ms, author, change, subject, reason, before, "
        "after, policy_version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            ACCOUNT,
            book.now_unix_ms,
            author,
            change,
            subject,
            reason,
            before,
            after,
            book.rules.version,
        ),
    )


def _load_overrides(cursor: sqlite3.Cursor) -> dict[str, Override]:
    rows = cursor.execute(
        f"SELECT {_OVERRIDE_COLUMNS} FROM override WHERE account = ?",
        (ACCOUNT,),
    )
    return {
        user_id: Override(user_id, limit, Action(action) if action else None, *rest)
        for user_id, limit, action, *rest in rows
    }


def _row_of(override: Override) -> tuple[object, ...]:
    return (
        override.user_id,
        override.limit_nano_usd,
        override.action.value if override.action else None,
        override.reason,
        override.expires_unix_ms,
        override.author,
        override.created_unix_ms,
    )


def _json_of(override: Override | None) -> str:
    if override is None:
        return ""
    names = [name.strip() for name in _OVERRIDE_COLUMNS.split(",")]
    return json.dumps(dict(zip(names, _row_of(override), strict=True)))
