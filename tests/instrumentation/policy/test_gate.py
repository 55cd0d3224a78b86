"""Which gate a process has, and what a refusal says."""

import logging
import pickle
from datetime import UTC, datetime

import pytest

import llm_cost
from llm_cost import policy
from llm_cost.errors import ConfigurationError
from llm_cost.policy.channel import target_of
from llm_cost.policy.client import PolicyClient
from llm_cost.policy.decision import Action, Decision, Identity
from llm_cost.policy.gate import OpenGate
from llm_cost.settings import ESTIMATE, POLICY_ENDPOINT
from support.policy_calls import ANNA, reservation


@pytest.fixture(autouse=True)
def _no_gate_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (ESTIMATE, POLICY_ENDPOINT):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(policy, "_gates", {})


@pytest.mark.parametrize(
    "endpoint",
    ["localhost", "localhost:", ":50051", "localhost:0", "localhost:65536", "localhost:http",
     "ftp://localhost:50051", "http://localhost", "http://localhost:50051/path"],
)  # fmt: skip
def test_an_endpoint_that_cannot_be_used_is_named(endpoint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        target_of(endpoint)

    assert repr(endpoint) in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "target", "is_secure"),
    [
        ("localhost:50051", "localhost:50051", False),
        ("http://localhost:50051/", "localhost:50051", False),
        ("https://policy.example.com:443", "policy.example.com:443", True),
        ("[::1]:50051", "[::1]:50051", False),
        ("dns:///policy:50051", "dns:///policy:50051", False),
        ("unix:/run/policy.sock", "unix:/run/policy.sock", False),
    ],
)
def test_an_endpoint_has_several_forms(endpoint: str, target: str, is_secure: bool) -> None:
    assert target_of(endpoint) == (target, is_secure)


@pytest.mark.parametrize(
    ("name", "value"), [(ESTIMATE, "guess"), (POLICY_ENDPOINT, "no port here")]
)
def test_limits_that_cannot_be_read_block_every_call_and_say_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, value: str
) -> None:
    monkeypatch.setenv(POLICY_ENDPOINT, "localhost:50051")
    monkeypatch.setenv(name, value)

    decision = policy.current_gate().reserve(reservation())

    assert decision.action is Action.BLOCK
    assert repr(value) in decision.reason
    assert sum(r.levelno == logging.ERROR for r in caplog.records) == 1


def test_instrumenting_with_settings_that_cannot_be_read_raises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(POLICY_ENDPOINT, "no port here")

    with pytest.raises(ConfigurationError, match="no port here"):
        llm_cost.instrument()


def test_a_bad_setting_blocks_nothing_where_no_limits_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(ESTIMATE, "guess")

    assert isinstance(policy.current_gate(), OpenGate)


def test_without_an_endpoint_the_gate_is_open() -> None:
    assert policy.current_gate().reserve(reservation()).action is Action.ALLOW


def test_with_an_endpoint_the_gate_is_a_client_and_made_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(POLICY_ENDPOINT, "localhost:50051")

    assert isinstance(policy.current_gate(), PolicyClient)
    assert policy.current_gate() is policy.current_gate()


def test_a_test_can_bring_its_own_gate_for_a_while() -> None:
    before, own = policy.current_gate(), OpenGate()
    with policy.use_gate(own):
        inside = policy.current_gate()

    assert (inside, policy.current_gate()) == (own, before)


def test_flushing_makes_no_gate() -> None:
    assert llm_cost.flush()
    assert policy._gates == {}


def test_a_refusal_names_the_user_the_money_and_the_end() -> None:
    decision = Decision(
        action=Action.BLOCK,
        would_be=Action.BLOCK,
        rule="tier:free",
        limit_nano_usd=5_000_000_000,
        spent_nano_usd=4_990_000_000,
        period="2026-11",
        resets_at=datetime(2026, 12, 1, tzinfo=UTC),
    )

    error = policy.blocked_error(decision, ANNA)

    assert str(error) == (
        "call of user 'anna' of tier 'free' blocked: "
        "$4.9900 of $5.0000 spent in 2026-11; resets at 2026-12-01 00:00 UTC"
    )
    assert (error.user_id, error.tier, error.rule) == ("anna", "free", "tier:free")
    assert (error.limit_nano_usd, error.spent_nano_usd) == (5_000_000_000, 4_990_000_000)


def test_a_refusal_gives_the_reason_of_the_service_in_its_own_words() -> None:
    decision = Decision(
        action=Action.BLOCK, would_be=Action.BLOCK, reason="$6 exceed $5", limit_nano_usd=5
    )

    assert str(policy.blocked_error(decision, ANNA)).endswith("blocked: $6 exceed $5")


def test_a_refusal_without_a_limit_claims_none() -> None:
    error = policy.blocked_error(
        Decision(action=Action.BLOCK, would_be=Action.BLOCK, reason="away"), Identity()
    )

    assert str(error) == "call of user 'unattributed' blocked: away"
    assert (error.limit_nano_usd, error.spent_nano_usd, error.resets_at) == (None, None, None)


def test_a_refusal_travels_between_processes() -> None:
    refusal = policy.blocked_error(
        Decision(action=Action.BLOCK, would_be=Action.BLOCK, reason="over", limit_nano_usd=5), ANNA
    )

    arrived = pickle.loads(pickle.dumps(refusal))

    assert (str(arrived), vars(arrived)) == (str(refusal), vars(refusal))
