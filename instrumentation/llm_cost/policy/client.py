"""The gate of an application that has a policy service: ask before a call, report after.

Every question is over within the deadline, whatever the service does; without an answer the
outage rule decides. gRPC's synchronous channel serves both kinds of callers: `grpc.aio`
costs more per call and binds itself to one event loop.
"""

import asyncio
import functools
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

import grpc

from llm_cost.errors import ConfigurationError
from llm_cost.policy import lifetime, wire
from llm_cost.policy.channel import Connection, Unanswered
from llm_cost.policy.decision import Action, Decision, Reservation, Settlement
from llm_cost.policy.outage import OutageRules
from llm_cost.policy.settling import Settler
from llm_cost.policy.sparse_log import SparseLog
from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost.policy.warning import warnings
from llm_cost.settings import Settings

_GUARD_SLACK_S: Final = 0.05  # gRPC keeps the deadline itself; this is for when it is dead
_AT_EXIT_S: Final = 5.0  # longest that a process waits at its end for its last reports

# Whatever a question can end with instead of an answer: a status, a value that the wire
# cannot carry or a closed channel, a dead gRPC, and a call that ended by cancellation.
_NO_ANSWER: Final = (
    grpc.RpcError,
    ValueError,
    TypeError,
    Unanswered,
    grpc.FutureTimeoutError,
    grpc.FutureCancelledError,
)
# The service is up and means us: nothing that an operator waits out.
_OUR_FAULT: Final = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
    }
)


class PolicyClient:
    """A `Gate` to one policy service; safe for threads, event loops and forks."""

    def __init__(self, settings: Settings) -> None:
        if settings.policy_endpoint is None:
            raise ConfigurationError("no policy endpoint is set; use OpenGate without one")
        self._deadline_s = settings.policy_deadline_s
        self._connection = Connection(settings.policy_endpoint)
        self._outage = OutageRules(settings.outage_policy, lambda: datetime.now(UTC))
        self._settler = Settler(self._connection, _tell)
        self._outage_log = SparseLog(logging.WARNING)
        self._fault_log = SparseLog(logging.ERROR)
        lifetime.follow(self)

    def reserve(self, reservation: Reservation) -> Decision:
        """Return the decision; waits at most the policy deadline, never raises."""
        connection = self._connection
        try:
            request = wire.reserve_request(reservation)
            method = connection.stub.Reserve
            answer = connection.ask(method, request, connection.allowed_s(self._deadline_s))
        except _NO_ANSWER as error:
            return self._unanswered(reservation, error)
        except BaseException:
            # Interrupted (Ctrl-C, say): nobody will settle what may be held by now.
            self._settler.void(reservation.call_id, may_arrive_late=True)
            raise
        return self._answered(reservation, answer)

    async def reserve_async(self, reservation: Reservation) -> Decision:
        """Like `reserve`, without blocking the event loop."""
        try:
            answer = await self._ask_async(reservation)
        except _NO_ANSWER as error:
            return self._unanswered(reservation, error)
        except BaseException:
            self._settler.void(reservation.call_id, may_arrive_late=True)
            raise
        return self._answered(reservation, answer)

    async def _ask_async(self, reservation: Reservation) -> pb.ReserveResponse:
        connection = self._connection
        connection.require_living()
        request = wire.reserve_request(reservation)
        method = connection.stub.Reserve
        timeout_s = connection.allowed_s(self._deadline_s)
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        call = method.future(request, timeout=timeout_s)
        guard = loop.call_later(timeout_s + _GUARD_SLACK_S, _end, ended)
        call.add_done_callback(functools.partial(_end_from_thread, loop, ended))
        try:
            await ended
        except asyncio.CancelledError:
            call.cancel()
            raise
        finally:
            guard.cancel()
        if not call.done():
            raise connection.silent()
        return call.result()

    def settle(self, settlement: Settlement) -> None:
        """Report what a call cost, in the background; never blocks, never raises."""
        self._settler.holds.ended(settlement.call_id)
        self._settler.settle(settlement)

    def void(self, call_id: bytes) -> None:
        """Report, in the background, that a reserved call consumed nothing."""
        self._settler.holds.ended(call_id)
        self._settler.void(call_id)

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything reported so far is acknowledged; False if time ran out."""
        return self._settler.flush(timeout_s)

    def _answered(self, reservation: Reservation, answer: pb.ReserveResponse) -> Decision:
        self._connection.answered()
        decision = wire.decision(answer.decision)
        if decision is None:
            why = f"the policy service answered with unknown action {answer.decision.action}"
            self._fault_log.say("%s; this library may be too old for it", why)
            return self._judged(reservation, why)
        told = wire.outage_policy(answer.decision)
        self._outage.answered(reservation, decision, answer.decision.tier, told)
        if answer.threshold_events:
            _tell(answer.threshold_events)
        if decision.action is not Action.BLOCK:
            self._settler.held(reservation.call_id, reservation.hold_ttl_s)
        return decision

    def _unanswered(self, reservation: Reservation, error: Exception) -> Decision:
        code = error.code() if isinstance(error, grpc.Call) else None
        details = error.details() if isinstance(error, grpc.Call) else str(error)
        name = code.name if code is not None else type(error).__name__
        if code in _OUR_FAULT or isinstance(error, ValueError | TypeError | Unanswered):
            why = f"the policy service could not judge this call ({name}: {details})"
            self._fault_log.say("%s", why)
        else:
            why = f"the policy service is unavailable ({name})"
            self._outage_log.say("%s: %s; the outage rule of each tier decides", why, details)
        return self._judged(reservation, why)

    def _judged(self, reservation: Reservation, why: str) -> Decision:
        decision = self._outage.judge(reservation, why)
        if decision.action is Action.BLOCK:
            # The question may have arrived all the same and hold money for a call that
            # will never be made.
            self._settler.void(reservation.call_id, may_arrive_late=True)
        return decision

    # --- The end of the process, and forks (see `lifetime`) --------------------------------

    def close(self) -> None:
        """Send what waits, for a bounded time, and say what could not be sent."""
        if not self._settler.flush(_AT_EXIT_S):
            logging.getLogger("llm_cost").error(
                "this process ends before the policy service has acknowledged %d calls of "
                "%d nano-USD, whose spans still carry the cost, and the release of %d holds, "
                "which end by themselves",
                *self._settler.unacknowledged(),
            )
        self._settler.close()
        self._connection.close()

    def before_fork(self) -> Callable[[], None]:
        """Be still while the process forks; the result ends that, in the parent."""
        return self._settler.pause()

    def after_fork_in_child(self) -> None:
        """Start over: the channel, the thread and the reports under way are the parent's."""
        self._connection.is_forked = True
        self._connection.reset()
        self._settler.reset()
        self._outage.renew_lock()


def _tell(events: Iterable[pb.ThresholdEvent]) -> None:
    for event in events:
        warnings.tell(wire.budget_warning(event))


def _end(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)


def _end_from_thread(
    loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None], call: object
) -> None:
    del call
    # A loop that has closed meanwhile has nobody waiting.
    if not loop.is_closed():
        loop.call_soon_threadsafe(_end, ended)
