"""Over real gRPC: what cannot be used is refused with a name, a value and a way out."""

import re
from collections.abc import Callable

import grpc
import pytest

from llm_cost import call_id
from llm_cost.policy.v1 import policy_pb2 as pb
from support.policy import PolicyUnderTest, settlement

ID = b"\x01" * 16
Subject = pb.Subject


def _refused(call: Callable[[], object]) -> str:
    with pytest.raises(grpc.RpcError) as error:
        call()
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT, error.value.details()
    return error.value.details() or ""


BAD_RESERVES = {
    "call_id": pb.ReserveRequest(call_id=b"short"),
    "estimate_nano_usd": pb.ReserveRequest(call_id=ID, estimate_nano_usd=-1),
    "hold_ttl_ms": pb.ReserveRequest(call_id=ID, hold_ttl_ms=-5),
    "price_status": pb.ReserveRequest(call_id=ID, price_status=99),  # type: ignore[arg-type]  # on purpose
    "subject.user_id": pb.ReserveRequest(call_id=ID, subject=Subject(user_id="a\0b")),
    "subject.tier": pb.ReserveRequest(call_id=ID, subject=Subject(tier="t" * 257)),
    "subject.group": pb.ReserveRequest(call_id=ID, subject=Subject(group="\N{SNOWMAN}" * 86)),
    "model": pb.ReserveRequest(call_id=ID, model="m" * 2_000),
}


@pytest.mark.parametrize("field", BAD_RESERVES)
def test_a_reserve_is_refused_by_field(service: PolicyUnderTest, field: str) -> None:
    details = _refused(lambda: service.policy.Reserve(BAD_RESERVES[field]))

    assert details.startswith(f"{field}: ")
    assert len(details) < 300  # a value is shown shortened


BAD_EXTENDS = {
    "call_ids": pb.ExtendRequest(),
    "call_id": pb.ExtendRequest(call_ids=[ID, b"short"]),
    "hold_ttl_ms": pb.ExtendRequest(call_ids=[ID], hold_ttl_ms=10**12),
}


@pytest.mark.parametrize("field", BAD_EXTENDS)
def test_an_extend_is_refused_by_field(service: PolicyUnderTest, field: str) -> None:
    details = _refused(lambda: service.policy.Extend(BAD_EXTENDS[field]))

    assert details.startswith(f"{field}: ")


BAD_SETTLEMENTS = {
    "call_id": pb.Settlement(),
    "actual_nano_usd": pb.Settlement(call_id=ID, actual_nano_usd=-1),
    "usage['input_text_tokens']": pb.Settlement(call_id=ID, usage={"input_text_tokens": -1}),
    "usage['pages']": pb.Settlement(call_id=ID, usage={"pages": 10**15}),
    "usage": pb.Settlement(call_id=ID, usage={f"b{i}": 1 for i in range(65)}),
    "usage bucket": pb.Settlement(call_id=ID, usage={"n" * 300: 1}),
    "usage_source": pb.Settlement(call_id=ID, usage_source=9),  # type: ignore[arg-type]  # on purpose
    "outcome": pb.Settlement(call_id=ID, outcome=9),  # type: ignore[arg-type]  # on purpose
    "price_status": pb.Settlement(call_id=ID, price_status=-1),  # type: ignore[arg-type]  # on purpose
    "ended_at_unix_ms": pb.Settlement(call_id=ID, ended_at_unix_ms=-1),
    "subject.user_id": pb.Settlement(call_id=ID, subject=Subject(user_id="\0")),
    "operation": pb.Settlement(call_id=ID, operation="\0"),
}


@pytest.mark.parametrize("field", BAD_SETTLEMENTS)
def test_a_settle_is_refused_and_in_a_batch_harms_no_other(
    service: PolicyUnderTest, field: str
) -> None:
    bad = BAD_SETTLEMENTS[field]
    details = _refused(lambda: service.policy.Settle(pb.SettleRequest(settlement=bad)))
    good = [settlement(call_id.new(), 5), settlement(call_id.new(), 7)]
    batch = pb.SettleBatchRequest(settlements=[good[0], bad, good[1]])
    results = service.policy.SettleBatch(batch).results

    assert details.startswith(f"{field}: ")
    assert [r.status for r in results] == [
        pb.SETTLE_STATUS_APPLIED, pb.SETTLE_STATUS_INVALID, pb.SETTLE_STATUS_APPLIED
    ]  # fmt: skip
    assert results[1].error == details
    assert service.usage("ada").spent_nano_usd == 12


def test_a_settle_without_a_settlement_is_refused(service: PolicyUnderTest) -> None:
    assert "settlement" in _refused(lambda: service.policy.Settle(pb.SettleRequest()))


def test_more_than_a_thousand_settlements_are_refused_whole(service: PolicyUnderTest) -> None:
    batch = pb.SettleBatchRequest(settlements=[settlement(call_id.new(), 1)] * 1_001)

    assert "1001 are too many" in _refused(lambda: service.policy.SettleBatch(batch))
    assert service.usage("ada").calls == 0


