"""A policy service on loopback that does what a test scripts: answer, stay silent, refuse.

It keeps a ledger of its own, by call id, so that a test can see what was counted once.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc

from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost.policy.v1 import policy_pb2_grpc

Script = Callable[[pb.ReserveRequest, grpc.ServicerContext], pb.ReserveResponse]
SettleScript = Callable[
    [pb.SettleBatchRequest, grpc.ServicerContext], "pb.SettleBatchResponse | None"
]


def allow(request: pb.ReserveRequest, context: object) -> pb.ReserveResponse:
    return pb.ReserveResponse(
        decision=pb.Decision(
            action=pb.ACTION_ALLOW, would_be=pb.ACTION_ALLOW, tier=request.subject.tier
        ),
        hold_nano_usd=request.estimate_nano_usd,
    )


def deciding(**fields: object) -> Script:
    """A script that answers with these fields of a decision."""

    def answer(request: pb.ReserveRequest, context: object) -> pb.ReserveResponse:
        fields.setdefault("tier", request.subject.tier)
        return pb.ReserveResponse(decision=pb.Decision(**fields))  # type: ignore[arg-type]

    return answer


def refusing(code: grpc.StatusCode, details: str) -> Script:
    def answer(request: object, context: grpc.ServicerContext) -> pb.ReserveResponse:
        context.abort(code, details)
        raise AssertionError("abort raises")

    return answer


class ScriptedService(policy_pb2_grpc.PolicyServiceServicer):
    """What the tests talk to; `on_reserve` and `on_settle` may be replaced at any time."""

    def __init__(self) -> None:
        self.on_reserve: Script = allow
        self.on_settle: SettleScript = lambda request, context: None
        self.reserved: list[pb.ReserveRequest] = []
        self.batches: list[list[pb.Settlement]] = []
        self.ledger: dict[bytes, int] = {}
        self.deliveries: Counter[bytes] = Counter()
        self.voided: list[bytes] = []
        self.hanging = threading.Event()  # set: let go of everything that hangs

    def hang(self, request: object, context: grpc.ServicerContext) -> pb.ReserveResponse:
        """A script that never answers."""
        self.hanging.wait(30)
        return pb.ReserveResponse()

    def Reserve(
        self, request: pb.ReserveRequest, context: grpc.ServicerContext
    ) -> pb.ReserveResponse:
        self.reserved.append(request)
        return self.on_reserve(request, context)

    def SettleBatch(
        self, request: pb.SettleBatchRequest, context: grpc.ServicerContext
    ) -> pb.SettleBatchResponse:
        self.batches.append(list(request.settlements))
        scripted = self.on_settle(request, context)
        if scripted is not None:
            return scripted
        return pb.SettleBatchResponse(results=[self._book(s) for s in request.settlements])

    def _book(self, settlement: pb.Settlement) -> pb.SettleResult:
        self.deliveries[settlement.call_id] += 1
        known = settlement.call_id in self.ledger
        self.ledger.setdefault(settlement.call_id, settlement.actual_nano_usd)
        status = pb.SETTLE_STATUS_REPLAYED if known else pb.SETTLE_STATUS_APPLIED
        return pb.SettleResult(call_id=settlement.call_id, status=status)

    def Void(self, request: pb.VoidRequest, context: grpc.ServicerContext) -> pb.VoidResponse:
        self.voided.append(request.call_id)
        return pb.VoidResponse(released=True)


class Running:
    """A scripted service with its port; it can be stopped and started again there."""

    def __init__(self) -> None:
        self.service = ScriptedService()
        self.port = 0
        self.start()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
        policy_pb2_grpc.add_PolicyServiceServicer_to_server(self.service, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        self.service.hanging.set()
        self._server.stop(None).wait()


@contextmanager
def running() -> Iterator[Running]:
    started = Running()
    try:
        yield started
    finally:
        started.stop()


def eventually(holds: Callable[[], bool], within_s: float = 10.0) -> bool:
    """Wait until `holds()`; the test asserts the result."""
    ends_s = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > ends_s:
            return False
        time.sleep(0.01)
    return True
