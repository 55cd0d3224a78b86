"""The client and the real policy service, as processes: what they agree on."""

import queue
import time
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from llm_cost import BudgetWarning, on_budget_warning
from llm_cost.policy import warning
from llm_cost.policy.client import PolicyClient
from llm_cost.policy.decision import Action, Identity
from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost.policy.v1.policy_pb2_grpc import PolicyServiceStub
from llm_cost.settings import Settings
from support import processes
from support.policy_calls import ANNA, reservation, settlement

FLUSH_S = 10.0
USD = 1_000_000_000
PATIENT_S = 2.0  # these tests are not about the deadline


def client_of(service: processes.Service) -> PolicyClient:
    return PolicyClient(
        Settings(policy_endpoint=service.ready["policy"], policy_deadline_s=PATIENT_S)
    )


def usage_of(service: processes.Service, user_id: str) -> pb.UserUsage:
    with grpc.insecure_channel(service.ready["policy"]) as channel:
        answer = PolicyServiceStub(channel).GetUsage(pb.GetUsageRequest(user_id=user_id))
        return answer.usage


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def test_a_user_is_warned_and_then_blocked_and_stays_so_when_the_service_dies(
    database: Path,
) -> None:
    warning.warnings.forget_threads()
    told: queue.Queue[BudgetWarning] = queue.Queue()
    forget = on_budget_warning(told.put)
    with processes.running(processes.policy_service_arguments(database)) as service:
        client = client_of(service)
        actions = []
        for actual_nano_usd in (4_200_000_000, 900_000_000, None):
            actions.append(client.reserve(reservation()).action)
            client.settle(
                settlement(
                    actual_nano_usd=actual_nano_usd,
                    price_status="exact" if actual_nano_usd else "unknown",
                )
            )
            assert client.flush(FLUSH_S)
        spent_nano_usd = usage_of(service, "anna").spent_nano_usd
        service.kill()
        after = client.reserve(reservation())
        other = client.reserve(reservation(Identity(user_id="ben", tier="free")))
        client._settler.close()

    assert actions == [Action.ALLOW, Action.WARN, Action.BLOCK]
    assert spent_nano_usd == 5_100_000_000
    assert (after.action, after.available, after.limit_nano_usd) == (Action.BLOCK, False, 5 * USD)
    assert other.rule == "outage:block"
    assert told.get(timeout=5).threshold_percent == 80
    forget()


def test_every_report_counts_once_across_a_kill_of_the_service(database: Path) -> None:
    arguments = processes.policy_service_arguments(database)
    with processes.running(arguments) as service:
        client = client_of(service)
        for _ in range(300):
            client.settle(settlement(actual_nano_usd=7))
        client.flush(0.02)  # some are under way now
        service.kill()
        listen = service.ready["policy"]
    for _ in range(300):
        client.settle(settlement(actual_nano_usd=7))
    again = processes.policy_service_arguments(database, listen=listen)
    with processes.running(again) as service:
        assert client.flush(20)
        usage = usage_of(service, ANNA.user_id or "")
        client.close()

    assert (usage.calls, usage.spent_nano_usd) == (600, 600 * 7)


def test_a_reserved_call_that_is_voided_holds_nothing(database: Path) -> None:
    with processes.running(processes.policy_service_arguments(database)) as service:
        client = client_of(service)
        asked = reservation(estimate_nano_usd=USD)
        client.reserve(asked)
        held_nano_usd = usage_of(service, "anna").held_nano_usd
        client.void(asked.call_id)
        assert client.flush(FLUSH_S)
        usage = usage_of(service, "anna")
        client.close()

    assert (held_nano_usd, usage.held_nano_usd, usage.spent_nano_usd) == (USD, 0, 0)


def test_an_id_that_the_service_refuses_is_judged_by_the_outage_rule(
    database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with processes.running(processes.policy_service_arguments(database)) as service:
        client = client_of(service)
        decision = client.reserve(reservation(Identity(user_id="x" * 300, tier="free")))
        client.close()

    assert (decision.action, decision.available) == (Action.BLOCK, False)
    assert "INVALID_ARGUMENT" in decision.reason
    assert "INVALID_ARGUMENT" in caplog.text


def test_a_call_that_outlives_its_hold_keeps_it_and_is_not_charged_as_dead(
    database: Path,
) -> None:
    with processes.running(processes.policy_service_arguments(database)) as service:
        client = client_of(service)
        running = replace(reservation(), hold_ttl_s=2.0)
        assert client.reserve(running).action is Action.ALLOW
        time.sleep(5)  # the service sweeps every second; without renewal the hold is dead by now
        during = usage_of(service, "anna")
        client.void(running.call_id)
        assert client.flush(FLUSH_S)
        after = usage_of(service, "anna")
        client.close()

    assert (during.held_nano_usd, during.calls) == (running.estimate_nano_usd, 0)
    assert (after.held_nano_usd, after.spent_nano_usd) == (0, 0)
