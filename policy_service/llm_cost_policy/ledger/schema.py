"""The tables of the SQLite ledger, in one place.

Every table starts with `account`: one ledger can serve several, today there is one.
"""

import sqlite3
from typing import Final

SCHEMA_VERSION: Final = 1
ACCOUNT: Final = "default"

# Time-ordered call ids and no rowid: inserts land at the end of one B-tree, which measured
# two to four times faster than random keys.
_TABLES: Final = """
CREATE TABLE ledger (              -- append-only
  account TEXT NOT NULL,
  call_id BLOB NOT NULL,
  revision INTEGER NOT NULL,       -- 0 is the first report; the highest one stands
  user_id TEXT NOT NULL,
  tier TEXT NOT NULL,
  group_name TEXT NOT NULL,
  period TEXT NOT NULL,
  amount_nano_usd INTEGER,         -- what the call cost, as of this revision; NULL: unpriced
  change_nano_usd INTEGER NOT NULL,-- what this row adds to the counter: posted = sum(change)
  rank INTEGER NOT NULL,
  provider TEXT NOT NULL,
  model TEXT NOT NULL,
  operation TEXT NOT NULL,
  outcome INTEGER NOT NULL,
  price_status INTEGER NOT NULL,
  price_version TEXT NOT NULL,
  usage TEXT NOT NULL,             -- JSON object of exclusive buckets
  ended_unix_ms INTEGER NOT NULL,
  recorded_unix_ms INTEGER NOT NULL,
  PRIMARY KEY (account, call_id, revision)
) STRICT, WITHOUT ROWID;

CREATE TABLE counter (             -- a sum over the ledger and the holds, never reset
  account TEXT NOT NULL,
  period TEXT NOT NULL,
  user_id TEXT NOT NULL,
  tier TEXT NOT NULL,              -- of the newest call
  posted_nano_usd INTEGER NOT NULL,
  held_nano_usd INTEGER NOT NULL,
  calls INTEGER NOT NULL,
  unpriced_calls INTEGER NOT NULL,
  allowed INTEGER NOT NULL,
  warned INTEGER NOT NULL,
  blocked INTEGER NOT NULL,
  dry_run INTEGER NOT NULL,
  last_call_unix_ms INTEGER NOT NULL,
  told_percents TEXT NOT NULL,     -- thresholds told already, "80,100"; rows in threshold_event
  PRIMARY KEY (account, period, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE hold (                -- one row per Reserve that no Settle has followed yet
  account TEXT NOT NULL,
  call_id BLOB NOT NULL,
  state INTEGER NOT NULL,          -- reservations.HoldState
  user_id TEXT NOT NULL,
  tier TEXT NOT NULL,
  group_name TEXT NOT NULL,
  period TEXT NOT NULL,
  amount_nano_usd INTEGER NOT NULL,
  unpriced INTEGER NOT NULL,
  expires_unix_ms INTEGER NOT NULL,
  answer TEXT NOT NULL,            -- JSON: what Reserve answered, for a replay
  PRIMARY KEY (account, call_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX hold_by_expiry ON hold (expires_unix_ms);

CREATE TABLE threshold_event (
  account TEXT NOT NULL,
  period TEXT NOT NULL,
  user_id TEXT NOT NULL,
  percent INTEGER NOT NULL,
  tier TEXT NOT NULL,
  spent_nano_usd INTEGER NOT NULL,
  limit_nano_usd INTEGER NOT NULL,
  at_unix_ms INTEGER NOT NULL,
  PRIMARY KEY (account, period, user_id, percent)
) STRICT, WITHOUT ROWID;

CREATE TABLE policy_version (
  account TEXT NOT NULL,
  version INTEGER NOT NULL,
  document_yaml TEXT NOT NULL,     -- byte for byte as it was put
  source TEXT NOT NULL,            -- 'default' | 'file' | 'admin'
  at_unix_ms INTEGER NOT NULL,
  PRIMARY KEY (account, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE override (
  account TEXT NOT NULL,
  user_id TEXT NOT NULL,
  limit_nano_usd INTEGER,
  action TEXT,
  reason TEXT NOT NULL,
  expires_unix_ms INTEGER NOT NULL,
  author TEXT NOT NULL,
  created_unix_ms INTEGER NOT NULL,
  PRIMARY KEY (account, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE history (             -- append-only
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  account TEXT NOT NULL,
  at_unix_ms INTEGER NOT NULL,
  author TEXT NOT NULL,
  change TEXT NOT NULL,
  subject TEXT NOT NULL,
  reason TEXT NOT NULL,
  before TEXT NOT NULL,
  after TEXT NOT NULL,
  policy_version INTEGER NOT NULL
) STRICT;

CREATE TABLE tally (               -- counting ten million rows at every scrape would be slow
  account TEXT NOT NULL,
  name TEXT NOT NULL,
  value INTEGER NOT NULL,
  PRIMARY KEY (account, name)
) STRICT, WITHOUT ROWID;
"""

# FULL: an acknowledged settle survives a power cut. With group commit it costs nothing.
_PRAGMAS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 10000",  # pages; measured best with time-ordered keys
    "PRAGMA cache_size = -65536",  # 64 MiB
    "PRAGMA temp_store = MEMORY",
)
_READER_PRAGMAS: Final = ("PRAGMA query_only = ON", "PRAGMA temp_store = MEMORY")
_BUSY_TIMEOUT_S: Final = 5  # readers never block on the one writer; a checkpoint may


def open_writer(path: str) -> sqlite3.Connection:
    """Return the one connection that writes, with every table in place."""
    connection = _connect(path)
    for pragma in _PRAGMAS:
        connection.execute(pragma)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, SCHEMA_VERSION):
        connection.close()
        raise sqlite3.DatabaseError(
            f"{path} has schema version {version}, this program knows {SCHEMA_VERSION}; "
            "use the release that wrote it, or a newer one"
        )
    if version == 0:
        connection.executescript(
            f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )
    return connection


def open_reader(path: str) -> sqlite3.Connection:
    """Return a connection that only reads."""
    connection = _connect(path)
    for pragma in _READER_PRAGMAS:
        connection.execute(pragma)
    return connection


def _connect(path: str) -> sqlite3.Connection:
    # Transactions are ours to begin and end; a connection is handed between threads, never
    # used by two at once.
    return sqlite3.connect(
        path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
