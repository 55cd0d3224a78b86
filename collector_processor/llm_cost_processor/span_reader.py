"""Attributes as bytes to what `enrich` judges. Remembers what spans say again and again."""

from collections.abc import Iterable, Mapping
from typing import Final

from google.protobuf.message import DecodeError

from llm_cost import attributes as names
from llm_cost_processor.any_value import plain_value
from llm_cost_processor.dialects import (
    DIALECTS,
    Attributes,
    AttributeValue,
    Encoded,
    Plan,
    Planner,
    SubjectNames,
)
from llm_cost_processor.dialects.plan import first
from llm_cost_processor.enrich import (
    NOBODY,
    NOTHING_OWN,
    Kind,
    Own,
    Subject,
    User,
    given_call_id,
    kind_of,
    subject_of,
    user_of,
)
from llm_cost_processor.memory import Memory
from llm_cost_processor.raw.v1 import raw_pb2
from llm_cost_processor.reported import buckets_of, count

REMEMBERED_KINDS: Final = 4_096
"""A kind is a tier, a model and an operation, of one resource: some dozens are met in practice.
At most 40 MB, what is written for each included: see the next."""
REMEMBERED_KIND_BYTES: Final = 1 << 10

REMEMBERED_USERS: Final = 16_384
REMEMBERED_USER_BYTES: Final = 128
"""Users of the last minutes: at most 6 MB."""

REMEMBERED_COUNTS: Final = 32_768
REMEMBERED_COUNT_BYTES: Final = 12
"""Counts of tokens below ten thousand, and the others that come again: at most 5 MB."""

Reading = tuple[Kind, list[int], User, Own]
_KindKey = tuple[Plan, Subject, tuple[bytes, ...]]


class SpanReader:
    """Reads attributes of spans and resources; knows which are worth it."""

    def __init__(self, subjects: SubjectNames) -> None:
        planner = Planner(DIALECTS, subjects)
        self._subjects = subjects
        self._wanted = planner.wanted
        self._plans = planner.plans
        self._kinds: Memory[_KindKey, Kind | None] = Memory(
            _kind, max_entries=REMEMBERED_KINDS, keeps=_is_small_kind
        )
        self._users: Memory[bytes, User | None] = Memory(
            _user,
            max_entries=REMEMBERED_USERS,
            keeps=lambda encoded: len(encoded) <= REMEMBERED_USER_BYTES,
        )
        self._counts: Memory[bytes, int | None] = Memory(
            _count,
            max_entries=REMEMBERED_COUNTS,
            keeps=lambda encoded: len(encoded) <= REMEMBERED_COUNT_BYTES,
        )

    def reading(self, encoded: Encoded, payer: Subject) -> Reading | None:
        """Return what a span says; None for no LLM span."""
        present = self._wanted.intersection(encoded)
        remembered_count = self._counts
        while True:
            plan = self._plans[present]
            if plan is None:
                return None
            kind = self._kinds[plan, payer, plan.read_texts(encoded)]
            user = self._users[encoded[plan.user]] if plan.user else User(payer.user_id, False)
            counts = [remembered_count[each] for each in plan.read_counts(encoded)]
            if kind is not None and user is not None and None not in counts:
                own = _own(plan, encoded) if plan.own else NOTHING_OWN
                return kind, counts, user, own  # type: ignore[return-value]  # no None in counts
            # An empty text or an array says nothing: the next name in the dialect's list may.
            present -= {name for name in plan.reads if plain_value(encoded[name]) is None}

    def payer_of(self, resource: bytes) -> Subject:
        """Return who pays for everything that a resource does."""
        try:
            encoded = raw_pb2.Resource.FromString(resource).attributes
        except DecodeError:
            return NOBODY  # whoever takes the traces next will judge it
        said = _plain(self._wanted.intersection(encoded), encoded)
        subjects = self._subjects
        wanted = (
            first(names, said.keys()) for names in (subjects.user, subjects.tier, subjects.group)
        )
        return subject_of(said, *wanted)


def _plain(wanted: Iterable[str], encoded: Mapping[str, bytes]) -> dict[str, AttributeValue]:
    """The attributes that say something."""
    return {name: value for name in wanted if (value := plain_value(encoded[name])) is not None}


def _kind(key: _KindKey) -> Kind | None:
    plan, payer, encoded = key
    said = _plain(plan.texts, dict(zip(plan.texts, encoded, strict=True)))
    return kind_of(plan, payer, said) if len(said) == len(plan.texts) else None


def _is_small_kind(key: _KindKey) -> bool:
    return sum(map(len, key[2])) <= REMEMBERED_KIND_BYTES


def _user(encoded: bytes) -> User | None:
    value = plain_value(encoded)
    return None if value is None else user_of(value)


def _count(encoded: bytes) -> int | None:
    value = plain_value(encoded)
    return None if value is None else count(value)


def _own(plan: Plan, encoded: Encoded) -> Own:
    said: Attributes = _plain(plan.own, encoded)
    buckets = buckets_of(said) if names.USAGE_SOURCE in plan.texts else {}
    return Own(said.get(names.COST_NANO_USD), given_call_id(said.get(names.CALL_ID)), buckets)