def test_an_amount_that_would_overflow_the_counter_is_refused(service: PolicyUnderTest) -> None:
    largest = 2**63 - 1
    assert service.settle(settlement(call_id.new(), largest)).status == pb.SETTLE_STATUS_APPLIED
    result = service.settle(settlement(call_id.new(), 1))

    assert result.status == pb.SETTLE_STATUS_INVALID
    assert "beyond" in result.error
    details = _refused(lambda: service.reserve("ada", largest, tier="enterprise"))
    assert "beyond" in details
    tiers = service.policy.TierReport(pb.TierReportRequest()).tiers
    assert tiers[0].spent_nano_usd == largest


def test_a_hold_survives_a_settle_that_is_refused(service: PolicyUnderTest) -> None:
    identity = call_id.new()
    service.reserve("ada", 5, tier="enterprise", identity=identity)
    service.settle(settlement(call_id.new(), 2**63 - 100))
    refused = service.settle(settlement(identity, 2**62))
    usage = service.usage("ada")

    assert refused.status == pb.SETTLE_STATUS_INVALID
    assert usage.held_nano_usd == 5
    assert service.settle(settlement(identity, 6)).status == pb.SETTLE_STATUS_APPLIED
    assert service.usage("ada").held_nano_usd == 0


@pytest.mark.parametrize("serialized", [b"\xff\xff\xff", b"\x12\x04\x0a\x02\xff\xfe", b"\x0a\x50a"])
def test_bytes_that_are_no_message_are_an_invalid_argument(
    service: PolicyUnderTest, serialized: bytes
) -> None:
    raw = service.channel.unary_unary("/llm_cost.policy.v1.PolicyService/Reserve")

    assert "ReserveRequest" in _refused(lambda: raw(serialized))


def test_a_message_beyond_4_mib_is_refused_and_the_service_goes_on(
    service: PolicyUnderTest,
) -> None:
    raw = service.channel.unary_unary("/llm_cost.policy.v1.PolicyService/Reserve")
    with pytest.raises(grpc.RpcError) as error:
        raw(b"\0" * (5 * 1024 * 1024))

    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert service.usage("ada").calls == 0


@pytest.mark.parametrize("period", ["2026-13", "november", "\0", "2026-11-31", "x" * 300])
def test_a_report_on_what_is_no_period_is_refused(service: PolicyUnderTest, period: str) -> None:
    requests: list[Callable[[], object]] = [
        lambda: service.usage("ada", period),
        lambda: service.policy.ListUsers(pb.ListUsersRequest(period=period)),
        lambda: service.policy.TierReport(pb.TierReportRequest(period=period)),
    ]

    assert all(_refused(request).startswith("period: ") for request in requests)


@pytest.mark.parametrize("token", ["x", "bm8=", "WzEsMiwzLDRd", "\N{SNOWMAN}"])
def test_a_page_token_that_is_none_is_refused(service: PolicyUnderTest, token: str) -> None:
    request = pb.ListUsersRequest(page_token=token)

    assert "page_token" in _refused(lambda: service.policy.ListUsers(request))


@pytest.mark.parametrize("size", [-1, 1_001])
def test_a_page_size_out_of_range_is_refused(service: PolicyUnderTest, size: int) -> None:
    request = pb.ListUsersRequest(page_size=size)

    assert "page_size" in _refused(lambda: service.policy.ListUsers(request))


BAD_OVERRIDES = {
    "user_id": pb.Override(),
    "override.limit_nano_usd": pb.Override(user_id="ada", limit_nano_usd=-1),
    "override.action": pb.Override(user_id="ada", action=pb.ACTION_ALLOW),
    "override.expires_unix_ms": pb.Override(user_id="ada", expires_unix_ms=-1),
    "override.reason": pb.Override(user_id="ada", reason="r" * 2_000),
}


@pytest.mark.parametrize("field", BAD_OVERRIDES)
def test_an_override_is_refused_by_field(service: PolicyUnderTest, field: str) -> None:
    request = pb.PutOverrideRequest(override=BAD_OVERRIDES[field])

    assert _refused(lambda: service.admin.PutOverride(request)).startswith(f"{field}: ")
    assert not service.admin.ListOverrides(pb.ListOverridesRequest()).overrides


IDS = [
    "🦜", "e\u0301", "\u00e9", "{}:'\"\n", "'; DROP TABLE ledger; --", "Ada", "ada", "\u202eada",
    "u" * 256,
]  # fmt: skip


def test_odd_user_ids_are_kept_apart_as_bytes(service: PolicyUnderTest) -> None:
    for amount, user_id in enumerate(IDS, start=1):
        service.settle(settlement(call_id.new(), amount, user_id=user_id))
    listed = service.policy.ListUsers(pb.ListUsersRequest()).users

    assert [(u.user_id, u.spent_nano_usd) for u in listed] == [
        (user_id, amount) for amount, user_id in reversed(list(enumerate(IDS, start=1)))
    ]


def test_details_never_outgrow_what_grpc_can_carry(service: PolicyUnderTest) -> None:
    document = "default_tier: a\ntiers:\n" + "".join(f"  t{i}: {{limit: x}}\n" for i in range(150))
    details = _refused(lambda: service.admin.PutPolicy(pb.PutPolicyRequest(document_yaml=document)))

    assert re.search(r"\(\d+ characters in all\)$", details)
