"""Holds of calls that still run: asked for in time, in order, and not for ever."""

from llm_cost.policy.holding import LONGEST_CALL_S, LiveHolds

ONE, TWO, THREE = b"1" * 16, b"2" * 16, b"3" * 16


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def test_nothing_is_due_before_half_of_the_time() -> None:
    clock = Clock()
    holds = LiveHolds(clock)
    holds.held(ONE, 60)
    clock.now_s += 29.9

    assert holds.due() == (0.0, [])
    assert holds.due_s() == 1_030.0


def test_what_is_due_is_renewed_and_due_again_later() -> None:
    clock = Clock()
    holds = LiveHolds(clock)
    holds.held(ONE, 60)
    clock.now_s += 31

    assert holds.due() == (60, [ONE])
    holds.renewed([ONE], until_unix_ms=[1])
    assert holds.due() == (0.0, [])
    clock.now_s += 31
    assert holds.due() == (60, [ONE])


def test_a_call_that_ended_or_has_no_hold_is_left_alone() -> None:
    clock = Clock()
    holds = LiveHolds(clock)
    for call_id in (ONE, TWO, THREE):
        holds.held(call_id, 60)
    holds.ended(TWO)
    clock.now_s += 31

    assert holds.due() == (60, [ONE, THREE])
    holds.renewed([ONE, THREE], until_unix_ms=[0, 1])
    clock.now_s += 31
    assert holds.due() == (60, [THREE])


def test_a_call_that_ended_while_it_was_renewed_stays_ended() -> None:
    clock = Clock()
    holds = LiveHolds(clock)
    holds.held(ONE, 60)
    clock.now_s += 31
    _, due = holds.due()
    holds.ended(ONE)
    holds.renewed(due, until_unix_ms=[1])

    assert holds.due_s() is None


def test_a_call_that_never_ends_is_let_go_after_a_day() -> None:
    clock = Clock()
    holds = LiveHolds(clock)
    holds.held(ONE, 60)
    clock.now_s += LONGEST_CALL_S

    holds.renewed([ONE], until_unix_ms=[1])

    assert holds.due_s() is None
