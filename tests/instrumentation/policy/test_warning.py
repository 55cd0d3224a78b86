"""Early warnings reach the application once, in a thread of ours."""

import queue
import threading
import time
from collections.abc import Iterator

import pytest

from llm_cost import BudgetWarning, faults, on_budget_warning
from llm_cost.policy import warning
from llm_cost.policy.client import PolicyClient
from llm_cost.policy.v1 import policy_pb2 as pb
from support.policy_calls import reservation, settlement
from support.scripted_policy_service import Running

EVENT = pb.ThresholdEvent(
    user_id="anna",
    tier="free",
    period="2026-11",
    threshold_percent=80,
    spent_nano_usd=81,
    limit_nano_usd=100,
)
AS_TOLD = BudgetWarning("anna", "free", "2026-11", 80, 81, 100)


@pytest.fixture(autouse=True)
def _nothing_told_yet() -> Iterator[None]:
    warning.warnings.forget_threads()
    yield
    warning.warnings.forget_threads()


def warn_on_reserve(server: Running) -> None:
    server.service.on_reserve = lambda request, context: pb.ReserveResponse(
        decision=pb.Decision(action=pb.ACTION_WARN), threshold_events=[EVENT]
    )


def test_what_is_not_a_function_is_refused() -> None:
    with pytest.raises(TypeError, match="needs a function"):
        on_budget_warning("mail me")  # type: ignore[arg-type]


def test_a_failing_callback_does_not_silence_the_next(
    server: Running, client: PolicyClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "reraise", False)
    told: queue.Queue[BudgetWarning] = queue.Queue()

    def fail(warned: BudgetWarning) -> None:
        raise RuntimeError("the mail server is down")

    forget_first, forget_second = on_budget_warning(fail), on_budget_warning(told.put)
    warn_on_reserve(server)
    client.reserve(reservation())

    assert told.get(timeout=5) == AS_TOLD
    forget_first()
    forget_second()


def test_a_threshold_is_told_once_per_process(server: Running, client: PolicyClient) -> None:
    told: queue.Queue[BudgetWarning] = queue.Queue()
    forget = on_budget_warning(told.put)
    warn_on_reserve(server)
    for _ in range(3):
        client.reserve(reservation())
    told.get(timeout=5)

    with pytest.raises(queue.Empty):
        told.get(timeout=0.1)
    forget()


def test_a_threshold_reached_by_a_report_is_told(server: Running, client: PolicyClient) -> None:
    told: queue.Queue[BudgetWarning] = queue.Queue()
    forget = on_budget_warning(told.put)
    server.service.on_settle = lambda request, context: pb.SettleBatchResponse(
        results=[pb.SettleResult(call_id=s.call_id, status=1) for s in request.settlements],
        threshold_events=[EVENT],
    )
    client.settle(settlement())

    assert told.get(timeout=5) == AS_TOLD
    forget()


def test_a_slow_callback_holds_up_neither_calls_nor_reports(
    server: Running, client: PolicyClient
) -> None:
    let_go, threads = threading.Event(), []

    def slow(warned: BudgetWarning) -> None:
        threads.append(threading.current_thread())
        let_go.wait(10)

    forget = on_budget_warning(slow)
    client.reserve(reservation())
    warn_on_reserve(server)
    started_s = time.perf_counter()
    client.reserve(reservation())
    took_s = time.perf_counter() - started_s
    client.settle(settlement())

    assert client.flush(5)
    assert took_s < 0.3
    assert threads[0] is not threading.main_thread()
    let_go.set()
    forget()


def test_an_unregistered_callback_hears_nothing(server: Running, client: PolicyClient) -> None:
    told: queue.Queue[BudgetWarning] = queue.Queue()
    on_budget_warning(told.put)()
    warn_on_reserve(server)
    client.reserve(reservation())

    with pytest.raises(queue.Empty):
        told.get(timeout=0.1)
