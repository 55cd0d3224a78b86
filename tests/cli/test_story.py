"""The story of the demo: the same for a seed, and with every rule in it at any size."""

import pytest

from llm_cost_cli.demo.story import (
    ABUSER,
    SMALLEST_CALLS,
    SMALLEST_USERS,
    Person,
    population,
    visits,
)

SIZES = [(SMALLEST_USERS, SMALLEST_CALLS), (30, 300), (98, 500), (99, 500), (300, 3_000)]


@pytest.mark.parametrize(("users", "calls"), SIZES)
def test_a_story_has_the_people_and_calls_that_were_asked_for(users: int, calls: int) -> None:
    told = visits(users=users, calls=calls, seed=1)

    assert len(told) == calls
    assert len({visit.person.user_id for visit in told}) == users
    assert {visit.person.tier for visit in told} == {"free", "pro", "enterprise"}


@pytest.mark.parametrize(("users", "calls"), SIZES)
def test_nobody_has_two_plans_and_the_abuser_is_on_the_free_one(users: int, calls: int) -> None:
    people = {visit.person for visit in visits(users=users, calls=calls, seed=1)}

    assert len({person.user_id for person in people}) == len(people)
    assert Person(ABUSER, "free") in people
    assert Person(ABUSER, "free") in population(users)


def test_a_seed_is_a_story() -> None:
    assert visits(users=30, calls=300, seed=1) == visits(users=30, calls=300, seed=1)
    assert visits(users=30, calls=300, seed=1) != visits(users=30, calls=300, seed=2)


def test_use_is_heavy_tailed() -> None:
    told = visits(users=300, calls=3_000, seed=1)
    counts = sorted(
        (sum(v.person == p for v in told) for p in {v.person for v in told}), reverse=True
    )

    assert sum(counts[:60]) > 1_500  # a fifth of the people make more than half of the calls
