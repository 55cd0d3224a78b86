"""Reports to the policy service in the background: what calls cost, and what to release.

One daemon thread per process sends them in batches and repeats each, with its call id, until
it is acknowledged; the ledger counts a repeat once. The queue lives in memory: what a killed
process had not sent yet, its spans still tell the processor. A spool on disk may come later.
"""

import contextlib
import logging
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import grpc

from llm_cost import faults
from llm_cost.policy import lifetime, wire
from llm_cost.policy.channel import Connection, Unanswered
from llm_cost.policy.decision import Settlement
from llm_cost.policy.holding import LiveHolds
from llm_cost.policy.sparse_log import SparseLog
from llm_cost.policy.v1 import policy_pb2 as pb

_WAITING_LIMIT: Final = 100_000
"""Some 60 MB: almost three hours without the service at ten calls a second. Beyond it the
newest is left out, counted and logged with its amount; its span still reaches the ledger."""

_VOIDS_LIMIT: Final = 10_000  # a hold that is never voided ends by itself
_BATCH_LIMIT: Final = 500  # half of what the service takes in one message
_GATHER_S: Final = 0.05  # how long a report waits for company
_SETTLE_DEADLINE_S: Final = 2.0  # nobody waits for it; a slow disk may have its time
_BACKOFF_S: Final = (0.1, 5.0)  # first and longest pause between attempts
_RENEW_AFTER: Final = 3  # batches in a row without an answer: the connection may be half open
_LATE_VOID_S: Final = 1.0  # a timed-out Reserve may still arrive; its Void must come after it
_IDLE_LOOK_S: Final = 60.0  # a hold that wants renewing later than this is found without a wake
_FORK_WAIT_S: Final = 2.5  # longest wait of a fork for the message under way

_REFUSED_CODES: Final = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE)
_SILENT_CODES: Final = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
_FINAL: Final = frozenset(
    {
        pb.SETTLE_STATUS_APPLIED,
        pb.SETTLE_STATUS_REPLAYED,
        pb.SETTLE_STATUS_REPLACED,
        pb.SETTLE_STATUS_KEPT,
        pb.SETTLE_STATUS_CONFLICT,
        pb.SETTLE_STATUS_INVALID,
    }
)

_log = logging.getLogger("llm_cost")

Mark: TypeAlias = threading.Event  # in the queue: set once all before it is acknowledged
OnEvents: TypeAlias = Callable[[Iterable[pb.ThresholdEvent]], None]


