"""A policy service in this process, on real ports, and short ways to talk to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from llm_cost import call_id
from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost.policy.v1 import policy_pb2_grpc as rpc
from llm_cost_policy import admin, server
from llm_cost_policy.ledger.sqlite import SqliteLedger
from llm_cost_policy.transport import Listener

NOON_UNIX_MS = 1_795_521_600_000  # 2026-11-24 12:00 UTC
USD = 1_000_000_000


class Clock:
    """Time that moves when a test says so."""

    def __init__(self, now_unix_ms: int = NOON_UNIX_MS) -> None:
        self.now_unix_ms = now_unix_ms

    def __call__(self) -> int:
        return self.now_unix_ms

    def advance(self, *, seconds: int) -> None:
        self.now_unix_ms += seconds * 1_000


class PolicyUnderTest:
    """The two services over gRPC, and the ledger and clock beneath."""

    def __init__(self, database: Path) -> None:
        self.clock = Clock()
        self.ledger = SqliteLedger(str(database), clock=self.clock)
        self._listeners = [
            Listener(handler, service.full_name, address="127.0.0.1:0")
            for handler, service in (
                (server.handlers(self.ledger), server.SERVICE),
                (admin.handlers(self.ledger), admin.SERVICE),
            )
        ]
        self.address, self.admin_address = (listener.address for listener in self._listeners)
        self.channel = grpc.insecure_channel(self.address)
        self._admin_channel = grpc.insecure_channel(self.admin_address)
        self.policy = rpc.PolicyServiceStub(self.channel)
        self.admin = rpc.PolicyAdminServiceStub(self._admin_channel)

    def close(self) -> None:
        self.channel.close()
        self._admin_channel.close()
        for listener in self._listeners:
            listener.stop(0)
        self.ledger.close()

    def reserve(
        self, user_id: str, nano_usd: int, *, tier: str = "free", identity: bytes | None = None
    ) -> pb.ReserveResponse:
        return self.policy.Reserve(
            pb.ReserveRequest(
                call_id=identity or call_id.new(),
                subject=pb.Subject(user_id=user_id, tier=tier),
                estimate_nano_usd=nano_usd,
                hold_ttl_ms=60_000,
            )
        )

    def settle(self, settlement: pb.Settlement) -> pb.SettleResult:
        batch = pb.SettleBatchRequest(settlements=[settlement])
        return self.policy.SettleBatch(batch).results[0]

    def usage(self, user_id: str, period: str = "") -> pb.UserUsage:
        return self.policy.GetUsage(pb.GetUsageRequest(user_id=user_id, period=period)).usage


@contextmanager
def policy_service(database: Path) -> Iterator[PolicyUnderTest]:
    """The services on free ports, ended at the end."""
    service = PolicyUnderTest(database)
    try:
        yield service
    finally:
        service.close()


def settlement(
    identity: bytes, nano_usd: int | None, *, user_id: str = "ada", tier: str = "free",
    estimated: bool = False, ended_at_unix_ms: int = 0,
) -> pb.Settlement:  # fmt: skip
    """A report of one call."""
    return pb.Settlement(
        call_id=identity,
        subject=pb.Subject(user_id=user_id, tier=tier),
        actual_nano_usd=nano_usd,
        usage_source=pb.USAGE_SOURCE_ESTIMATED if estimated else pb.USAGE_SOURCE_REPORTED,
        ended_at_unix_ms=ended_at_unix_ms,
    )
