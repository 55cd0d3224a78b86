"""The people of the story: sends their requests, sixteen at a time, and counts the answers."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Final

from llm_cost_cli.demo.story import Visit

AT_A_TIME: Final = 16
_ANSWER_LIMIT_S: Final = 60
_SHOW_EVERY_S: Final = 0.25


@dataclass(slots=True)
class Tally:
    """How the application answered, by HTTP status."""

    wanted: int
    statuses: Counter[int] = field(default_factory=Counter)
    started_at: float = field(default_factory=time.monotonic)
    first_failure: str = ""

    @property
    def done(self) -> int:
        """Answers so far."""
        return self.statuses.total()

    @property
    def blocked(self) -> int:
        """Refusals by the policy."""
        return self.statuses[402]

    @property
    def failed(self) -> int:
        """Answers that are neither an answer nor a refusal by the policy."""
        return self.done - self.statuses[200] - self.blocked

    @property
    def seconds(self) -> float:
        """Since the first request."""
        return time.monotonic() - self.started_at


class _People:
    """Makes the requests of one thread after another, each over a connection of its own."""

    def __init__(self, address: str, tally: Tally) -> None:
        self._address = address
        self._tally = tally
        self._own = threading.local()
        self._lock = threading.Lock()
        self._open: list[HTTPConnection] = []

    def send(self, visit: Visit) -> None:
        """Make one request, read the answer to its end, count it."""
        body = json.dumps(
            {
                "text": visit.text,
                "max_output_tokens": visit.max_output_tokens,
                "streamed": visit.streamed,
            }
        )
        headers = {
            "content-type": "application/json",
            "x-user-id": visit.person.user_id,
            "x-plan": visit.person.tier,
        }
        connection = self._connection()
        try:
            connection.request("POST", f"/{visit.feature}", body, headers)
            answer = connection.getresponse()
            status, text = answer.status, answer.read()
        except OSError as error:
            connection.close()
            status, text = 0, str(error).encode()
        with self._lock:
            self._tally.statuses[status] += 1
            if status not in (200, 402) and not self._tally.first_failure:
                first = text[:200].decode(errors="replace")
                self._tally.first_failure = f"/{visit.feature} answered {status}: {first}"

    def close(self) -> None:
        """Hang up."""
        for connection in self._open:
            connection.close()

    def _connection(self) -> HTTPConnection:
        connection: HTTPConnection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = HTTPConnection(
                self._address, timeout=_ANSWER_LIMIT_S
            )
            with self._lock:
                self._open.append(connection)
        return connection


def drive(
    address: str,
    visits: Sequence[Visit],
    *,
    progress: Callable[[Tally], None],
    healthy: Callable[[], None],
) -> Tally:
    """Make every visit; `progress` sees the tally now and then, `healthy` may raise."""
    tally = Tally(wanted=len(visits))
    people = _People(address, tally)
    pool = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="people")
    try:
        waiting = [pool.submit(people.send, visit) for visit in visits]
        for _ in _until(lambda: all(one.done() for one in waiting[-AT_A_TIME * 4 :])
                        and all(one.done() for one in waiting)):  # fmt: skip
            progress(tally)
            healthy()
        for one in waiting:
            one.result()
    finally:
        pool.shutdown(cancel_futures=True)
        people.close()
    progress(tally)
    return tally


def _until(holds: Callable[[], bool]) -> Iterator[None]:
    while not holds():
        yield
        time.sleep(_SHOW_EVERY_S)
