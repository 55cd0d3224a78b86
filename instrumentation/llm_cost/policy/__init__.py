"""May they call: the current gate of this process, and what to raise when it refuses."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from llm_cost import settings
from llm_cost.attributes import UNATTRIBUTED
from llm_cost.errors import ConfigurationError, PolicyBlocked
from llm_cost.money import format_usd
from llm_cost.policy.closed import ClosedGate
from llm_cost.policy.decision import Decision, Identity
from llm_cost.policy.gate import Gate, OpenGate

__all__ = [
    "Gate",
    "blocked_error",
    "current_gate",
    "flush",
    "require_usable_settings",
    "use_gate",
]

_CURRENT: Final = "current"
_gates: Final[dict[str, Gate]] = {}


def current_gate() -> Gate:
    """Return the gate that the environment asks for; made once per process, never raises."""
    return _gates.get(_CURRENT) or _make_gate()


def _make_gate() -> Gate:
    try:
        gate = _gate_of(settings.Settings.from_environment())
    except ConfigurationError as error:
        logging.getLogger("llm_cost").error("%s", error)
        # Who asked for limits must not run without them because of a typing error.
        gate = ClosedGate(str(error)) if settings.names_a_policy_endpoint() else OpenGate()
    # One step and no lock: a lock that is held while another thread forks stays held forever.
    return _gates.setdefault(_CURRENT, gate)


def _gate_of(wanted: "settings.Settings") -> Gate:
    if wanted.policy_endpoint is None:
        return OpenGate()
    from llm_cost.policy.client import PolicyClient  # loads gRPC

    return PolicyClient(wanted)


def require_usable_settings() -> None:
    """Raise `ConfigurationError` where `current_gate` would have to refuse every call."""
    wanted = settings.Settings.from_environment()
    if wanted.policy_endpoint is not None:
        from llm_cost.policy.channel import target_of

        target_of(wanted.policy_endpoint)


@contextmanager
def use_gate(gate: Gate) -> Iterator[Gate]:
    """Make `gate` the current one inside: for tests, and for a process with its own wiring."""
    before = _gates.pop(_CURRENT, None)
    _gates[_CURRENT] = gate
    try:
        yield gate
    finally:
        _gates.pop(_CURRENT, None)
        if before is not None:
            _gates[_CURRENT] = before


def flush(timeout_s: float = 5.0) -> bool:
    """Wait until every cost reported so far is booked; False when time ran out."""
    gate = _gates.get(_CURRENT)
    return gate is None or gate.flush(timeout_s)


def blocked_error(decision: Decision, identity: Identity) -> PolicyBlocked:
    """Return the exception for an application whose call `decision` refuses."""
    user_id, tier = identity.user_id or UNATTRIBUTED, identity.tier or ""
    of_tier = f" of tier {tier!r}" if tier else ""
    return PolicyBlocked(
        f"call of user {user_id!r}{of_tier} blocked: {_because(decision)}",
        user_id=user_id,
        tier=tier,
        limit_nano_usd=decision.limit_nano_usd,
        spent_nano_usd=decision.spent_nano_usd if decision.limit_nano_usd is not None else None,
        period=decision.period or None,
        resets_at=decision.resets_at,
        reason=decision.reason,
        rule=decision.rule,
    )


def _because(decision: Decision) -> str:
    because = decision.reason or "the policy says so"
    if not decision.reason and decision.limit_nano_usd is not None:
        spent = format_usd(decision.spent_nano_usd, places=4)
        limit = format_usd(decision.limit_nano_usd, places=4)
        because = f"{spent} of {limit} spent in {decision.period or 'this period'}"
    if decision.resets_at is None:
        return because
    return f"{because}; resets at {decision.resets_at:%Y-%m-%d %H:%M} UTC"
