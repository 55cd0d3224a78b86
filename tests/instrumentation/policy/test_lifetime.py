"""Real processes: forked ones report their own calls once, ending ones send what waits."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from llm_cost.policy.v1 import policy_pb2 as pb
from support.scripted_policy_service import Running

TESTS = Path(__file__).parents[2]
NEVER_S = 60.0

PREAMBLE = """
import logging, multiprocessing, os, sys, threading, time
logging.basicConfig(level=logging.WARNING)
from llm_cost import call_id, flush, policy
from support.policy_calls import reservation, settlement
gate = policy.current_gate()
def named(text):
    return text.ljust(16).encode()
"""


def run(script: str, server: Running, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(script)],
        env={
            **os.environ,
            "PYTHONPATH": str(TESTS),
            "LLM_COST_POLICY_ENDPOINT": server.endpoint,
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=NEVER_S,
    )


def booked(server: Running) -> list[str]:
    """The names of the calls booked, each padded to 16 bytes by `named`."""
    assert set(server.service.deliveries.values()) <= {1}
    return sorted(name.decode().strip() for name in server.service.ledger)


def test_a_forked_child_and_its_parent_each_report_their_own_calls_once(server: Running) -> None:
    ended = run(
        """
        gate.reserve(reservation())
        gate.settle(settlement(named("before")))
        child = os.fork()
        who = "parent" if child else "child"
        decision = gate.reserve(reservation())
        print(who, decision.action.value, decision.available, flush=True)
        gate.settle(settlement(named(who)))
        assert flush(20)
        if not child:
            os._exit(0)
        print("status", os.waitpid(child, 0)[1])
        """,
        server,
        GRPC_ENABLE_FORK_SUPPORT="1",
    )

    assert ended.returncode == 0, ended.stderr
    assert sorted(ended.stdout.splitlines()) == [
        "child allow True",
        "parent allow True",
        "status 0",
    ]
    assert booked(server) == ["before", "child", "parent"]


def test_a_child_never_sends_what_its_parent_has_queued(server: Running) -> None:
    def not_yet(request: pb.SettleBatchRequest, context: object) -> pb.SettleBatchResponse | None:
        names = [s.call_id.decode().strip() for s in request.settlements]
        return pb.SettleBatchResponse() if "queued" in names and len(names) == 1 else None

    server.service.on_settle = not_yet
    ended = run(
        """
        gate.settle(settlement(named("queued")))
        time.sleep(0.2)
        child = os.fork()
        if not child:
            gate.settle(settlement(named("child")))
            assert flush(20)
            os._exit(0)
        print("status", os.waitpid(child, 0)[1])
        gate.settle(settlement(named("parent")))
        """,
        server,
        GRPC_ENABLE_FORK_SUPPORT="1",
    )

    assert ended.returncode == 0, ended.stderr
    assert "status 0" in ended.stdout
    assert booked(server) == ["child", "parent", "queued"]
    assert ["child"] in [[s.call_id.decode().strip() for s in b] for b in server.service.batches]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_workers_send_what_waits_when_they_end(
    server: Running, tmp_path: Path, method: str
) -> None:
    # A file, because `spawn` imports the module that the target stands in.
    (tmp_path / "work.py").write_text(
        textwrap.dedent(
            """
            from llm_cost import policy
            from support.policy_calls import reservation, settlement

            def work(number):
                gate = policy.current_gate()
                assert gate.reserve(reservation()).available
                gate.settle(settlement(f"worker {number}".ljust(16).encode()))
            """
        )
    )
    ended = run(
        f"""
        sys.path.insert(0, {str(tmp_path)!r})
        from work import work
        if __name__ == "__main__":
            gate.reserve(reservation())
            context = multiprocessing.get_context({method!r})
            workers = [context.Process(target=work, args=(n,)) for n in range(3)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join(30)
            print([worker.exitcode for worker in workers])
        """,
        server,
        GRPC_ENABLE_FORK_SUPPORT="1",
    )

    assert ended.stdout.strip() == "[0, 0, 0]", ended.stderr
    assert booked(server) == ["worker 0", "worker 1", "worker 2"]


def test_a_child_whose_grpc_is_dead_does_not_hang_and_says_what_to_do(server: Running) -> None:
    ended = run(
        """
        import asyncio
        gate.reserve(reservation())
        child = os.fork()
        if not child:
            first = gate.reserve(reservation())
            took_s = []
            for ask in [gate.reserve] * 4 + [lambda r: asyncio.run(gate.reserve_async(r))] * 2:
                started_s = time.perf_counter()
                decision = ask(reservation())
                took_s.append(time.perf_counter() - started_s)
            print(decision.action.value, decision.available, max(took_s) < 0.5)
            print(decision.reason, flush=True)
            os._exit(0)
        print("status", os.waitpid(child, 0)[1])
        """,
        server,
        GRPC_ENABLE_FORK_SUPPORT="0",
    )

    assert "status 0" in ended.stdout, ended.stderr
    assert "block False True" in ended.stdout
    assert "GRPC_ENABLE_FORK_SUPPORT=1" in ended.stdout


@pytest.mark.parametrize(
    "ending", ["", "sys.exit(0)", "threading.Thread(target=time.sleep, args=(0.2,)).start()"]
)
def test_an_ending_process_sends_what_waits_and_leaves_no_trace_on_stderr(
    server: Running, ending: str
) -> None:
    ended = run(
        f"""
        gate.reserve(reservation())
        gate.settle(settlement(named("last")))
        {ending}
        """,
        server,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert booked(server) == ["last"]


def test_a_process_that_fails_sends_what_waits(server: Running) -> None:
    ended = run("gate.settle(settlement(named('last')))\nraise SystemExit(3)", server)

    assert (ended.returncode, ended.stderr) == (3, "")
    assert booked(server) == ["last"]


def test_a_process_that_ends_in_an_outage_waits_a_bounded_time_and_names_the_money(
    server: Running,
) -> None:
    server.stop()
    started_s = time.perf_counter()
    ended = run("gate.settle(settlement()); gate.settle(settlement())", server)

    assert ended.returncode == 0
    assert 4 < time.perf_counter() - started_s < 15
    assert "2 calls of 1400 nano-USD" in ended.stderr
    assert "Traceback" not in ended.stderr
