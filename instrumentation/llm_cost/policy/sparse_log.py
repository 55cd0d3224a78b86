"""Logging what may happen a thousand times a second: loudly, but at most every ten seconds."""

import logging
import time
from typing import Final

_QUIET_S: Final = 10.0  # often enough to be seen, rare enough for any disk


class SparseLog:
    """One kind of message of one client; says how many like it were held back."""

    __slots__ = ("_held_back", "_level", "_log", "_next_s")

    def __init__(self, level: int) -> None:
        self._log = logging.getLogger("llm_cost")
        self._level = level
        self._next_s = 0.0
        self._held_back = 0

    def say(self, message: str, *arguments: object) -> None:
        """Log, or count."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            self._held_back += 1
            return
        held_back, self._held_back, self._next_s = self._held_back, 0, now_s + _QUIET_S
        more = f" ({held_back} more like this since the last one)" if held_back else ""
        self._log.log(self._level, message + "%s", *arguments, more)
