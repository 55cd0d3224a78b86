"""Children are reported when they fail, and never left behind."""

import os
import sys
from pathlib import Path

import pytest

from llm_cost_cli.failures import CommandFailed
from llm_cost_cli.processes import Program, fail_if_ended, running

READY = (
    "import json; print(json.dumps({'ready': True, 'pid': __import__('os').getpid()}), flush=True)"
)
STAY = f"{READY}; import time; time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {STAY}"


def _program(code: str, log: Path | None = None) -> Program:
    return Program("the test program", [sys.executable, "-c", code], {}, log)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_child_that_ends_before_it_is_ready_is_reported_with_its_last_words(
    tmp_path: Path,
) -> None:
    program = _program("raise SystemExit('no such database')", tmp_path / "log")

    said = "exit code 1 before it was ready\n    no such database"
    with pytest.raises(CommandFailed, match=said), running(program):
        pass


def test_a_child_that_prints_something_else_is_reported() -> None:
    said = r"printed 'hello\\n' instead of its ready line"
    with pytest.raises(CommandFailed, match=said), running(_program("print('hello')")):
        pass


def test_a_child_that_dies_later_is_reported() -> None:
    with running(_program(f"{READY}; raise SystemExit(3)")) as child:
        child.stop()

        with pytest.raises(CommandFailed, match="ended unexpectedly with exit code"):
            fail_if_ended([child])


def test_a_child_is_ended_when_the_work_around_it_fails() -> None:
    pids = []

    def work() -> None:
        with running(_program(STAY)) as child:
            pids.append(child.ready["pid"])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()

    assert not _is_alive(pids[0])


def test_a_child_that_ignores_the_request_is_ended_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("llm_cost_cli.processes._DRAIN_LIMIT_S", 0.2)

    with running(_program(STUBBORN)) as child:
        assert child.stop() == -9


def test_what_a_child_prints_after_its_ready_line_does_not_fill_a_pipe() -> None:
    much = f"{READY}; print('x' * 1_000_000); raise SystemExit(0)"

    with running(_program(much)) as child:
        assert child.stop() in (0, -15)
