"""kill -9 of the real process under load: whatever it acknowledged is there, once.

Set POLICY_KILL_ROUNDS for more rounds than the few of every run.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc

from llm_cost import call_id
from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost.policy.v1 import policy_pb2_grpc as rpc
from support.policy import settlement
from support.processes import policy_service_arguments, running, start

ROUNDS = int(os.environ.get("POLICY_KILL_ROUNDS", "5"))
LOAD_S = 0.4
CLIENTS = 4
TOLD = (pb.SETTLE_STATUS_APPLIED, pb.SETTLE_STATUS_REPLAYED)


class Client(threading.Thread):
    """Reserves and settles until the service is gone; knows what was acknowledged."""

    def __init__(self, address: str, number: int) -> None:
        super().__init__()
        self.address = address
        self.user_id = f"user-{number}"
        self.acknowledged: dict[bytes, int] = {}
        self.unanswered: list[pb.Settlement] = []

    def run(self) -> None:
        with grpc.insecure_channel(self.address) as channel:
            stub = rpc.PolicyServiceStub(channel)
            for batch in self._batches():
                try:
                    self._send(stub, batch)
                except grpc.RpcError:
                    self.unanswered += batch.settlements
                    return

    def _send(self, stub: rpc.PolicyServiceStub, batch: pb.SettleBatchRequest) -> None:
        first = batch.settlements[0]
        stub.Reserve(
            pb.ReserveRequest(call_id=first.call_id, subject=first.subject, estimate_nano_usd=99)
        )
        results = stub.SettleBatch(batch).results
        assert all(result.status in TOLD for result in results)
        self.acknowledged |= {s.call_id: s.actual_nano_usd for s in batch.settlements}

    def _batches(self) -> Iterator[pb.SettleBatchRequest]:
        amount = 0
        while True:
            batch = pb.SettleBatchRequest()
            for _ in range(10):
                amount += 1
                batch.settlements.append(
                    settlement(call_id.new(), amount, user_id=self.user_id, tier="enterprise")
                )
            yield batch


def _killed_under_load(arguments: list[str]) -> list[Client]:
    service = start(arguments)
    clients = [Client(service.ready["policy"], number) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    time.sleep(LOAD_S)
    service.kill()
    for client in clients:
        client.join()
    if service.process.stdout is not None:
        service.process.stdout.close()
    return clients


def _check_books(database: Path, acknowledged: dict[bytes, int]) -> None:
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT call_id, amount_nano_usd FROM ledger").fetchall()
        sums = connection.execute("SELECT user_id, SUM(change_nano_usd) FROM ledger GROUP BY 1")
        posted = connection.execute("SELECT user_id, posted_nano_usd FROM counter WHERE calls > 0")
        held = connection.execute("SELECT user_id, SUM(amount_nano_usd) FROM hold GROUP BY 1")
        counted = connection.execute(
            "SELECT user_id, held_nano_usd FROM counter WHERE held_nano_usd > 0"
        )
        stored = dict(rows)
        assert len(rows) == len(stored), "a call stands twice"
        assert {c: stored.get(c) for c in acknowledged} == acknowledged
        assert dict(sums) == dict(posted)
        assert dict(held) == dict(counted)


def test_whatever_was_acknowledged_survives_a_kill_and_counts_once(tmp_path: Path) -> None:
    database = tmp_path / "ledger.sqlite"
    arguments = policy_service_arguments(database)
    acknowledged: dict[bytes, int] = {}
    unanswered: list[pb.Settlement] = []
    for _ in range(ROUNDS):
        for client in _killed_under_load(arguments):
            acknowledged |= client.acknowledged
            unanswered += client.unanswered
        _check_books(database, acknowledged)

    with running(arguments) as service, grpc.insecure_channel(service.ready["policy"]) as channel:
        stub = rpc.PolicyServiceStub(channel)
        for retry in unanswered:  # of which some were committed and never answered
            result = stub.Settle(pb.SettleRequest(settlement=retry)).result
            assert result.status in TOLD
            acknowledged[retry.call_id] = retry.actual_nano_usd
    _check_books(database, acknowledged)
    assert len(acknowledged) > ROUNDS * CLIENTS * 10


def test_it_serves_again_within_a_second_of_its_start(tmp_path: Path) -> None:
    arguments = policy_service_arguments(tmp_path / "ledger.sqlite")
    _killed_under_load(arguments)
    imported_s = _time_of_a_start(policy_service_arguments(tmp_path / "empty.sqlite"))
    again_s = _time_of_a_start(arguments)

    # Starting Python and importing gRPC is not the ledger's time, and depends on the machine.
    assert again_s - imported_s < 1


def _time_of_a_start(arguments: list[str]) -> float:
    started = time.monotonic()
    with running(arguments) as service, grpc.insecure_channel(service.ready["policy"]) as channel:
        usage = pb.GetUsageRequest(user_id="user-0")
        rpc.PolicyServiceStub(channel).GetUsage(usage, wait_for_ready=True)
        return time.monotonic() - started
