"""A dialect, settled for the attributes that a span carries.

An instrumentation writes the same few sets of attributes over and over. Which of a dialect's
names apply is worked out once per set.
"""

from collections.abc import Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from llm_cost import attributes as names
from llm_cost.usage import Usage
from llm_cost_processor.dialects.dialect import Dialect

MAX_PLANS: Final = 1_024
"""Sets of attribute names that are remembered; some dozens are met in practice."""

COUNTS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
)
"""The counts of a dialect, in the order in which `Plan.counts` numbers them."""

BUCKET_NAMES: Final = {names.USAGE_BUCKET_PREFIX + field: field for field in Usage._fields}
"""Attribute → bucket of `Usage`, as this library writes it on its own spans."""

OWN: Final = frozenset(
    {
        names.COST_NANO_USD,
        names.CALL_ID,
        names.PRICE_STATUS,
        names.PRICE_VERSION,
        names.USAGE_SOURCE,
        names.POLICY_DECISION,
        *BUCKET_NAMES,
    }
)
"""What this library says on a span, whichever dialect the rest is in."""


@dataclass(frozen=True, slots=True)
class SubjectNames:
    """Which attributes say who pays, first found first taken; the span's before the resource's."""

    user: tuple[str, ...] = (
        names.USER_ID,
        "enduser.id",
        "traceloop.association.properties.user_id",
    )
    tier: tuple[str, ...] = (names.USER_TIER, "user.tier", "traceloop.association.properties.tier")
    group: tuple[str, ...] = (names.GROUP, "traceloop.association.properties.group")


@dataclass(frozen=True, slots=True)
class Plan:
    """Which attribute says what, for one set of attribute names. "" where none does.

    counts: the number of the count in `COUNTS` and the attribute that holds it.
    reads: every attribute that has to be read.
    """

    dialect: Dialect
    provider: str
    operation: str
    model: str
    service_tier: str
    user: str
    tier: str
    group: str
    counts: tuple[tuple[int, str], ...]
    has_usage: bool
    has_own: bool  # this library has said something on the span
    reads: tuple[str, ...]


def first(wanted: tuple[str, ...], present: Set[str]) -> str:
    """Return the first of the `wanted` names that is there, "" where none is."""
    return next((name for name in wanted if name in present), "")


class Planner:
    """Makes and remembers the plans for a list of dialects."""

    def __init__(self, dialects: tuple[Dialect, ...], subjects: SubjectNames) -> None:
        self._dialects = dialects
        self.subjects = subjects
        self.wanted = frozenset(subjects.user + subjects.tier + subjects.group).union(
            OWN, *(dialect.names() for dialect in dialects)
        )
        self.plan_of = lru_cache(maxsize=MAX_PLANS)(self._plan)
        """Return the plan for the wanted names that a span carries, None for no LLM span."""

    def _plan(self, present: frozenset[str]) -> Plan | None:
        dialect = next((d for d in self._dialects if first(d.marks, present)), None)
        if dialect is None:
            return None
        counts = tuple(
            (number, name)
            for number, field in enumerate(COUNTS)
            if (name := first(getattr(dialect, field), present))
        )
        texts = {
            "provider": first(dialect.provider, present),
            "operation": first(dialect.operation, present),
            "model": first(dialect.model, present),
            "service_tier": first(dialect.service_tier, present),
            "user": first(self.subjects.user, present),
            "tier": first(self.subjects.tier, present),
            "group": first(self.subjects.group, present),
        }
        read = {*texts.values(), *(name for _, name in counts), *(OWN & present)} - {""}
        return Plan(
            dialect,
            counts=counts,
            # The first two are the ones without which the others say nothing.
            has_usage=any(number < 2 for number, _ in counts),
            has_own=bool(OWN & present),
            reads=tuple(sorted(read)),
            **texts,
        )
