"""What a request to the provider server may be made to suffer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_SLOW_LIMIT_MS: Final = 60_000  # beyond, every client has given up


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with a request; events are counted from 1.

    Headers of the same meaning: x-fault-status, x-fault-drop-after, x-fault-malformed-after,
    x-fault-slow-ms (before a reply, and between the events of a stream).
    """

    status: int = 0
    drop_after_events: int = 0
    malformed_after_events: int = 0
    slow_ms: int = 0

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> "Fault":
        """Return the fault that a request asks for."""
        return cls(
            status=int(headers.get("x-fault-status", 0)),
            drop_after_events=int(headers.get("x-fault-drop-after", 0)),
            malformed_after_events=int(headers.get("x-fault-malformed-after", 0)),
            slow_ms=min(int(headers.get("x-fault-slow-ms", 0)), _SLOW_LIMIT_MS),
        )
