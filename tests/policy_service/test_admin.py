"""Live changes over real gRPC: at the next decision, whole or not at all, and remembered."""

import json
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost_policy.policy_document import example_document
from support.policy import NOON_UNIX_MS, USD, PolicyUnderTest

TIGHT = "# mine\ndefault_tier: free\ntiers: {free: {limit: 1.00}}\n"


def _put(service: PolicyUnderTest, document: str, expected_version: int = 0) -> int:
    request = pb.PutPolicyRequest(
        document_yaml=document, expected_version=expected_version, author="ana", reason="test"
    )
    return service.admin.PutPolicy(request).version


def _override(service: PolicyUnderTest, user_id: str, limit: int | None, **fields: int) -> None:
    service.admin.PutOverride(
        pb.PutOverrideRequest(
            override=pb.Override(
                user_id=user_id,
                limit_nano_usd=limit,
                reason="pilot",
                author="ana",
                **fields,  # type: ignore[arg-type]  # enum and int fields by name
            )
        )
    )


def test_a_broken_document_changes_nothing(service: PolicyUnderTest) -> None:
    before = service.admin.GetPolicy(pb.GetPolicyRequest())
    with pytest.raises(grpc.RpcError) as error:
        _put(service, "default_tier: x\ntiers: {free: {limit: -1, action: no}}")

    details = error.value.details() or ""
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert all(
        name in details for name in ("default_tier", "tiers.free.limit", "tiers.free.action")
    )
    assert service.admin.GetPolicy(pb.GetPolicyRequest()) == before
    assert service.reserve("ada", 2 * USD).decision.policy_version == before.version


def test_a_put_on_top_of_another_version_is_aborted_and_names_both(
    service: PolicyUnderTest,
) -> None:
    version = _put(service, TIGHT, expected_version=1)
    with pytest.raises(grpc.RpcError) as error:
        _put(service, example_document(), expected_version=1)

    assert error.value.code() is grpc.StatusCode.ABORTED
    assert "1" in (error.value.details() or "")
    assert str(version) in (error.value.details() or "")
    assert service.admin.GetPolicy(pb.GetPolicyRequest()).document_yaml == TIGHT


def test_of_puts_at_once_on_one_version_exactly_one_lands(service: PolicyUnderTest) -> None:
    def put(_: int) -> bool:
        try:
            return bool(_put(service, TIGHT, expected_version=1))
        except grpc.RpcError:
            return False

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(put, range(8))).count(True) == 1


def test_the_document_that_ships_runs_and_is_returned_byte_for_byte(
    service: PolicyUnderTest,
) -> None:
    shipped = service.admin.GetPolicy(pb.GetPolicyRequest())
    _put(service, TIGHT)

    assert (shipped.document_yaml, shipped.version) == (example_document(), 1)
    assert service.admin.GetPolicy(pb.GetPolicyRequest()).document_yaml == TIGHT


def test_a_new_policy_holds_at_the_next_decision(service: PolicyUnderTest) -> None:
    before = service.reserve("ada", 2 * USD).decision
    _put(service, TIGHT)
    after = service.reserve("bob", 2 * USD).decision

    assert (before.action, before.policy_version) == (pb.ACTION_ALLOW, 1)
    assert (after.action, after.policy_version) == (pb.ACTION_BLOCK, 2)


def test_another_window_starts_other_counters(service: PolicyUnderTest) -> None:
    service.reserve("ada", USD)
    _put(service, TIGHT + "window: day\ntime_zone: Pacific/Kiritimati\n")

    assert service.reserve("ada", USD).decision.period == "2026-11-25"


def test_an_override_comes_before_the_tier_and_its_deletion_ends_it(
    service: PolicyUnderTest,
) -> None:
    _override(service, "ada", 20 * USD)
    under = service.reserve("ada", 6 * USD).decision
    service.admin.DeleteOverride(pb.DeleteOverrideRequest(user_id="ada", author="ana"))
    after = service.reserve("ada", 6 * USD).decision

    assert (under.action, under.rule) == (pb.ACTION_ALLOW, "override:ada")
    assert "pilot" in under.reason
    assert (after.action, after.rule) == (pb.ACTION_BLOCK, "tier:free")


def test_an_override_without_a_limit_lifts_it(service: PolicyUnderTest) -> None:
    _override(service, "ada", None)

    assert not service.reserve("ada", 10_000 * USD).decision.HasField("limit_nano_usd")


def test_an_override_of_the_action_keeps_its_own_limit(service: PolicyUnderTest) -> None:
    _override(service, "ada", USD, action=pb.ACTION_DRY_RUN)
    decision = service.reserve("ada", 2 * USD).decision

    assert (decision.action, decision.would_be) == (pb.ACTION_DRY_RUN, pb.ACTION_BLOCK)


def test_an_expired_override_stops_by_itself(service: PolicyUnderTest) -> None:
    _override(service, "ada", 20 * USD, expires_unix_ms=NOON_UNIX_MS + 60_000)
    before = service.reserve("ada", 6 * USD).decision.rule
    service.clock.advance(seconds=60)

    assert before == "override:ada"
    assert service.reserve("ada", 6 * USD).decision.rule == "tier:free"


def test_every_change_is_in_the_history_newest_first(service: PolicyUnderTest) -> None:
    _put(service, TIGHT)
    _override(service, "ada", USD)
    _override(service, "ada", 2 * USD)
    service.admin.DeleteOverride(
        pb.DeleteOverrideRequest(user_id="ada", author="bo", reason="over")
    )
    with pytest.raises(grpc.RpcError, match="'nobody' has no override") as caught:
        service.admin.DeleteOverride(pb.DeleteOverrideRequest(user_id="nobody", author="bo"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    entries = list(service.admin.History(pb.HistoryRequest()).entries)
    page = service.admin.History(pb.HistoryRequest(page_size=1, before_id=entries[0].id)).entries

    assert [(e.change, e.author, e.subject) for e in entries] == [
        ("delete_override", "bo", "ada"),
        ("put_override", "ana", "ada"),
        ("put_override", "ana", "ada"),
        ("put_policy", "ana", ""),
    ]
    assert (entries[0].after, entries[0].reason) == ("", "over")
    assert json.loads(entries[1].before)["limit_nano_usd"] == USD
    assert json.loads(entries[1].after)["limit_nano_usd"] == 2 * USD
    assert (entries[3].before, entries[3].after) == (example_document(), TIGHT)
    assert entries[3].at_unix_ms == NOON_UNIX_MS
    assert list(page) == entries[1:2]


def test_overrides_are_listed_with_their_time(service: PolicyUnderTest) -> None:
    _override(service, "bob", None)
    _override(service, "ada", USD)
    listed = service.admin.ListOverrides(pb.ListOverridesRequest()).overrides

    assert [o.user_id for o in listed] == ["ada", "bob"]
    assert listed[0].created_unix_ms == NOON_UNIX_MS
    assert not listed[1].HasField("limit_nano_usd")
