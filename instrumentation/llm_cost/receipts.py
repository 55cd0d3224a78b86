"""What work cost that no request of ours is making now: told by a result that is read.

A background response and a batch go on without a connection and are billed when they are done.
Whoever reads the result books it, under an id made of the provider's own name of the work: the
ledger counts it once, whichever processes read it and however often. Here it makes one span a
process. Nothing is asked of the policy, since nothing is left to prevent.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import Final

from opentelemetry import trace
from opentelemetry.trace import Span

from llm_cost import attributes as names
from llm_cost import attribution, call_id, policy
from llm_cost.call import Call
from llm_cost.faults import contained
from llm_cost.policy.decision import Identity
from llm_cost.policy.gate import Gate
from llm_cost.request import Job, Reply, Request

_REMEMBERED: Final = 10_000
"""Jobs whose span a process has made. Beyond it a result read again makes a second span; the
ledger still counts it once."""


class _Booked:
    """The jobs that this process has booked, the oldest forgotten first."""

    def __init__(self) -> None:
        self._ids: dict[bytes, None] = {}
        self._lock = Lock()

    def is_new(self, job_id: bytes) -> bool:
        with self._lock:
            if job_id in self._ids:
                return False
            if len(self._ids) >= _REMEMBERED:
                del self._ids[next(iter(self._ids))]
            self._ids[job_id] = None
            return True

    def clear(self) -> None:
        with self._lock:
            self._ids.clear()


_booked = _Booked()


class Receipt:
    """Stands where a call would, for a request that only reads what earlier work came to."""

    __slots__ = ("request",)

    span: Span = trace.INVALID_SPAN

    def __init__(self, request: Request) -> None:
        self.request = request

    def current(self) -> AbstractContextManager[None]:
        """Return a context manager that changes nothing."""
        return nullcontext()

    def stop(self, reply: Reply) -> None:
        """Book the result if it is one."""
        with contained("booking a result"):
            book(self.request, reply)

    cancel = stop

    def fail(self, error: BaseException, reply: Reply | None) -> None:
        """Book what was read before `error`, if anything was."""
        del error
        if reply is not None:
            self.stop(reply)


def book(request: Request, reply: Reply) -> None:
    """Settle finished work once, with one span; what still goes on or tells no usage is left."""
    job = reply.job
    if job is None or not job.is_done or reply.usage is None:
        return
    job_id = call_id.of_job(job.name, job.began_at_s)
    if not _booked.is_new(job_id):
        return
    _book(
        job_id,
        request,
        reply,
        identity=attribution.resolve(request.client_user_id),
        gate=policy.current_gate(),
    )


def take_name(call: Call, job: Job) -> None:
    """Have `call` settle by the job's name, and let go of the hold that it made by its own.

    Settlements go out before holds are released: the job is never seen as free.
    """
    held, call.id = call.id, call_id.of_job(job.name, job.began_at_s)
    if call.is_policed and held != call.id:
        call.gate.void(held)
    call.span.set_attribute(names.CALL_ID, call.id.hex())


def book_others(whole: Call, others: Sequence[Reply]) -> None:
    """Settle what other models did inside `whole`, each as a call of its own by the same payer."""
    for number, reply in enumerate(others):
        _book(
            call_id.of_part(whole.id, number),
            whole.request,
            reply,
            identity=whole.identity,
            gate=whole.gate,
        )


def _book(
    booked_id: bytes, request: Request, reply: Reply, *, identity: Identity, gate: Gate
) -> None:
    call = Call(request._replace(model=reply.model or request.model), identity, gate)
    call.id = booked_id
    call.admit()
    call.stop(reply)
