"""One thread that writes: takes what has queued up, runs it, commits once, answers all.

Group commit makes durability cheap: while one commit waits for the disk, the next group
gathers, and a thousand operations share one fsync. Nothing is answered before its commit.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, Protocol, TypeVar

from llm_cost_policy.ledger import Refused, StoreUnavailable, VersionMismatch

MOST_OPERATIONS_A_COMMIT: Final = 1_000  # beyond it latency grows and throughput does not
MOST_QUEUED: Final = 10_000  # some seconds of work: then it is better to say "try again"
IDLE_WAIT_S: Final = 1.0  # how often an idle writer looks for expired holds

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Transactions(Protocol):
    """What the writer runs its groups in."""

    def begin(self) -> None:
        """Start a transaction."""

    def commit(self) -> None:
        """Make everything since `begin` durable."""

    def rollback(self) -> None:
        """Undo everything since `begin`, in memory too. Never raises."""

    def housekeeping(self) -> None:
        """Work that is due by the clock, in a transaction of its own."""


class Ticket(Generic[T]):
    """One queued operation and, later, what came of it. Any thread may wait for it."""

    __slots__ = ("_error", "_gate", "_run", "_value", "weight")

    def __init__(self, run: Callable[[], T], weight: int) -> None:
        self._run = run
        self.weight = weight
        self._value: T | None = None
        self._error: Exception | None = None
        # A bare lock: a tenth of the cost of an Event, and there is one per request.
        self._gate = threading.Lock()
        self._gate.acquire()

    def run(self) -> None:
        """Run inside the transaction; a refusal is an answer, anything else is a failure."""
        self._error = None
        try:
            self._value = self._run()
        except (Refused, VersionMismatch) as refusal:
            self._error = refusal

    def fail(self, error: Exception) -> None:
        """Answer with an error."""
        self._error = error
        self._gate.release()

    def finish(self) -> None:
        """Let the waiting thread have the answer: the commit is done."""
        self._gate.release()

    def result(self, timeout_s: float) -> T:
        """Wait until it is durable and return it, or raise what went wrong."""
        if not self._gate.acquire(timeout=timeout_s):
            raise StoreUnavailable(f"not committed within {timeout_s} s; retry with the same id")
        self._gate.release()
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # set before the gate opens


class Writer:
    """The thread, its queue, and the one rule: commit, then answer."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._queue: SimpleQueue[Ticket[Any] | None] = SimpleQueue()
        self._closed = False
        self.commits = 0
        self.commit_seconds = 0.0
        self._thread = threading.Thread(target=self._work, name="ledger-writer", daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        """Operations that wait."""
        return self._queue.qsize()

    def submit(self, run: Callable[[], T], *, weight: int = 1) -> Ticket[T]:
        """Queue an operation of `weight` rows."""
        if self._closed:
            raise StoreUnavailable("the ledger is closing; retry with the same call_id")
        if self._queue.qsize() >= MOST_QUEUED:
            raise StoreUnavailable(
                f"{MOST_QUEUED} operations wait for the disk already; retry with the same call_id"
            )
        ticket = Ticket(run, weight)
        self._queue.put(ticket)
        return ticket

    def close(self) -> None:
        """Take nothing more, finish what is queued, end the thread."""
        self._closed = True
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        closing = False
        while not closing:
            group, closing = self._next_group()
            if group:
                self._commit(group)
            self._keep_house()
        self._refuse_the_rest()

    def _next_group(self) -> tuple[list[Ticket[Any]], bool]:
        group: list[Ticket[Any]] = []
        weight = 0
        try:
            ticket = self._queue.get(timeout=IDLE_WAIT_S)
            while ticket is not None:
                group.append(ticket)
                weight += ticket.weight
                if weight >= MOST_OPERATIONS_A_COMMIT:
                    return group, False
                ticket = self._queue.get_nowait()
        except Empty:
            return group, False
        return group, True

    def _commit(self, group: list[Ticket[Any]]) -> None:
        started = time.perf_counter()
        try:
            self._transactions.begin()
            for ticket in group:
                ticket.run()
            self._transactions.commit()
        except sqlite3.Error as error:
            self._transactions.rollback()
            _log.error("the ledger could not commit %d operations: %s", len(group), error)
            for ticket in group:
                ticket.fail(StoreUnavailable(f"the ledger cannot write ({error}); retry"))
            return
        except Exception as error:  # noqa: BLE001 - one bad operation must not fail the others
            self._transactions.rollback()
            self._one_by_one(group, error)
            return
        self.commits += 1
        self.commit_seconds += time.perf_counter() - started
        for ticket in group:
            ticket.finish()

    def _one_by_one(self, group: list[Ticket[Any]], error: Exception) -> None:
        if len(group) == 1:
            _log.error("a ledger operation failed", exc_info=error)
            group[0].fail(StoreUnavailable(f"the ledger failed ({error!r}); this is a defect"))
            return
        for ticket in group:
            self._commit([ticket])

    def _keep_house(self) -> None:
        try:
            self._transactions.housekeeping()
        except Exception as error:  # noqa: BLE001 - the writer must outlive any single fault
            self._transactions.rollback()
            _log.error("ledger housekeeping failed, to be tried again: %s", error)

    def _refuse_the_rest(self) -> None:
        # Submitted between the last look at the queue and the end: never acknowledged.
        while True:
            try:
                ticket = self._queue.get_nowait()
            except Empty:
                return
            if ticket is not None:
                ticket.fail(StoreUnavailable("the ledger is closed; retry with the same call_id"))
