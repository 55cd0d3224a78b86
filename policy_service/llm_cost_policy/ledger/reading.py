"""What reports ask of the SQLite ledger, on connections that cannot write."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from queue import LifoQueue
from typing import Final

from llm_cost.money import MAX_NANO_USD
from llm_cost_policy.ledger import Counts, StoreUnavailable, TierPeriod, UserPeriod
from llm_cost_policy.ledger.counters import Counter, read_counter
from llm_cost_policy.ledger.schema import ACCOUNT, open_reader

READERS: Final = 4  # reports scan; more at once would only take the cores from the writer
_WAIT_FOR_READER_S: Final = 10

_USERS: Final = """
SELECT user_id, tier, posted_nano_usd, held_nano_usd, calls, unpriced_calls,
  allowed, warned, blocked, dry_run, last_call_unix_ms
FROM counter
WHERE account = :account AND period = :period
  AND (:tier = '' OR tier = :tier)
  AND (:spent < 0 OR posted_nano_usd < :spent
       OR (posted_nano_usd = :spent AND user_id > :user_id))
ORDER BY posted_nano_usd DESC, user_id LIMIT :at_most
"""

# Sums are taken in whole dollars and in the rest, so that no sum leaves SQLite's 64 bits.
# Percentiles are by nearest rank: the smallest value that p percent of the users reach.
_TIERS: Final = """
WITH ranked AS (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY tier ORDER BY posted_nano_usd) AS place,
    COUNT(*) OVER (PARTITION BY tier) AS users
  FROM counter WHERE account = :account AND period = :period
)
SELECT tier, COUNT(*), SUM(calls),
  SUM(posted_nano_usd / 1000000000), SUM(posted_nano_usd % 1000000000),
  MAX(CASE WHEN place = (users * 50 + 99) / 100 THEN posted_nano_usd END),
  MAX(CASE WHEN place = (users * 95 + 99) / 100 THEN posted_nano_usd END),
  MAX(posted_nano_usd), SUM(unpriced_calls),
  SUM(allowed), SUM(warned), SUM(blocked), SUM(dry_run)
FROM ranked GROUP BY tier ORDER BY tier
"""

_USERS_AT: Final = """
SELECT COUNT(*) FROM counter
WHERE account = ? AND period = ? AND tier = ? AND posted_nano_usd >= ?
"""


class Readers:
    """A few read-only connections, lent one at a time."""

    def __init__(self, path: str) -> None:
        self._free: LifoQueue[sqlite3.Connection] = LifoQueue()
        for _ in range(READERS):
            self._free.put(open_reader(path))

    @contextmanager
    def cursor(self) -> Iterator[sqlite3.Cursor]:
        """Lend a cursor; a store that cannot read raises `StoreUnavailable`."""
        connection = self._free.get(timeout=_WAIT_FOR_READER_S)
        try:
            yield connection.cursor()
        except sqlite3.Error as error:
            raise StoreUnavailable(f"the ledger cannot read ({error}); retry") from error
        finally:
            self._free.put(connection)

    def close(self) -> None:
        """Close every connection, waiting for those that are lent."""
        for _ in range(READERS):
            self._free.get(timeout=_WAIT_FOR_READER_S).close()

    def counter(self, period: str, user_id: str) -> Counter | None:
        """Return a counter as committed."""
        with self.cursor() as cursor:
            return read_counter(cursor, period, user_id)

    def user(self, user_id: str, period: str) -> UserPeriod | None:
        """Return a counter as committed, for a report."""
        counter = self.counter(period, user_id)
        return None if counter is None else _user_of(counter)

    def users(
        self, period: str, *, tier: str, after: tuple[int, str] | None, at_most: int
    ) -> list[UserPeriod]:
        """Return counters, highest spend first."""
        spent, user_id = after if after is not None else (-1, "")
        with self.cursor() as cursor:
            rows = cursor.execute(
                _USERS,
                {
                    "account": ACCOUNT,
                    "period": period,
                    "tier": tier,
                    "spent": spent,
                    "user_id": user_id,
                    "at_most": at_most,
                },
            ).fetchall()
        return [_user_row(*row) for row in rows]

    def tiers(self, period: str) -> list[TierPeriod]:
        """Return the sums by tier."""
        with self.cursor() as cursor:
            rows = cursor.execute(_TIERS, {"account": ACCOUNT, "period": period}).fetchall()
        return [_tier_of(*row) for row in rows]

    def users_at(self, period: str, tier: str, spent_nano_usd: int) -> int:
        """Count the users of a tier who spent that much or more."""
        with self.cursor() as cursor:
            row = cursor.execute(_USERS_AT, (ACCOUNT, period, tier, spent_nano_usd)).fetchone()
        return int(row[0])


def _user_of(counter: Counter) -> UserPeriod:
    return UserPeriod(
        counter.user_id,
        counter.tier,
        counter.posted_nano_usd,
        counter.held_nano_usd,
        counter.calls,
        counter.unpriced_calls,
        Counts(counter.allowed, counter.warned, counter.blocked, counter.dry_run),
        counter.last_call_unix_ms,
    )


def _user_row(user_id: str, tier: str, *numbers: int) -> UserPeriod:
    posted, held, calls, unpriced, allowed, warned, blocked, dry_run, last_call = numbers
    counts = Counts(allowed, warned, blocked, dry_run)
    return UserPeriod(user_id, tier, posted, held, calls, unpriced, counts, last_call)


def _tier_of(
    tier: str, users: int, calls: int, whole_usd: int, nano_usd: int, *rest: int
) -> TierPeriod:
    p50, p95, largest, unpriced, *counts = rest
    return TierPeriod(
        tier,
        users,
        calls,
        min(MAX_NANO_USD, whole_usd * 1_000_000_000 + nano_usd),
        p50,
        p95,
        largest,
        unpriced,
        Counts(*counts),
    )
