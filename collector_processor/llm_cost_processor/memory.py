"""A bounded memory of what was worked out before."""

from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Memory(dict[K, V]):
    """Remembers a pure function's results: `memory[key]` is `of(key)`.

    A full memory forgets everything: what comes again is soon known again, and a hit costs
    no more than a dict's. `keeps` says which keys are worth it; senders choose some of them,
    so that without a bound on one key a bound on their number would bound nothing.
    """

    def __init__(
        self, of: Callable[[K], V], *, max_entries: int, keeps: Callable[[K], bool] | None = None
    ) -> None:
        super().__init__()
        self._of = of
        self._max_entries = max_entries
        self._keeps = keeps

    def __missing__(self, key: K) -> V:
        value = self._of(key)
        if self._keeps is None or self._keeps(key):
            if len(self) >= self._max_entries:
                self.clear()
            self[key] = value
        return value
