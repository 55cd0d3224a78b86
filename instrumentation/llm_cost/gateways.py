"""Clients that call other clients, such as litellm: one attempt, measured in one place.

A gateway client opens a `Within` before its attempt; whatever `Call` begins in that context
marks it. So it is known afterwards whether anybody measured the attempt, whichever way it went.
"""

from contextvars import ContextVar


class Within:
    """One attempt of a gateway client, on its way down."""

    __slots__ = ("is_measured",)

    def __init__(self) -> None:
        self.is_measured = False


within: ContextVar[Within | None] = ContextVar("llm_cost_within_gateway", default=None)


def measured_inside() -> None:
    """A call begins: the gateway's attempt that it stands for, if any, is measured by it."""
    attempt = within.get()
    if attempt is not None:
        attempt.is_measured = True
