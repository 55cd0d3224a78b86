"""The gate of a process whose limits cannot be read: nothing passes, and the reason says why."""

from llm_cost.policy.decision import Action, Decision, Reservation, Settlement


class ClosedGate:
    """Refuses every call; reports nothing, because there is nowhere to report to."""

    def __init__(self, reason: str) -> None:
        self._decision = Decision(
            action=Action.BLOCK,
            would_be=Action.BLOCK,
            reason=reason,
            rule="configuration",
            available=False,
        )

    def reserve(self, reservation: Reservation) -> Decision:
        """Block."""
        del reservation
        return self._decision

    async def reserve_async(self, reservation: Reservation) -> Decision:
        """Block."""
        del reservation
        return self._decision

    def settle(self, settlement: Settlement) -> None:
        """Drop: no call passes that could cost something."""

    def void(self, call_id: bytes) -> None:
        """Drop."""

    def flush(self, timeout_s: float) -> bool:
        """Nothing is ever waiting."""
        del timeout_s
        return True
