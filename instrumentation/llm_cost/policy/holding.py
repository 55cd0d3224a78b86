"""The holds of calls that still run: kept alive, so that a long stream is not charged as dead.

The service charges a hold that runs out, because a client that is never heard again may have
spent the money. A call that outlives half of its hold's time asks for more, and so on.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

LONGEST_CALL_S: Final = 24 * 3600.0
"""After that a call that never ended is our mistake, and the service may charge its hold."""
_RUNNING_LIMIT: Final = 100_000
"""Some 20 MB. Beyond it a hold is not kept: it is charged when it ends, and the call's report
takes the charge's place."""
_AT_ONCE: Final = 500  # half of what the service takes in one message


class LiveHolds:
    """Call ids by when their hold wants renewing, oldest first. No lock: a call may end inside
    a garbage collection, in any thread and in the middle of anything.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._running: dict[bytes, tuple[float, float, float]] = {}  # due, time to live, began

    def held(self, call_id: bytes, ttl_s: float) -> None:
        """A call was admitted and holds money for `ttl_s`."""
        if len(self._running) < _RUNNING_LIMIT:
            now_s = self._clock()
            self._running[call_id] = (now_s + ttl_s / 2, ttl_s, now_s)

    def ended(self, call_id: bytes) -> None:
        """A call is reported: its hold is the report's business now."""
        self._running.pop(call_id, None)

    def due_s(self) -> float | None:
        """When the next hold wants renewing, on the clock given; None without calls."""
        try:
            return next(iter(self._running.values()))[0]
        except StopIteration:
            return None
        except RuntimeError:
            return self._clock()  # changed by another thread just now: look again

    def due(self) -> tuple[float, Sequence[bytes]]:
        """Return calls whose holds want renewing, all of one time to live, and that time."""
        now_s = self._clock()
        found: list[bytes] = []
        common_ttl_s = 0.0
        for call_id, (due_s, ttl_s, _) in list(self._running.items()):
            if due_s > now_s or len(found) == _AT_ONCE or (found and ttl_s != common_ttl_s):
                break
            common_ttl_s = ttl_s
            found.append(call_id)
        return common_ttl_s, found

    def renewed(self, call_ids: Sequence[bytes], *, until_unix_ms: Sequence[int]) -> None:
        """Note the answer of the service: 0 where there is no such hold any more."""
        now_s = self._clock()
        for call_id, until in zip(call_ids, until_unix_ms, strict=True):
            known = self._running.pop(call_id, None)
            if known is not None and until and now_s - known[2] < LONGEST_CALL_S:
                self._running[call_id] = (now_s + known[1] / 2, *known[1:])
