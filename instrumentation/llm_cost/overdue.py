"""Does after a while what somebody else should have done by then, and did not.

One thread, started with the first entry. What is still waiting when the process ends is done
then.
"""

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from llm_cost.faults import contained

GRACE_S: Final = 1.0
"""Long for code that runs right after ours, short for somebody who looks at a trace."""
_WAITING_LIMIT: Final = 10_000
"""Beyond it the oldest is done at once: a second's worth of calls in flight is far below."""

Action = Callable[[], None]


class _Waiting:
    """Actions in the order in which they fall due."""

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        # Appending to a deque and setting an event need no lock that a collection could hold.
        self._due: deque[tuple[float, Action]] = deque()
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, action: Action) -> None:
        self._due.append((time.monotonic() + GRACE_S, action))
        if len(self._due) > _WAITING_LIMIT:
            self._do_next()
        if self._thread is None:
            self._start()

    def _start(self) -> None:
        with self._start_lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="llm-cost-overdue")
                self._thread.daemon = True
                self._thread.start()

    def _run(self) -> None:
        while True:
            # Entries fall due in the order they came, so a nap of the grace misses none by more.
            time.sleep(max(0.05, self._next_in_s()))
            while self._next_in_s() <= 0:
                self._do_next()

    def _next_in_s(self) -> float:
        return self._due[0][0] - time.monotonic() if self._due else GRACE_S

    def _do_next(self) -> None:
        try:
            _, action = self._due.popleft()
        except IndexError:
            return  # the limit and the thread met
        with contained("doing what is overdue"):
            action()

    def drain(self) -> None:
        while self._due:
            self._do_next()

    def forked(self) -> None:
        """Begin anew: the parent's thread does not exist here, and its entries are its own."""
        self._renew()


_waiting = _Waiting()


def after_grace(action: Action) -> None:
    """Run `action` on a thread of ours once the grace is over, or when the process ends."""
    _waiting.add(action)


def drain() -> None:
    """Do at once what is waiting."""
    _waiting.drain()


atexit.register(drain)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_waiting.forked)
