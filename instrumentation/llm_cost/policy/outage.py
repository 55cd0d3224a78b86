"""What happens to a call while the policy service cannot be asked. No gRPC, no threads.

The service says the rule of a tier in every answer; until it has, the environment's rule
holds. A user whose last answer was BLOCK stays blocked: an outage must not pay out.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final, TypeVar

from llm_cost.attributes import UNATTRIBUTED
from llm_cost.money import format_usd
from llm_cost.policy.decision import (
    Action,
    Decision,
    Identity,
    OutageMode,
    OutagePolicy,
    Reservation,
)

K = TypeVar("K")
V = TypeVar("V")

_TIERS_KEPT: Final = 1_000  # a tier is a plan; more are user ids passed by mistake
_USERS_KEPT: Final = 50_000  # some 10 MB; the oldest is forgotten and falls to the tier's rule
_ALLOWANCES_KEPT: Final = 50_000  # never forgotten during an outage: a further user is blocked


class OutageRules:
    """What the service has told so far, and what this process let through without it."""

    def __init__(
        self,
        configured: Callable[[str], OutagePolicy],
        now: Callable[[], datetime],
    ) -> None:
        self._configured = configured
        self._now = now
        self._lock = threading.Lock()
        self._told: OrderedDict[str, OutagePolicy] = OrderedDict()
        self._booked_tiers: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._blocked: OrderedDict[str, Decision] = OrderedDict()
        self._spent_nano_usd: dict[str, int] = {}

    def renew_lock(self) -> None:
        """Forget who held the lock: in a forked child, nobody does."""
        self._lock = threading.Lock()

    def answered(
        self,
        reservation: Reservation,
        decision: Decision,
        booked_tier: str,
        told: OutagePolicy | None,
    ) -> None:
        """Learn from an answer; it also ends an outage, and with it every allowance used."""
        identity = reservation.identity
        user_id = identity.user_id or UNATTRIBUTED
        with self._lock:
            self._spent_nano_usd.clear()
            if told is not None:
                _keep(self._told, booked_tier, told, _TIERS_KEPT)
            if booked_tier != (identity.tier or ""):
                key = (user_id, identity.tier or "")
                _keep(self._booked_tiers, key, booked_tier, _USERS_KEPT)
            # A call without a price may be refused for that alone; that says nothing about
            # the user's next call.
            if decision.action is not Action.BLOCK:
                self._blocked.pop(user_id, None)
            elif reservation.estimate_nano_usd is not None:
                _keep(self._blocked, user_id, decision, _USERS_KEPT)

    def judge(self, reservation: Reservation, why: str) -> Decision:
        """Decide about a call that the service did not; `why` it did not goes to the reason."""
        identity = reservation.identity
        with self._lock:
            blocked = self._still_blocked(identity.user_id or UNATTRIBUTED)
            if blocked is not None:
                reason = f"{why}; the last answer was to block: {blocked.reason}"
                return replace(blocked, reason=reason, available=False)
            policy = self._policy(identity)
            if policy.mode is OutageMode.ALLOW_UP_TO:
                return self._within_allowance(reservation, policy.allowance_nano_usd, why)
        action = Action.ALLOW if policy.mode is OutageMode.ALLOW else Action.BLOCK
        return _decision(action, policy.mode, f"{why}; the tier's rule then is {policy.mode.value}")

    def _still_blocked(self, user_id: str) -> Decision | None:
        blocked = self._blocked.get(user_id)
        if blocked is None or blocked.resets_at is None or self._now() < blocked.resets_at:
            return blocked
        del self._blocked[user_id]
        return None

    def _policy(self, identity: Identity) -> OutagePolicy:
        claimed = identity.tier or ""
        # The service may have assigned another tier than the caller claims.
        tier = self._booked_tiers.get((identity.user_id or UNATTRIBUTED, claimed), claimed)
        return self._told.get(tier) or self._configured(tier)

    def _within_allowance(
        self, reservation: Reservation, allowance_nano_usd: int, why: str
    ) -> Decision:
        user_id = reservation.identity.user_id or UNATTRIBUTED
        spent_nano_usd = self._spent_nano_usd.get(user_id)
        estimate_nano_usd = reservation.estimate_nano_usd
        allowance = format_usd(allowance_nano_usd, places=9)
        if estimate_nano_usd is None:
            problem = "a call without a price cannot be counted against"
        elif spent_nano_usd is None and len(self._spent_nano_usd) >= _ALLOWANCES_KEPT:
            problem = "too many users to count have used"
        elif (after_nano_usd := (spent_nano_usd or 0) + estimate_nano_usd) > allowance_nano_usd:
            problem = "this call would exceed"
        else:
            self._spent_nano_usd[user_id] = after_nano_usd
            reason = f"{why}; within the outage allowance of {allowance}"
            return _decision(Action.ALLOW, OutageMode.ALLOW_UP_TO, reason)
        reason = f"{why}; {problem} the outage allowance of {allowance}"
        return _decision(Action.BLOCK, OutageMode.ALLOW_UP_TO, reason)


def _decision(action: Action, mode: OutageMode, reason: str) -> Decision:
    return Decision(
        action=action, would_be=action, reason=reason, rule=f"outage:{mode.value}", available=False
    )


def _keep(kept: OrderedDict[K, V], key: K, value: V, limit: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > limit:
        kept.popitem(last=False)
