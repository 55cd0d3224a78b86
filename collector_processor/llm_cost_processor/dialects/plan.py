"""A dialect, settled for the attributes that a span carries.

An instrumentation writes the same few sets of attributes over and over. Which of a dialect's
names apply is worked out once per set.
"""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

from llm_cost import attributes as names
from llm_cost.usage import Usage
from llm_cost_processor.dialects.dialect import Dialect
from llm_cost_processor.memory import Memory

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

OWN_TEXTS: Final = frozenset(
    {names.PRICE_STATUS, names.PRICE_VERSION, names.USAGE_SOURCE, names.POLICY_DECISION}
)
OWN_VALUES: Final = frozenset({names.COST_NANO_USD, names.CALL_ID, *BUCKET_NAMES})
OWN: Final = OWN_TEXTS | OWN_VALUES
"""What this library says on a span, whichever dialect the rest is in: a few texts that come
again, and values that differ from span to span."""

Encoded = Mapping[str, bytes]
Reader = Callable[[Encoded], tuple[bytes, ...]]


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


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Which attribute says what, for one set of attribute names. "" where none does.

    Equal only to itself: plans are keys of what is remembered.

    texts: attributes of which few combinations are met.
    counts: the attributes that hold the counts; `spread` puts their values, with a 0 behind
        them, into the order of `COUNTS`.
    own: those of `OWN_VALUES` that are there.
    """

    dialect: Dialect
    provider: str
    operation: str
    model: str
    service_tier: str
    user: str
    tier: str
    group: str
    texts: tuple[str, ...]
    counts: tuple[str, ...]
    own: tuple[str, ...]
    has_usage: bool
    has_own: bool  # this library has said something on the span
    spread: Callable[[tuple[int, ...]], tuple[int, ...]]
    read_texts: Reader
    read_counts: Reader

    @property
    def reads(self) -> frozenset[str]:
        """Every attribute that has to be read."""
        return frozenset((*self.texts, *self.counts, *self.own, self.user)) - {""}


def first(wanted: tuple[str, ...], present: Set[str]) -> str:
    """Return the first of the `wanted` names that is there, "" where none is."""
    return next((name for name in wanted if name in present), "")


def reader(wanted: tuple[str, ...]) -> Reader:
    """Return a function that reads the `wanted` attributes, all of which are there."""
    if len(wanted) > 1:
        return itemgetter(*wanted)
    # `itemgetter` of one name returns no tuple, and of none it does not exist.
    return lambda encoded: tuple(encoded[name] for name in wanted)


class Planner:
    """Makes and remembers the plans for a list of dialects."""

    def __init__(self, dialects: tuple[Dialect, ...], subjects: SubjectNames) -> None:
        self._dialects = dialects
        self.subjects = subjects
        self.wanted = frozenset(subjects.user + subjects.tier + subjects.group).union(
            OWN, {names.PRICED_BELOW}, *(dialect.names() for dialect in dialects)
        )
        self.plans: Memory[frozenset[str], Plan | None] = Memory(self._plan, max_entries=MAX_PLANS)
        """The plan for the wanted names that a span carries, None for no LLM span."""

    def _plan(self, present: frozenset[str]) -> Plan | None:
        if names.PRICED_BELOW in present and names.COST_NANO_USD not in present:
            return None  # a framework's span around calls that have their own cost
        dialect = next((d for d in self._dialects if first(d.marks, present)), None)
        if dialect is None:
            return None
        found = {field: first(getattr(dialect, field), present) for field in COUNTS}
        # The first two are the ones without which the others say nothing.
        has_usage = any(found[field] for field in COUNTS[:2])
        counts = tuple(found[field] for field in COUNTS if found[field]) if has_usage else ()
        places = {name: place for place, name in enumerate(counts)}
        said = {
            "provider": first(dialect.provider, present),
            "operation": first(dialect.operation, present),
            "model": first(dialect.model, present),
            "service_tier": first(dialect.service_tier, present),
            "tier": first(self.subjects.tier, present),
            "group": first(self.subjects.group, present),
        }
        texts = tuple(sorted({*said.values(), *(OWN_TEXTS & present)} - {""}))
        return Plan(
            dialect,
            **said,
            user=first(self.subjects.user, present),
            texts=texts,
            counts=counts,
            own=tuple(sorted(OWN_VALUES & present)),
            has_usage=has_usage,
            has_own=bool(OWN & present),
            # A count that is not there is the 0 behind those that are.
            spread=itemgetter(*(places.get(found[field], len(counts)) for field in COUNTS)),
            read_texts=reader(texts),
            read_counts=reader(counts),
        )
