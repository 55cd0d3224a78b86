"""Child processes that print one JSON ready line, and end when they are told to."""

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any, Final

from llm_cost_cli.failures import NOT_TRIED, REFUSED, CommandFailed
from llm_cost_cli.settings import child_environment

_READY_LIMIT_S: Final = 30  # a cold import on a busy laptop takes seconds, not half a minute
_DRAIN_LIMIT_S: Final = 15  # what is queued is written within a second or two; then we insist
_LOG_LINES_SHOWN: Final = 15


@dataclass(frozen=True, slots=True)
class Program:
    """What to start: `python MODULE ARGUMENTS...`, or another executable's command line."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path | None = None  # where stderr goes; None: to ours

    @classmethod
    def module(
        cls, name: str, module: str, *arguments: str,
        environment: Mapping[str, str] | None = None, log: Path | None = None,
    ) -> "Program":  # fmt: skip
        """Return a module of this Python."""
        return cls(name, [sys.executable, "-m", module, *arguments], environment or {}, log)


class Child:
    """A running program; `ready` is its ready line."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.ready: Mapping[str, Any] = {}
        with _log_file(program) as log:
            self._process = subprocess.Popen(
                program.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=child_environment(program.environment),
                # A Ctrl-C goes to a terminal's whole group; the order of ending is ours.
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.poll()

    def wait_until_ready(self) -> None:
        """Read the ready line, and from then on everything after it."""
        lines: SimpleQueue[str] = SimpleQueue()
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()
        try:
            line = lines.get(timeout=_READY_LIMIT_S)
        except Empty:
            message = f"{self.program.name} was not ready within {_READY_LIMIT_S} s"
            raise CommandFailed(message + self.last_words()) from None
        if not line:
            code = self._process.wait()
            message = f"{self.program.name} ended with exit code {code} before it was ready"
            raise CommandFailed(message + self.last_words())
        try:
            self.ready = json.loads(line)
        except ValueError:
            message = f"{self.program.name} printed {line!r} instead of its ready line"
            raise CommandFailed(message) from None

    def _read(self, lines: "SimpleQueue[str]") -> None:
        # Read to the end: a full pipe would stop the child.
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            lines.put(stdout.readline())
            for line in stdout:
                sys.stderr.write(line)

    def last_words(self) -> str:
        """Return the end of the child's log, where there is one."""
        if self.program.log is None or not self.program.log.exists():
            return ""
        lines = self.program.log.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:]
        return "".join(f"\n    {line}" for line in lines)

    def stop(self) -> int:
        """Tell it to end and wait until it has; return its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(_DRAIN_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


@contextmanager
def running(program: Program) -> Iterator[Child]:
    """The program, ready; ended at the end whatever happens."""
    child = Child(program)
    try:
        child.wait_until_ready()
        yield child
    finally:
        child.stop()


def fail_if_ended(children: Sequence[Child]) -> None:
    """Raise for the first child that ended though nobody told it to."""
    for child in children:
        if child.exit_code is not None:
            message = f"{child.program.name} ended unexpectedly with exit code {child.exit_code}"
            raise CommandFailed(message + child.last_words(), exit_code=REFUSED)


def refuse_taken_port(port: int, *, option: str, purpose: str) -> None:
    """Raise if somebody listens on loopback `port` already; 0 stands for any free port."""
    # Asked beforehand, because gRPC would share a port with another gRPC server without a word.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise CommandFailed(
                f"port {port} ({purpose}) cannot be used: {error.strerror}; choose another with "
                f"{option} PORT, or let the system choose all with --ephemeral",
                exit_code=NOT_TRIED,
            ) from None


@contextmanager
def _log_file(program: Program) -> Iterator[IO[str] | None]:
    if program.log is None:
        yield None
        return
    with program.log.open("a") as log:
        yield log
