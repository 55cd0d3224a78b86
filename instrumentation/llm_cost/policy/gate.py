"""The seam between a call and the policy: ask before, report after.

`call.py` sees only `Gate`. With no policy endpoint configured the gate is open: everything
but enforcement works, and gRPC is never imported.
"""

from typing import Protocol

from llm_cost.policy.decision import Action, Decision, Reservation, Settlement


class Gate(Protocol):
    """Ask before a call, report after it."""

    def reserve(self, reservation: Reservation) -> Decision:
        """Return the decision; waits at most the policy deadline, never raises."""

    async def reserve_async(self, reservation: Reservation) -> Decision:
        """Like `reserve`, without blocking the event loop."""

    def settle(self, settlement: Settlement) -> None:
        """Report what a call cost, in the background; never blocks, never raises."""

    def void(self, call_id: bytes) -> None:
        """Report, in the background, that a reserved call consumed nothing."""

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything reported so far is acknowledged; False if time ran out."""


_ALLOWED = Decision(action=Action.ALLOW, would_be=Action.ALLOW, reason="no policy endpoint")


class OpenGate:
    """The gate without a policy service: every call passes, nothing is reported."""

    def reserve(self, reservation: Reservation) -> Decision:
        """Allow."""
        del reservation
        return _ALLOWED

    async def reserve_async(self, reservation: Reservation) -> Decision:
        """Allow."""
        del reservation
        return _ALLOWED

    def settle(self, settlement: Settlement) -> None:
        """Drop: the span carries the cost."""

    def void(self, call_id: bytes) -> None:
        """Drop."""

    def flush(self, timeout_s: float) -> bool:
        """Nothing is ever waiting."""
        del timeout_s
        return True
