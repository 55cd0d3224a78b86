"""A store that cannot write: no acknowledgement, UNAVAILABLE, and as good as new afterwards."""

import grpc
import pytest

from llm_cost import call_id
from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost_policy.ledger import StoreUnavailable
from support.policy import PolicyUnderTest, settlement


def _fill_disk(service: PolicyUnderTest, *, full: bool) -> None:
    # SQLite's own limit on the size of the file answers as a full disk does.
    pages = 1 if full else 2**30
    service.ledger._connection.execute(f"PRAGMA max_page_count = {pages}")


def _fill_up(service: PolicyUnderTest) -> pb.Settlement:
    """Settle until the disk is full; return the first settlement that was refused."""
    while True:
        report = settlement(call_id.new(), 1)
        report.operation = "o" * 1_000
        try:
            service.policy.Settle(pb.SettleRequest(settlement=report))
        except grpc.RpcError:
            return report


def test_a_full_disk_is_unavailable_and_nothing_false_is_acknowledged(
    service: PolicyUnderTest,
) -> None:
    _fill_disk(service, full=True)
    refused = _fill_up(service)
    with pytest.raises(grpc.RpcError) as error:
        service.policy.Settle(pb.SettleRequest(settlement=refused))
    spent = service.usage("ada").spent_nano_usd
    rows = service.ledger.health().rows
    _fill_disk(service, full=False)
    retried = service.settle(refused)

    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert spent == rows
    assert retried.status == pb.SETTLE_STATUS_APPLIED
    assert service.usage("ada").spent_nano_usd == spent + 1


def test_a_defect_in_one_operation_fails_that_one_alone(service: PolicyUnderTest) -> None:
    def broken() -> int:
        raise ZeroDivisionError

    good = settlement(call_id.new(), 3)
    writer = service.ledger._writer
    bad = writer.submit(broken)
    result = service.settle(good)

    with pytest.raises(StoreUnavailable):
        bad.result(5)
    assert result.status == pb.SETTLE_STATUS_APPLIED
    assert service.usage("ada").spent_nano_usd == 3


def test_a_closing_ledger_acknowledges_what_it_took_and_refuses_the_rest(
    service: PolicyUnderTest,
) -> None:
    taken = service.ledger.void(call_id.new())
    service.ledger._writer.close()

    assert taken.result(5) is False
    with pytest.raises(grpc.RpcError) as error:
        service.settle(settlement(call_id.new(), 1))
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