class Settler:
    """The queue of one process and the thread that empties it."""

    def __init__(self, connection: Connection, on_events: OnEvents) -> None:
        self._connection = connection
        self._on_events = on_events
        self._lost_log = SparseLog(logging.ERROR)
        self._refused_log = SparseLog(logging.ERROR)
        self._retry_log = SparseLog(logging.WARNING)
        self.reset()

    def reset(self) -> None:
        """Start over, empty: at first, and in a forked child, where the parent's are not ours."""
        self._waiting: deque[Settlement | Mark] = deque()
        self._voids: deque[tuple[float, bytes]] = deque()
        self._in_hand: list[Settlement] = []
        self._portion = _BATCH_LIMIT
        self._silences = 0
        self.holds = LiveHolds()  # the calls under way are the parent's
        # SimpleQueue, because a call may end inside a garbage collection, in any thread and
        # in the middle of anything: its `put` is reentrant, and an Event's `set` is not.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._hurry = threading.Event()
        self._roused = False
        self._closed = False
        self._starting = threading.Lock()
        self._under_way = threading.Lock()
        self._thread: threading.Thread | None = None
        self.dropped = 0
        self.dropped_nano_usd = 0
        self.refused = 0

    # --- The caller's side: microseconds, never blocks ------------------------------------

    def settle(self, settlement: Settlement) -> None:
        """Queue what a call cost."""
        if len(self._waiting) >= _WAITING_LIMIT or self._closed:
            self._drop(settlement)
            return
        self._waiting.append(settlement)
        if not self._roused:
            self._rouse()

    def void(self, call_id: bytes, *, may_arrive_late: bool = False) -> None:
        """Queue the release of a hold; `may_arrive_late`: its Reserve was not answered."""
        if len(self._voids) >= _VOIDS_LIMIT:
            self._voids.popleft()
            self._lost_log.say(
                "over %d holds wait to be released; the oldest is left to expire", _VOIDS_LIMIT
            )
        due_s = time.monotonic() + (_LATE_VOID_S if may_arrive_late else 0.0)
        self._voids.append((due_s, call_id))
        if not self._roused:
            self._rouse()

    def held(self, call_id: bytes, ttl_s: float) -> None:
        """A call was admitted: keep its hold until it is settled or voided."""
        self.holds.held(call_id, ttl_s)
        if (self._thread is None or ttl_s < 2 * _IDLE_LOOK_S) and not self._roused:
            self._rouse()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was queued so far is acknowledged; False when time ran out."""
        if not (self._waiting or self._in_hand or self._voids or self._under_way.locked()):
            return True
        mark = Mark()
        self._waiting.append(mark)
        self._rouse()
        self._hurry.set()
        return mark.wait(timeout_s)

    def unacknowledged(self) -> tuple[int, int, int]:
        """Return the calls, their nano-USD and the holds that are not acknowledged yet."""
        waiting = [*self._in_hand, *(w for w in self._waiting if isinstance(w, Settlement))]
        nano_usd = sum(settled.actual_nano_usd or 0 for settled in waiting)
        return len(waiting), nano_usd, len(self._voids)

    def close(self) -> None:
        """End the thread; what is queued from now on is dropped aloud."""
        self._closed = True
        self._wake.put(None)
        self._hurry.set()
        if self._thread is not None:
            self._thread.join(_GATHER_S)

    def pause(self) -> Callable[[], None]:
        """Keep still until the result is called: gRPC wants no call under way in a fork."""
        acquired = self._under_way.acquire(timeout=_FORK_WAIT_S)
        lock = self._under_way
        return lock.release if acquired else lambda: None

    def _drop(self, settlement: Settlement) -> None:
        self.dropped += 1
        self.dropped_nano_usd += settlement.actual_nano_usd or 0
        self._lost_log.say(
            "the queue to the policy service is full or closed: %d calls of %d nano-USD are "
            "left out so far; their spans still carry the cost",
            self.dropped,
            self.dropped_nano_usd,
        )

    def _rouse(self) -> None:
        self._roused = True
        self._wake.put(None)
        # Not waited for: whoever holds it starts the thread, and the thread finds the queue.
        if self._thread is None and self._starting.acquire(blocking=False):
            try:
                if self._thread is None:
                    self._start()
            finally:
                self._starting.release()

    def _start(self) -> None:
        lifetime.end_with_worker()
        thread = threading.Thread(target=self._run, name="llm-cost-settling", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # No further threads (the interpreter ends, or a limit): the next report tries again.
            self._roused = False
            return
        self._thread = thread

    # --- The thread's side ----------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        while True:
            self._rest(failures)
            if self._closed:
                return
            failures += 1
            with faults.contained("reporting to the policy service"):
                if self._send_all() and self._renew_holds():
                    failures = 0

    def _rest(self, failures: int) -> None:
        if failures:
            first_s, longest_s = _BACKOFF_S
            pause_s = min(longest_s, first_s * 2 ** min(failures - 1, 16))
            # Jitter, so that a thousand processes do not come back in the same instant.
            self._hurry.wait(pause_s * random.uniform(0.5, 1.0))
        else:
            due_s = min(filter(None, (self._due_void_s(), self.holds.due_s())), default=None)
            with contextlib.suppress(queue.Empty):
                pause_s = _IDLE_LOOK_S if due_s is None else due_s - time.monotonic()
                self._wake.get(timeout=min(_IDLE_LOOK_S, max(0.0, pause_s)))
            self._hurry.wait(_GATHER_S)
        while not self._wake.empty():
            self._wake.get()
        self._hurry.clear()
        # Before the queue is read: whoever appends after this wakes us again.
        self._roused = False

    def _due_void_s(self) -> float | None:
        return self._voids[0][0] if self._voids else None

    def _send_all(self) -> bool:
        """Send until nothing is left that is due; False after a failure."""
        while True:
            self._fill_hand()
            if self._in_hand:
                if not self._send_portion():
                    return False
            elif self._waiting:
                mark = self._waiting[0]
                assert isinstance(mark, Mark)  # `_fill_hand` stops at nothing else
                if not self._send_voids(every_one=True):
                    return False
                self._waiting.popleft()
                mark.set()
            else:
                return self._send_voids(every_one=False)

    def _fill_hand(self) -> None:
        while self._waiting and len(self._in_hand) < _BATCH_LIMIT:
            settlement = self._waiting[0]
            if isinstance(settlement, Mark):
                return
            self._in_hand.append(settlement)  # first here, so that it is always to be seen
            self._waiting.popleft()

    def _send_portion(self) -> bool:
        sendable: list[tuple[Settlement, pb.Settlement]] = []
        for settled in self._in_hand[: self._portion]:
            try:
                sendable.append((settled, wire.settlement(settled)))
            except (ValueError, TypeError, KeyError) as error:
                self._refuse(settled, f"it cannot be sent: {error!r}")
        if not sendable:
            return True
        request = pb.SettleBatchRequest(settlements=[message for _, message in sendable])
        try:
            with self._under_way:
                answer = self._connection.ask(
                    self._connection.stub.SettleBatch, request, _SETTLE_DEADLINE_S
                )
        except (grpc.RpcError, Unanswered, ValueError) as error:
            return self._after_failure([settled for settled, _ in sendable], error)
        self._connection.answered()
        self._silences = 0
        self._portion = min(_BATCH_LIMIT, self._portion * 2)
        self._on_events(answer.threshold_events)
        return self._acknowledge(answer.results)

    def _acknowledge(self, results: Iterable[pb.SettleResult]) -> bool:
        """Let go of what has a final answer; False if the answer was about none of ours."""
        answered = {result.call_id: result for result in results if result.status in _FINAL}
        before = len(self._in_hand)
        for settled in list(self._in_hand):
            result = answered.get(settled.call_id)
            if result is None:
                continue
            if result.status in (pb.SETTLE_STATUS_CONFLICT, pb.SETTLE_STATUS_INVALID):
                self._refuse(settled, result.error)
            else:
                self._in_hand.remove(settled)
        return len(self._in_hand) < before

    def _refuse(self, settled: Settlement, why: str) -> None:
        self._in_hand.remove(settled)
        self.refused += 1
        self._refused_log.say(
            "the cost of call %s (%s nano-USD, user %r) is not booked: %s; %d so far",
            settled.call_id.hex(),
            settled.actual_nano_usd,
            settled.identity.user_id,
            why,
            self.refused,
        )

    def _after_failure(self, sent: list[Settlement], error: Exception) -> bool:
        """Prepare the next attempt; True if it may follow at once."""
        code = error.code() if isinstance(error, grpc.Call) else None
        if code in _REFUSED_CODES and len(sent) == 1:
            self._refuse(sent[0], str(error))
            return True
        self._retry_log.say(
            "%d calls could not be reported to the policy service and will be again: %s",
            len(self._in_hand) + len(self._waiting),
            _named(error),
        )
        if code not in _SILENT_CODES:
            # One bad item may spoil the message: find it by halves, and let the rest pass.
            self._portion = max(1, len(sent) // 2)
            if len(sent) == 1:
                self._in_hand.remove(sent[0])
                self._in_hand.append(sent[0])
        self._count_silence(code)
        return code in _REFUSED_CODES

    def _send_voids(self, *, every_one: bool) -> bool:
        while self._voids and (every_one or self._voids[0][0] <= time.monotonic()):
            entry = self._voids[0]
            try:
                with self._under_way:
                    self._connection.ask(
                        self._connection.stub.Void,
                        pb.VoidRequest(call_id=entry[1]),
                        _SETTLE_DEADLINE_S,
                    )
            except (grpc.RpcError, Unanswered, ValueError) as error:
                code = error.code() if isinstance(error, grpc.Call) else None
                if code not in _REFUSED_CODES:
                    self._count_silence(code)
                    return False
                self._refused_log.say("a hold could not be released: %s", _named(error))
            if self._voids and self._voids[0] is entry:
                self._voids.popleft()
        return True

    def _renew_holds(self) -> bool:
        while (due := self.holds.due())[1]:
            ttl_s, call_ids = due
            request = pb.ExtendRequest(call_ids=call_ids, hold_ttl_ms=int(ttl_s * 1000))
            try:
                with self._under_way:
                    answer = self._connection.ask(
                        self._connection.stub.Extend, request, _SETTLE_DEADLINE_S
                    )
            except (grpc.RpcError, Unanswered, ValueError) as error:
                self._retry_log.say("%d holds could not be extended: %s", len(call_ids), error)
                self._count_silence(error.code() if isinstance(error, grpc.Call) else None)
                return False
            self.holds.renewed(call_ids, until_unix_ms=answer.hold_expires_unix_ms)
        return True

    def _count_silence(self, code: grpc.StatusCode | None) -> None:
        self._silences = self._silences + 1 if code is grpc.StatusCode.DEADLINE_EXCEEDED else 0
        if self._silences >= _RENEW_AFTER:
            self._silences = 0
            self._connection.renew()


def _named(error: Exception) -> str:
    if isinstance(error, grpc.Call):
        return f"{error.code().name}: {error.details()}"
    return str(error)
