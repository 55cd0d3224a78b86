"""Tells the ledger what calls cost: durably spooled first, then drained in order.

A policy service that is away holds up nobody's traces: settlements wait on disk, up to a bound.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from llm_cost.policy.v1 import policy_pb2
from llm_cost_processor.settlement import BATCH_ITEMS
from llm_cost_processor.spool import Record, Spool

_log = logging.getLogger("llm_cost_processor")

SETTLE_TIMEOUT_S: Final = 10.0
"""One batch is some milliseconds of work; a service that takes longer is away."""

RETRY_FIRST_S: Final = 0.1
RETRY_LAST_S: Final = 5.0
"""How soon a service that is back is noticed, and how seldom one that is away is asked."""

_METHOD: Final = "/llm_cost.policy.v1.PolicyService/SettleBatch"
# A batch that these codes refuse is refused again however often it is sent.
_HOPELESS: Final = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE)
STATUS_NAMES: Final = {
    policy_pb2.SETTLE_STATUS_APPLIED: "applied",
    policy_pb2.SETTLE_STATUS_REPLAYED: "replayed",
    policy_pb2.SETTLE_STATUS_REPLACED: "replaced",
    policy_pb2.SETTLE_STATUS_KEPT: "kept",
    policy_pb2.SETTLE_STATUS_CONFLICT: "conflict",
    policy_pb2.SETTLE_STATUS_INVALID: "invalid",
}

# The ledger keeps what it has; somebody should look.
_TOLD: Final = (policy_pb2.SETTLE_STATUS_CONFLICT, policy_pb2.SETTLE_STATUS_INVALID)


class Settler:
    """Spools settlements and drains the spool into the policy service.

    `on_settled` hears how many calls got which status; `on_retry` of every failed attempt.
    """

    def __init__(
        self,
        spool: Spool,
        channel: grpc.aio.Channel,
        *,
        on_settled: Callable[[str, int], None],
        on_retry: Callable[[], None],
    ) -> None:
        self._spool = spool
        self._send: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_METHOD)
        self._on_settled = on_settled
        self._on_retry = on_retry
        self._pending: list[tuple[list[Record], asyncio.Future[None]]] = []
        self._wanted = asyncio.Event()
        self._spooled = asyncio.Event()
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._drain())]

    @property
    def waiting_items(self) -> int:
        """Settlements on disk that the ledger has not taken."""
        return self._spool.items

    def check_room(self, records: Sequence[Record]) -> None:
        """Raise `SpoolFull` if `records` would exceed the bound."""
        waiting = sum(len(r.payload) for group, _ in self._pending for r in group)
        self._spool.check_room(waiting + sum(len(record.payload) for record in records))

    async def store(self, records: list[Record]) -> None:
        """Return when `records` survive a power cut; `OSError` when the disk refuses."""
        if not records:
            return
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append((records, stored))
        self._wanted.set()
        await stored

    async def close(self, timeout_s: float) -> None:
        """Send what is spooled if the service takes it in time; the rest waits on disk."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._spool.items:
                    await asyncio.sleep(0.01)
        except TimeoutError:
            _log.warning("%d settlements stay in the spool until the next start", self._spool.items)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._spool.close()

    async def _write(self) -> None:
        """Group commit: whatever came while the last fsync ran shares the next one."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            group, self._pending = self._pending, []
            records = [record for part, _ in group for record in part]
            try:
                await asyncio.to_thread(self._spool.append, records)
            except OSError as error:
                for _, stored in group:
                    if not stored.done():
                        stored.set_exception(OSError(f"spool: {error}"))
                continue
            for _, stored in group:
                if not stored.done():
                    stored.set_result(None)
            self._spooled.set()

    async def _drain(self) -> None:
        while True:
            records = self._spool.read(BATCH_ITEMS)
            if not records:
                self._spooled.clear()
                if not self._spool.items:
                    await self._spooled.wait()
                continue
            # Serialized batches one behind the other are one batch.
            await self._settle(b"".join(record.payload for record in records))
            self._spool.acknowledge()

    async def _settle(self, batch: bytes) -> None:
        """Return when the ledger has judged every settlement of `batch`, however long it takes."""
        delay_s = RETRY_FIRST_S
        while True:
            try:
                reply = await self._send(batch, timeout=SETTLE_TIMEOUT_S, wait_for_ready=False)
                self._count(policy_pb2.SettleBatchResponse.FromString(reply))
                return
            except grpc.aio.AioRpcError as error:
                if error.code() in _HOPELESS:
                    await self._settle_halves(batch, error.details() or "")
                    return
                fault = f"{error.code().name}: {error.details()}"
            except DecodeError:
                fault = "the reply is no SettleBatchResponse; is it a policy service?"
            self._on_retry()
            if delay_s == RETRY_FIRST_S:
                _log.warning("the policy service takes no settlements (%s); they wait", fault)
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, RETRY_LAST_S)

    async def _settle_halves(self, batch: bytes, reason: str) -> None:
        """Find the settlements that spoil a batch; the others must not suffer."""
        settlements = policy_pb2.SettleBatchRequest.FromString(batch).settlements
        if len(settlements) == 1:
            _log.error("settlement %s refused: %s", settlements[0].call_id.hex(), reason)
            self._on_settled("invalid", 1)
            return
        middle = len(settlements) // 2
        for half in (settlements[:middle], settlements[middle:]):
            part = policy_pb2.SettleBatchRequest(settlements=half)
            await self._settle(part.SerializeToString())

    def _count(self, reply: policy_pb2.SettleBatchResponse) -> None:
        counts = Counter(map(attrgetter("status"), reply.results))
        for status, count in counts.items():
            self._on_settled(STATUS_NAMES.get(status, "unspecified"), count)
        for status in _TOLD:
            if counts[status]:
                first = next(r for r in reply.results if r.status == status)
                _log.warning(
                    "%d settlements: %s; the first, %s: %s",
                    counts[status], STATUS_NAMES[status], first.call_id.hex(), first.error,
                )  # fmt: skip
