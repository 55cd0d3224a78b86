"""Early warnings to the application: a user reached a threshold of the limit.

Callbacks run in a thread of their own, so that a slow one holds up neither a call nor the
reports to the policy service, and are told each threshold once per process.
"""

import logging
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from llm_cost import faults
from llm_cost.policy.decision import BudgetWarning

_log = logging.getLogger("llm_cost")

_WAITING_LIMIT: Final = 1_000  # thresholds are rare; more waiting means a callback hangs
_TOLD_LIMIT: Final = 50_000  # remembered so as to tell once; some 10 MB

Callback = Callable[[BudgetWarning], object]


class Warnings:
    """The callbacks of one process and the thread that calls them."""

    def __init__(self) -> None:
        self._callbacks: list[Callback] = []
        self.forget_threads()

    def forget_threads(self) -> None:
        """Start over in a forked child: the parent's thread and its waiting do not exist."""
        self._lock = threading.Lock()
        self._waiting: queue.Queue[BudgetWarning] = queue.Queue(_WAITING_LIMIT)
        self._told: OrderedDict[tuple[str, str, int], None] = OrderedDict()
        self._thread: threading.Thread | None = None

    def register(self, callback: Callback) -> Callable[[], None]:
        """Call `callback` for every warning from now on, until the result is called."""
        if not callable(callback):
            raise TypeError(f"on_budget_warning needs a function, not {callback!r}")
        with self._lock:
            self._callbacks = [*self._callbacks, callback]
        return lambda: self._unregister(callback)

    def _unregister(self, callback: Callback) -> None:
        with self._lock:
            self._callbacks = [kept for kept in self._callbacks if kept is not callback]

    def tell(self, warning: BudgetWarning) -> None:
        """Hand `warning` to the callbacks, unless it was told before; never waits for them."""
        key = (warning.user_id, warning.period, warning.threshold_percent)
        with self._lock:
            if not self._callbacks or key in self._told:
                return
            self._told[key] = None
            if len(self._told) > _TOLD_LIMIT:
                self._told.popitem(last=False)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="llm-cost-warnings", daemon=True
                )
                self._thread.start()
        try:
            self._waiting.put_nowait(warning)
        except queue.Full:
            _log.error("a budget warning is lost, because a callback hangs: %s", warning)

    def _run(self) -> None:
        while True:
            warning = self._waiting.get()
            for callback in self._callbacks:
                with faults.contained("calling a budget warning callback"):
                    callback(warning)


warnings: Final = Warnings()


def on_budget_warning(callback: Callback) -> Callable[[], None]:
    """Call `callback(BudgetWarning)` once per user, period and threshold that is reached.

    It is called in a background thread of this process: schedule onto your event loop with
    `loop.call_soon_threadsafe`. Returns a function that ends it.
    """
    return warnings.register(callback)
