"""What a policy client does when its process forks and when it ends.

Handlers of `os.register_at_fork` cannot be taken back, so they are registered once, here,
and look after the clients that are alive.
"""

import atexit
import os
import sys
import weakref
from collections.abc import Callable
from typing import Final, Protocol

from llm_cost import faults
from llm_cost.policy.warning import warnings


class Lived(Protocol):
    """What a client does at the turns of its process's life."""

    def close(self) -> None:
        """Send what waits, for a bounded time."""

    def before_fork(self) -> Callable[[], None]:
        """Be still; the result ends that in the parent."""

    def after_fork_in_child(self) -> None:
        """Start over."""


_living: Final[weakref.WeakSet[Lived]] = weakref.WeakSet()
_paused: list[Callable[[], None]] = []
_followed_in_pid = 0
_registered = False


def follow(client: Lived) -> None:
    """See `client` through forks and to the end of the process."""
    global _registered
    _living.add(client)
    if not _registered:
        _registered = True
        # gRPC is imported by now, so that our `before` runs ahead of gRPC's own.
        os.register_at_fork(
            before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child
        )
        atexit.register(_close_all)


def end_with_worker() -> None:
    """See to it that a `multiprocessing` worker closes too: it ends without `atexit`."""
    global _followed_in_pid
    multiprocessing_util = sys.modules.get("multiprocessing.util")
    if multiprocessing_util is None or _followed_in_pid == os.getpid():
        return
    _followed_in_pid = os.getpid()
    multiprocessing_util.Finalize(None, _close_all, exitpriority=0)


def _close_all() -> None:
    for client in list(_living):
        with faults.contained("ending with the process"):
            client.close()


def _before_fork() -> None:
    for client in list(_living):
        with faults.contained("keeping still for a fork"):
            _paused.append(client.before_fork())


def _after_in_parent() -> None:
    while _paused:
        _paused.pop()()


def _after_in_child() -> None:
    _paused.clear()
    warnings.forget_threads()
    for client in list(_living):
        with faults.contained("starting over after a fork"):
            client.after_fork_in_child()
