"""Who uses the product, and how: a few hundred people, most of them frugal. Pure, seeded.

Use is heavy-tailed, as it is in life. A few people are written by hand, so that every rule
of the policy shows itself in a run of any size.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

Feature = Literal["assistant", "search", "summaries", "reports", "audits"]

ABUSER: Final = "user_99"
ABUSER_LIMIT_NANO_USD: Final = 500_000_000
SMALLEST_USERS: Final = 10
SMALLEST_CALLS: Final = 200
_PARETO_SHAPE: Final = 1.3  # about a fifth of the people make four fifths of the calls
_PRO_SHARE: Final = 0.17
_ENTERPRISE_SHARE: Final = 0.03


@dataclass(frozen=True, slots=True)
class Person:
    """Someone with an account."""

    user_id: str
    tier: str


@dataclass(frozen=True, slots=True)
class Visit:
    """One use of one feature; `text` is what the person pastes in or asks."""

    person: Person
    feature: Feature
    text: str
    max_output_tokens: int
    streamed: bool


@dataclass(frozen=True, slots=True)
class _Character:
    """A person written by hand: `visits` of `feature`, each of `max_output_tokens` at most."""

    person: Person
    feature: Feature
    visits: int
    max_output_tokens: int


@dataclass(frozen=True, slots=True)
class _Use:
    """How a tier uses a feature; `text_bytes` is a range."""

    weight: int
    text_bytes: tuple[int, int]
    max_output_tokens: int


_USES: Final[dict[str, dict[Feature, _Use]]] = {
    "free": {
        "assistant": _Use(62, (60, 2_400), 600),
        "search": _Use(28, (20, 200), 0),
        "summaries": _Use(9, (1_500, 7_000), 400),
        "reports": _Use(1, (300, 1_200), 1_000),
    },
    "pro": {
        "assistant": _Use(55, (200, 6_000), 900),
        "search": _Use(22, (20, 300), 0),
        "summaries": _Use(19, (3_000, 14_000), 700),
        "reports": _Use(4, (500, 3_000), 4_000),
    },
    "enterprise": {
        "assistant": _Use(45, (400, 7_000), 900),
        "search": _Use(22, (20, 300), 0),
        "summaries": _Use(24, (5_000, 18_000), 800),
        "reports": _Use(8, (1_000, 4_000), 8_000),
        "audits": _Use(1, (2_000, 6_000), 16_000),
    },
}
_SENTENCES: Final = (
    "We moved the weekly export to the new storage and the nightly job now ends before four. ",
    "The renewal with the northern region is agreed in principle, pending one legal question. ",
    "Support tickets about slow search fell by a third after the index was rebuilt. ",
    "Two suppliers asked for shorter payment terms and sent their draft contracts. ",
    "The next release waits for the accessibility review, planned for the end of the month. ",
)


def population(users: int) -> list[Person]:
    """Return `users` people; one of them is always `ABUSER`, on the free plan."""
    enterprise = max(1, round(users * _ENTERPRISE_SHARE))
    pro = max(1, round(users * _PRO_SHARE))
    free = users - pro - enterprise
    tiers = ["free"] * free + ["pro"] * pro + ["enterprise"] * enterprise
    names = [f"user_{number}" for number in range(1, users + 1)]
    if ABUSER not in names[:free]:  # the last of the free ones then takes the name
        last_free = names[free - 1]
        names = [last_free if name == ABUSER else name for name in names]
        names[free - 1] = ABUSER
    return [Person(name, tier) for name, tier in zip(names, tiers, strict=True)]


def visits(*, users: int, calls: int, seed: int) -> list[Visit]:
    """Return `calls` visits of `users` people, in the order in which they happen."""
    chance = random.Random(seed)
    people = population(users)
    written = [
        _visit(character.person, character.feature, character.max_output_tokens, chance)
        for character in _characters(people)
        for _ in range(character.visits)
    ]
    by_chance = list(_by_chance(people, calls - len(written), chance))
    everything = written + by_chance
    chance.shuffle(everything)
    return everything


def _characters(people: list[Person]) -> Iterator[_Character]:
    """Yield those who meet a limit: the reason why somebody runs this demo."""
    free = [person for person in people if person.tier == "free" and person.user_id != ABUSER]
    pro = [person for person in people if person.tier == "pro"]
    enterprise = [person for person in people if person.tier == "enterprise"]
    yield _Character(Person(ABUSER, "free"), "reports", 16, 1_000)
    for person in free[1 : 3 + len(free) // 60]:  # found out that reports are free of charge
        yield _Character(person, "reports", 18, 4_000)
        yield _Character(person, "assistant", 8, 600)
    for person in pro[: 1 + len(pro) // 25]:
        yield _Character(person, "audits", 16, 8_000)
    yield _Character(enterprise[0], "audits", 48, 24_000)


def _by_chance(people: list[Person], count: int, chance: random.Random) -> Iterator[Visit]:
    # Whoever is written by hand keeps to the script: no chance may spoil it.
    others = [person for person in people if person.user_id != ABUSER]
    weights = [chance.paretovariate(_PARETO_SHAPE) for _ in others]
    # Everybody looks in once; after that, some come back more than others.
    looking_in = others[:count]
    for person in looking_in + chance.choices(others, weights, k=count - len(looking_in)):
        uses = _USES[person.tier]
        feature = chance.choices(list(uses), [use.weight for use in uses.values()])[0]
        yield _visit(person, feature, uses[feature].max_output_tokens, chance)


def _visit(
    person: Person, feature: Feature, max_output_tokens: int, chance: random.Random
) -> Visit:
    use = _USES[person.tier].get(feature) or _USES["enterprise"][feature]
    size_bytes = chance.randint(*use.text_bytes)
    opening = f"Question {chance.randrange(10**9)}: "
    sentences = chance.choices(_SENTENCES, k=size_bytes // 60 + 1)
    text = (opening + "".join(sentences))[: max(size_bytes, len(opening))]
    # Reports always stream, for they take a while; chats do where the page asks for it.
    streamed = feature == "reports" or (feature == "assistant" and chance.random() < 0.3)
    return Visit(person, feature, text, max_output_tokens, streamed)
