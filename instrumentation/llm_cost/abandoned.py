"""Ends calls that the garbage collector found, on a thread where that is safe.

A collection may start anywhere, also while its thread holds a lock of the span processor or
of a queue that ending a call would wait for: it must never end a call by itself.
"""

import atexit
import gc
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue


class _Collector:
    """Knows whether this thread is inside a garbage collection."""

    def __init__(self) -> None:
        self._thread: int | None = None
        gc.callbacks.append(self._told)

    def _told(self, phase: str, info: dict[str, int]) -> None:
        del info
        self._thread = threading.get_ident() if phase == "start" else None

    def is_at_work(self) -> bool:
        return self._thread == threading.get_ident()


class _Reaper:
    """A thread that ends the calls whose streams the garbage collector found."""

    def __init__(self) -> None:
        self._start_lock = threading.Lock()
        self._renew()

    def _renew(self) -> None:
        # SimpleQueue.put may be called from inside a garbage collection.
        self._queue: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            with self._start_lock:
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._run, name="llm-cost-streams", daemon=True
                    )
                    self._thread.start()

    def put(self, end: Callable[[], None]) -> None:
        self._queue.put(end)

    def _run(self) -> None:
        while True:
            self._queue.get()()

    def drain(self) -> None:
        while not self._queue.empty():
            self._queue.get_nowait()()

    def forked(self) -> None:
        """Begin anew: the parent's thread does not exist here."""
        self._start_lock = threading.Lock()
        self._renew()


_collector = _Collector()
_reaper = _Reaper()


def expect_some() -> None:
    """Have the thread running before a garbage collection needs it."""
    _reaper.start()


def end(action: Callable[[], None]) -> None:
    """Run `action` here, or on the thread when this is the inside of a garbage collection."""
    if _collector.is_at_work():
        _reaper.put(action)
    else:
        action()


def drain() -> None:
    """End what was found and not reached yet."""
    _reaper.drain()


atexit.register(drain)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reaper.forked)
