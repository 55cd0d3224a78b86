"""The real process: how it starts, what it refuses, how it ends."""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from llm_cost import call_id
from llm_cost.errors import ConfigurationError
from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost.policy.v1 import policy_pb2_grpc as rpc
from llm_cost_policy.settings import settings_from
from support.policy import settlement
from support.processes import policy_service_arguments, running


def _refused(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2, done
    assert done.stdout == ""
    return done.stderr


def test_a_second_process_on_the_same_database_is_refused(tmp_path: Path) -> None:
    arguments = policy_service_arguments(tmp_path / "l.sqlite")
    with running(arguments):
        assert "in use by another process" in _refused(*arguments)


def test_listening_beyond_loopback_in_clear_needs_the_word(tmp_path: Path) -> None:
    arguments = policy_service_arguments(tmp_path / "l.sqlite", listen="0.0.0.0:0")

    assert "--insecure" in _refused(*arguments)
    with running([*arguments, "--insecure"]) as service:
        assert service.ready["ready"] is True


def test_a_broken_policy_file_is_refused_with_every_error(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("default_tier: x\ntiers: {free: {limit: much}}")
    told = _refused(*policy_service_arguments(tmp_path / "l"), "--policy", str(policy))

    assert "default_tier" in told
    assert "tiers.free.limit" in told


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "l").write_text("no database " * 100)

    assert "cannot be opened" in _refused(*policy_service_arguments(tmp_path / "l"))


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    with running(policy_service_arguments(tmp_path / "a")) as service:
        taken = policy_service_arguments(tmp_path / "b", listen=service.ready["policy"])

        assert "cannot listen" in _refused(*taken)


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        (["--listen", "nowhere"], {}, "HOST:PORT"),
        (["--listen", "localhost:99999"], {}, "HOST:PORT"),
        (["--tls-key", "k"], {}, "together"),
        ([], {"LLM_COST_POLICY_INSECURE": "maybe"}, "LLM_COST_POLICY_INSECURE"),
        ([], {"LLM_COST_POLICY_ADMIN_LISTEN": "[::]:1"}, "--admin-listen"),
        (["--metrics-listen", "10.0.0.1:1", "--tls-key", "k", "--tls-certificate", "c"], {},
         "--metrics-listen"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_used_is_refused(
    arguments: list[str], environment: dict[str, str], told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        settings_from(arguments, environment)


def test_an_option_comes_before_the_environment() -> None:
    environment = {"LLM_COST_POLICY_LISTEN": "localhost:1", "LLM_COST_POLICY_DATABASE": "d"}
    settings = settings_from(["--listen", "127.0.0.1:2"], environment)

    assert (settings.listen, str(settings.database)) == ("127.0.0.1:2", "d")


def test_a_terminated_service_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    arguments = policy_service_arguments(tmp_path / "l.sqlite")
    with running(arguments) as service, grpc.insecure_channel(service.ready["policy"]) as channel:
        stub = rpc.PolicyServiceStub(channel)
        stub.Settle(pb.SettleRequest(settlement=settlement(call_id.new(), 7)))
        started = time.monotonic()
        code = service.terminate()
        took_s = time.monotonic() - started
    with running(arguments) as service, grpc.insecure_channel(service.ready["policy"]) as channel:
        usage = rpc.PolicyServiceStub(channel).GetUsage(pb.GetUsageRequest(user_id="ada")).usage

    assert code == 0
    assert took_s < 3
    assert usage.spent_nano_usd == 7


def test_an_interrupted_service_ends_well_too(tmp_path: Path) -> None:
    with running(policy_service_arguments(tmp_path / "l.sqlite")) as service:
        service.process.send_signal(signal.SIGINT)

        assert service.process.wait(3) == 0


def test_both_ports_tell_their_health_and_their_services(tmp_path: Path) -> None:
    with running(policy_service_arguments(tmp_path / "l.sqlite")) as service:
        for port, name in (("policy", "PolicyService"), ("admin", "PolicyAdminService")):
            with grpc.insecure_channel(service.ready[port]) as channel:
                full_name = f"llm_cost.policy.v1.{name}"
                health = health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(service=full_name)
                )
                request = reflection_pb2.ServerReflectionRequest(list_services="")
                answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
                    iter([request])
                )
                listed = [s.name for s in next(answers).list_services_response.service]

                assert health.status == health_pb2.HealthCheckResponse.SERVING
                assert full_name in listed


def test_the_policy_file_runs_until_it_is_edited(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("default_tier: a\ntiers: {a: {}}\n")
    arguments = [*policy_service_arguments(tmp_path / "l"), "--policy", str(policy)]
    live = "default_tier: b\ntiers: {b: {}}\n"

    def document(put: str = "") -> str:
        with (
            running(arguments) as service,
            grpc.insecure_channel(service.ready["admin"]) as channel,
        ):
            admin = rpc.PolicyAdminServiceStub(channel)
            if put:
                admin.PutPolicy(pb.PutPolicyRequest(document_yaml=put))
            return admin.GetPolicy(pb.GetPolicyRequest()).document_yaml

    first, after_put, after_restart = document(), document(live), document()
    policy.write_text("default_tier: c\ntiers: {c: {}}\n")

    assert "default_tier: a" in first
    assert after_put == after_restart == live
    assert "default_tier: c" in document()


def test_metrics_tell_decisions_tiers_and_top_users(tmp_path: Path) -> None:
    with running(policy_service_arguments(tmp_path / "l.sqlite")) as service:
        with grpc.insecure_channel(service.ready["policy"]) as channel:
            stub = rpc.PolicyServiceStub(channel)
            subject = pb.Subject(user_id="ada", tier="pro")
            stub.Reserve(
                pb.ReserveRequest(call_id=call_id.new(), subject=subject, estimate_nano_usd=5)
            )
            stub.Settle(
                pb.SettleRequest(settlement=settlement(call_id.new(), 2 * 10**9, tier="pro"))
            )
        url = f"http://{service.ready['metrics']}/metrics"
        with urllib.request.urlopen(url) as answer:
            lines = answer.read().decode().splitlines()

    for expected in [
        'llm_policy_decisions_total{decision="allow",tier="pro"} 1.0',
        'llm_tier_spend_usd{tier="pro",window="month"} 2.0',
        'llm_tier_user_spend_usd{stat="p95",tier="pro",window="month"} 2.0',
        'llm_tier_users_over{threshold="80",tier="pro",window="month"} 0.0',
        'llm_tier_margin_usd{tier="pro",window="month"} 27.0',
        'llm_top_user_spend_usd{tier="pro",user_id="ada",window="month"} 2.0',
        "llm_policy_ledger_rows 1.0",
    ]:
        assert expected in lines
    assert all("_total" not in line for line in lines if "user_id=" in line)


def test_the_ready_line_is_one_line_of_json(tmp_path: Path) -> None:
    with running(policy_service_arguments(tmp_path / "l.sqlite")) as service:
        assert set(service.ready) == {"ready", "policy", "admin", "metrics"}
        assert json.dumps(service.ready).count("\n") == 0
