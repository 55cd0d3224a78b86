"""The ledger's rules over real gRPC: counted once, the best report stands, nothing is lost."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from llm_cost import call_id
from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost.policy.v1 import policy_pb2_grpc as rpc
from support.policy import NOON_UNIX_MS, USD, PolicyUnderTest, settlement

DAY_MS = 86_400_000


def test_the_same_settle_a_hundred_times_counts_once(service: PolicyUnderTest) -> None:
    report = settlement(call_id.new(), 7)
    with ThreadPoolExecutor(16) as threads:
        results = list(threads.map(lambda _: service.settle(report).status, range(100)))

    assert results.count(pb.SETTLE_STATUS_APPLIED) == 1
    assert results.count(pb.SETTLE_STATUS_REPLAYED) == 99
    assert (service.usage("ada").spent_nano_usd, service.usage("ada").calls) == (7, 1)


def test_the_same_settle_within_one_batch_counts_once(service: PolicyUnderTest) -> None:
    batch = pb.SettleBatchRequest(settlements=[settlement(call_id.new(), 7)] * 3)
    results = service.policy.SettleBatch(batch).results

    assert [r.status for r in results] == [
        pb.SETTLE_STATUS_APPLIED, pb.SETTLE_STATUS_REPLAYED, pb.SETTLE_STATUS_REPLAYED
    ]  # fmt: skip


def test_another_amount_is_a_conflict_and_the_first_stands(service: PolicyUnderTest) -> None:
    identity = call_id.new()
    service.settle(settlement(identity, 7))
    conflict = service.settle(settlement(identity, 8))
    with pytest.raises(grpc.RpcError) as error:
        service.policy.Settle(pb.SettleRequest(settlement=settlement(identity, 9)))

    assert conflict.status == pb.SETTLE_STATUS_CONFLICT
    assert conflict.recorded_nano_usd == 7
    assert "7 nano-USD" in conflict.error
    assert error.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert service.ledger.health().conflicts == 2
    assert service.usage("ada").spent_nano_usd == 7


def test_another_user_is_a_conflict_and_no_user_is_a_replay(service: PolicyUnderTest) -> None:
    identity = call_id.new()
    service.settle(settlement(identity, 7))

    assert service.settle(settlement(identity, 7, user_id="eve")).status == (
        pb.SETTLE_STATUS_CONFLICT
    )
    assert service.settle(settlement(identity, 7, user_id="", tier="")).status == (
        pb.SETTLE_STATUS_REPLAYED
    )


def test_a_reported_usage_replaces_an_estimated_one_and_not_the_reverse(
    service: PolicyUnderTest,
) -> None:
    identity = call_id.new()
    statuses = [
        service.settle(settlement(identity, 10, estimated=True)).status,
        service.settle(settlement(identity, 4)).status,
        service.settle(settlement(identity, 12, estimated=True)).status,
    ]

    assert statuses == [
        pb.SETTLE_STATUS_APPLIED, pb.SETTLE_STATUS_REPLACED, pb.SETTLE_STATUS_KEPT
    ]  # fmt: skip
    assert (service.usage("ada").spent_nano_usd, service.usage("ada").calls) == (4, 1)


def test_an_unknown_price_is_no_zero_and_a_later_price_takes_its_place(
    service: PolicyUnderTest,
) -> None:
    identity = call_id.new()
    unpriced = service.settle(settlement(identity, None))
    before = service.usage("ada")
    priced = service.settle(settlement(identity, 3))
    after = service.usage("ada")

    assert not unpriced.HasField("recorded_nano_usd")
    assert (before.spent_nano_usd, before.unpriced_calls) == (0, 1)
    assert priced.status == pb.SETTLE_STATUS_REPLACED
    assert (after.spent_nano_usd, after.unpriced_calls, after.calls) == (3, 0, 1)


def test_a_settle_takes_the_hold_and_its_subject_and_period(service: PolicyUnderTest) -> None:
    identity = call_id.new()
    service.reserve("ada", 100, identity=identity)
    service.clock.advance(seconds=30)
    result = service.settle(settlement(identity, 250, user_id="", tier="", ended_at_unix_ms=1))

    assert result.period == "2026-11"
    assert service.usage("ada").held_nano_usd == 0
    assert service.usage("ada").spent_nano_usd == 250  # money spent is always recorded


def test_a_call_over_midnight_of_a_month_stays_in_the_month_of_its_reserve(
    service: PolicyUnderTest,
) -> None:
    service.clock.now_unix_ms += 6 * DAY_MS + 43_170_000  # 30 s before December
    identity = call_id.new()
    service.reserve("ada", 100, identity=identity)
    service.clock.advance(seconds=50)
    service.settle(settlement(identity, 90))

    assert service.usage("ada").period == "2026-12"
    assert service.usage("ada").spent_nano_usd == 0
    assert service.usage("ada", "2026-11").spent_nano_usd == 90


def test_a_settle_without_a_hold_goes_to_the_period_it_ended_in(service: PolicyUnderTest) -> None:
    last_month = service.clock.now_unix_ms - 30 * DAY_MS
    next_year = service.clock.now_unix_ms + 400 * DAY_MS

    late = service.settle(settlement(call_id.new(), 1, ended_at_unix_ms=last_month))
    wrong_clock = service.settle(settlement(call_id.new(), 1, ended_at_unix_ms=next_year))
    assert (late.period, wrong_clock.period) == ("2026-10", "2026-11")


def test_a_settle_before_its_reserve_leaves_nothing_to_hold(service: PolicyUnderTest) -> None:
    identity = call_id.new()
    service.settle(settlement(identity, 5))
    late = service.reserve("ada", 100, identity=identity)

    assert (late.replayed, late.hold_nano_usd) == (True, 0)
    assert service.usage("ada").held_nano_usd == 0


def test_a_void_releases_and_a_settle_after_it_is_recorded(service: PolicyUnderTest) -> None:
    identity = call_id.new()
    service.reserve("ada", 100, identity=identity)
    released = [service.policy.Void(pb.VoidRequest(call_id=identity)).released for _ in range(2)]
    held = service.usage("ada").held_nano_usd
    result = service.settle(settlement(identity, 5, user_id=""))

    assert released == [True, False]
    assert held == 0
    assert result.status == pb.SETTLE_STATUS_APPLIED
    assert service.usage("ada").spent_nano_usd == 5


def test_a_void_before_its_reserve_leaves_nothing_to_hold(service: PolicyUnderTest) -> None:
    identity = call_id.new()
    service.policy.Void(pb.VoidRequest(call_id=identity))
    late = service.reserve("ada", 100, identity=identity)

    assert (late.replayed, late.hold_nano_usd) == (True, 0)
    assert service.settle(settlement(identity, 5)).status == pb.SETTLE_STATUS_APPLIED


def test_an_expired_hold_is_charged_and_corrected_by_a_late_settle(
    service: PolicyUnderTest,
) -> None:
    identity = call_id.new()
    service.reserve("ada", 100, identity=identity)
    service.clock.advance(seconds=61)
    service.ledger.sweep().result(5)
    dead = service.usage("ada")
    corrected = service.settle(settlement(identity, 30, estimated=True))

    assert (dead.spent_nano_usd, dead.held_nano_usd, dead.calls) == (100, 0, 1)
    assert corrected.status == pb.SETTLE_STATUS_REPLACED
    assert (service.usage("ada").spent_nano_usd, service.usage("ada").calls) == (30, 1)


def test_an_expired_hold_is_charged_by_its_late_void_and_settle_too(
    service: PolicyUnderTest,
) -> None:
    # Long after expiry, but before any sweep has run: the outcome may not depend on the sweep.
    voided, settled = call_id.new(), call_id.new()
    service.reserve("ada", 100, identity=voided)
    service.reserve("bob", 100, identity=settled)
    service.clock.advance(seconds=61)

    assert not service.policy.Void(pb.VoidRequest(call_id=voided)).released
    assert service.settle(settlement(settled, 30, user_id="bob")).status == (
        pb.SETTLE_STATUS_REPLACED
    )
    assert service.usage("ada").spent_nano_usd == 100
    assert service.usage("bob").spent_nano_usd == 30


def test_a_replayed_reserve_gets_the_same_answer_and_one_hold(service: PolicyUnderTest) -> None:
    identity = call_id.new()
    first = service.reserve("ada", 4 * USD, identity=identity)
    service.settle(settlement(call_id.new(), 3 * USD))
    again = service.reserve("ada", 4 * USD, identity=identity)
    usage = service.usage("ada")

    assert (first.replayed, again.replayed) == (False, True)
    assert again.decision == first.decision
    assert list(again.threshold_events) == list(first.threshold_events)
    assert len(first.threshold_events) == 1
    assert usage.held_nano_usd == 4 * USD
    assert (usage.decisions.warn, usage.decisions.block) == (1, 0)


def test_a_blocked_reserve_holds_nothing_and_is_counted_once(service: PolicyUnderTest) -> None:
    identity = call_id.new()
    answers = [service.reserve("ada", 6 * USD, identity=identity) for _ in range(2)]

    assert {a.decision.action for a in answers} == {pb.ACTION_BLOCK}
    assert {a.hold_nano_usd for a in answers} == {0}
    assert service.usage("ada").decisions.block == 1
    assert service.settle(settlement(identity, 6 * USD)).status == pb.SETTLE_STATUS_APPLIED
    assert service.usage("ada").spent_nano_usd == 6 * USD


def test_each_threshold_is_told_once_at_reserve_or_at_settle(service: PolicyUnderTest) -> None:
    first = service.reserve("ada", 4 * USD)
    second = service.reserve("ada", USD // 2)
    settled = service.policy.Settle(
        pb.SettleRequest(settlement=settlement(call_id.new(), 4 * USD, user_id="bob"))
    )
    again = service.reserve("bob", USD // 2)

    assert [e.threshold_percent for e in first.threshold_events] == [80]
    assert first.threshold_events[0].spent_nano_usd == 4 * USD
    assert not second.threshold_events
    assert [e.user_id for e in settled.threshold_events] == ["bob"]
    assert (again.decision.action, len(again.threshold_events)) == (pb.ACTION_WARN, 0)


def test_two_hundred_at_once_with_room_for_exactly_k(service: PolicyUnderTest) -> None:
    k = 37
    service.settle(settlement(call_id.new(), 5 * USD - k * 1_000))
    start = threading.Barrier(200)

    def reserve(_: int) -> int:
        start.wait()
        return service.reserve("ada", 1_000).decision.action

    with ThreadPoolExecutor(200) as threads:
        actions = list(threads.map(reserve, range(200)))
    usage = service.usage("ada")

    assert actions.count(pb.ACTION_BLOCK) == 200 - k
    assert usage.spent_nano_usd + usage.held_nano_usd == 5 * USD
    assert usage.decisions.block == 200 - k


def test_the_first_calls_of_an_unknown_user_over_two_channels(service: PolicyUnderTest) -> None:
    with grpc.insecure_channel(
        service.address, options=[("grpc.use_local_subchannel_pool", 1)]
    ) as other:
        stubs = [service.policy, rpc.PolicyServiceStub(other)]

        def reserve(i: int) -> int:
            return (
                stubs[i % 2]
                .Reserve(
                    pb.ReserveRequest(
                        call_id=call_id.new(),
                        subject=pb.Subject(user_id="new", tier="free"),
                        estimate_nano_usd=2 * USD,
                    )
                )
                .decision.action
            )

        with ThreadPoolExecutor(8) as threads:
            actions = list(threads.map(reserve, range(8)))

    assert len([a for a in actions if a != pb.ACTION_BLOCK]) == 2


def test_check_judges_like_reserve_and_leaves_no_trace(service: PolicyUnderTest) -> None:
    request = pb.CheckRequest(
        subject=pb.Subject(user_id="ada", tier="free"), estimate_nano_usd=6 * USD
    )
    checked = service.policy.Check(request).decision
    reserved = service.reserve("ada", 6 * USD).decision

    assert checked == reserved
    assert service.usage("ada").decisions.block == 1


def test_who_pays_is_visible_when_nobody_said(service: PolicyUnderTest) -> None:
    decision = service.reserve("", 5, tier="").decision

    assert (decision.user_id, decision.tier, decision.rule) == ("unattributed", "free", "tier:free")
    assert service.usage("unattributed").held_nano_usd == 5


def test_an_unknown_tier_is_served_by_the_default_rule_and_says_so(
    service: PolicyUnderTest,
) -> None:
    decision = service.reserve("ada", 6 * USD, tier="gold").decision
    settled = service.settle(settlement(call_id.new(), 9, tier="gold"))

    assert (decision.action, decision.rule) == (pb.ACTION_BLOCK, "default:gold")
    assert "'gold' is not in the policy" in decision.reason
    assert settled.status == pb.SETTLE_STATUS_APPLIED


def test_a_restart_changes_nothing(tmp_path: Path) -> None:
    from support.policy import policy_service

    identity = call_id.new()
    with policy_service(tmp_path / "l.sqlite") as service:
        service.reserve("ada", 4 * USD, identity=identity)
        service.settle(settlement(call_id.new(), 11))
        before = service.usage("ada")
    with policy_service(tmp_path / "l.sqlite") as service:
        again = service.reserve("ada", 4 * USD, identity=identity)

        assert again.replayed
        assert service.usage("ada") == before
        assert not service.reserve("ada", 1).threshold_events
    rows = sqlite3.connect(tmp_path / "l.sqlite").execute("SELECT SUM(change_nano_usd) FROM ledger")
    assert rows.fetchone() == (11,)


def test_an_extended_hold_outlives_its_first_end(service: PolicyUnderTest) -> None:
    identity = call_id.new()
    service.reserve("ada", USD, identity=identity)
    service.clock.advance(seconds=50)
    request = pb.ExtendRequest(call_ids=[identity, call_id.new()], hold_ttl_ms=60_000)
    answer = service.policy.Extend(request)
    service.clock.advance(seconds=50)
    service.ledger.sweep().result(5)

    assert answer.hold_expires_unix_ms == [NOON_UNIX_MS + 110_000, 0]
    assert service.usage("ada").held_nano_usd == USD
    service.clock.advance(seconds=11)
    service.ledger.sweep().result(5)
    assert (service.usage("ada").held_nano_usd, service.usage("ada").spent_nano_usd) == (0, USD)


def test_a_hold_that_ended_is_not_revived(service: PolicyUnderTest) -> None:
    identity = call_id.new()
    service.reserve("ada", USD, identity=identity)
    service.clock.advance(seconds=61)

    answer = service.policy.Extend(pb.ExtendRequest(call_ids=[identity], hold_ttl_ms=60_000))

    assert answer.hold_expires_unix_ms == [0]
