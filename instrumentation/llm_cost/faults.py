"""Our own faults never reach the host: logged in production, raised in our own tests.

Everything we do around a user's call stands inside `contained()`. The user's exceptions
never pass through here, and `PolicyBlocked` is raised outside of it, on purpose.
"""

import logging
from types import TracebackType
from typing import Final

_log = logging.getLogger("llm_cost")
_LOGGED_AT_MOST: Final = 100  # a fault on a hot path must not fill the host's disk
_logged = 0

reraise = False
"""Set by our own test suite, so that a contained fault fails a test. Never by an application:
its test suite must not break over a fault of ours."""


class contained:  # noqa: N801 - reads as a statement: `with faults.contained("settling"):`
    """Swallow and log what goes wrong inside (with `reraise` set, let it through).

    A class and not a generator: entering and leaving costs a tenth of a microsecond.
    """

    __slots__ = ("_doing",)

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if kind is None or not issubclass(kind, Exception):
            return False
        _log_fault(self._doing, error)
        return not reraise


def _log_fault(doing: str, error: BaseException | None) -> None:
    global _logged
    _logged += 1
    if _logged <= _LOGGED_AT_MOST:
        _log.error("llm_cost failed while %s; the call goes on", doing, exc_info=error)
    if _logged == _LOGGED_AT_MOST:
        _log.error("llm_cost will not log further faults of this process")
