"""The commands against a real policy service: tables for people, JSON for programs."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest

from llm_cost import call_id
from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost.policy.v1.policy_pb2_grpc import PolicyServiceStub
from llm_cost_cli.__main__ import main
from support.processes import Service, policy_service_arguments, running

NOBODY_LISTENS = "127.0.0.1:9"  # the discard port
POLICY = """\
time_zone: UTC
window: month
default_tier: free
tiers:
  free: {limit: 5.00, action: block, plan_price: 0}
  pro: {limit: 50.00, action: warn, plan_price: 29.00}
  staff: {action: warn}
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    database = tmp_path_factory.mktemp("policy") / "ledger.db"
    with running(policy_service_arguments(database)) as service:
        yield service


@pytest.fixture
def run(
    service: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Any:
    monkeypatch.setenv("LLM_COST_ADMIN_ENDPOINT", service.ready["admin"])
    monkeypatch.setenv("LLM_COST_POLICY_ENDPOINT", service.ready["policy"])

    def command(*arguments: str, expected: int = 0) -> tuple[str, str]:
        code = main(arguments)
        printed = capsys.readouterr()
        assert code == expected, printed.err
        return printed.out, printed.err

    return command


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


def _spend(service: Service, user_id: str, tier: str, *amounts_nano_usd: int | None) -> None:
    settlements = [
        pb.Settlement(
            call_id=call_id.new(),
            subject=pb.Subject(user_id=user_id, tier=tier),
            actual_nano_usd=nano_usd,
            provider="openai",
            model="gpt-4o",
            price_status=(pb.PRICE_STATUS_UNKNOWN if nano_usd is None else pb.PRICE_STATUS_EXACT),
            usage_source=pb.USAGE_SOURCE_REPORTED,
            outcome=pb.OUTCOME_OK,
            ended_at_unix_ms=time.time_ns() // 1_000_000,
            operation="chat",
        )
        for nano_usd in amounts_nano_usd
    ]
    with grpc.insecure_channel(service.ready["policy"]) as channel:
        request = pb.SettleBatchRequest(settlements=settlements)
        answer = PolicyServiceStub(channel).SettleBatch(request, timeout=10)
    assert {result.status for result in answer.results} == {pb.SETTLE_STATUS_APPLIED}


# --- what goes wrong --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["users", "--policy-endpoint", NOBODY_LISTENS], "--policy-endpoint"),
        (["tiers", "--policy-endpoint", NOBODY_LISTENS], "--policy-endpoint"),
        (["policy", "show", "--admin", NOBODY_LISTENS], "--admin"),
        (["override", "rm", "ada", "--admin", NOBODY_LISTENS], "--admin"),
    ],
)
def test_an_absent_service_is_one_line_with_the_address_and_the_way_out(
    run: Any, arguments: list[str], option: str
) -> None:
    _, complaint = run(*arguments, expected=2)

    assert NOBODY_LISTENS in complaint
    assert "llm-cost up" in complaint
    assert option in complaint
    assert len(complaint.splitlines()) == 1


def test_a_port_of_another_service_is_told_apart_from_an_absent_one(
    run: Any, service: Service
) -> None:
    _, complaint = run("policy", "show", "--admin", service.ready["policy"], expected=2)

    assert "another service" in complaint


@pytest.mark.parametrize(
    ("limit", "said"), [("-1", "never negative"), ("five", "not a number"), ("nan", "not finite")]
)
def test_an_unusable_limit_is_refused_before_it_is_sent(run: Any, limit: str, said: str) -> None:
    _, complaint = run("override", "set", "ada", f"--limit={limit}", expected=2)

    assert said in complaint


def test_an_unusable_day_is_refused(run: Any) -> None:
    _, complaint = run(
        "override", "set", "ada", "--limit", "1", "--expires", "tomorrow", expected=2
    )

    assert "'tomorrow' is not a day" in complaint


def test_a_broken_policy_file_is_refused_and_the_running_one_stays(
    run: Any, policy_file: Path
) -> None:
    before, _ = run("policy", "show", "--json")
    policy_file.write_text(POLICY.replace("limit: 5.00", "limit: minus five"))

    _, complaint = run("policy", "apply", str(policy_file), expected=1)

    assert "minus five" in complaint
    assert run("policy", "show", "--json")[0] == before


def test_an_outdated_expectation_is_refused(run: Any, policy_file: Path) -> None:
    _, complaint = run(
        "policy", "apply", str(policy_file), "--expected-version", "4000", expected=1
    )

    assert "4000" in complaint


@pytest.mark.parametrize("arguments", [["users", "--top", "0"], ["up", "--otlp-port", "70000"], []])
def test_a_wrong_command_line_ends_with_2(arguments: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "llm_cost_cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ended.returncode == 2
    assert "usage: llm-cost" in ended.stderr


def test_the_commands_need_no_more_than_the_base_install() -> None:
    listing = "import sys, llm_cost_cli.arguments; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()

    packages = {name.partition(".")[0] for name in loaded} | set(loaded)
    assert "grpc" in packages
    assert not packages & {"fastapi", "openai", "uvicorn", "yaml", "opentelemetry.proto"}


# --- policy -----------------------------------------------------------------------------------


def test_a_policy_is_applied_and_shown_and_in_the_history(run: Any, policy_file: Path) -> None:
    applied = json.loads(
        run(
            "policy", "apply", str(policy_file), "--author", "ada", "--reason", "launch", "--json"
        )[0]
    )  # fmt: skip
    shown, _ = run("policy", "show")
    history = json.loads(run("policy", "history", "--json")[0])
    page, _ = run("policy", "history")

    assert shown.startswith(f"# version {applied['version']}\n")
    assert "limit: 50.00" in shown
    newest = history["entries"][0]
    assert (newest["author"], newest["change"], newest["reason"]) == ("ada", "put_policy", "launch")
    assert "launch" in page.splitlines()[2]


# --- overrides --------------------------------------------------------------------------------


def test_an_override_is_set_listed_and_removed(run: Any) -> None:
    said, _ = run(
        "override", "set", "bob", "--limit", "$0.50", "--action", "block", "--reason", "scripts",
        "--expires", "2999-12-31",
    )  # fmt: skip
    (listed,) = json.loads(run("override", "list", "--json")[0])["overrides"]
    page, _ = run("override", "list")
    run("override", "rm", "bob")
    empty, _ = run("override", "list")

    assert said == "bob: $0.50, when over: block, until 3000-01-01 00:00 UTC\n"
    assert listed["user_id"] == "bob"
    assert listed["limit_nano_usd"] == 500_000_000
    assert listed["limit_usd"] == "0.500000000"
    assert listed["action"] == "block"
    assert listed["expires_unix_ms"] == 32_503_680_000_000
    assert "scripts" in page
    assert empty.startswith("no overrides")


def test_an_override_can_lift_the_limit_and_keep_the_tiers_action(run: Any) -> None:
    run("override", "set", "eve", "--limit", "none")
    (listed,) = json.loads(run("override", "list", "--json")[0])["overrides"]
    run("override", "rm", "eve")

    assert listed["limit_nano_usd"] is None
    assert listed["limit_usd"] is None
    assert listed["action"] is None


# --- reports ----------------------------------------------------------------------------------


def test_users_are_ranked_and_tiers_add_up(run: Any, service: Service, policy_file: Path) -> None:
    run("policy", "apply", str(policy_file))
    _spend(service, "carol", "pro", 41_000_000_001, 1)
    _spend(service, "dave", "free", 2_500_000_000)
    _spend(service, "erin", "pro", 3)

    users = json.loads(run("users", "--json")[0])["users"]
    only_pro = json.loads(run("users", "--tier", "pro", "--json")[0])["users"]
    first = json.loads(run("users", "--top", "1", "--json")[0])["users"]
    tiers = {tier["tier"]: tier for tier in json.loads(run("tiers", "--json")[0])["tiers"]}

    assert [user["user_id"] for user in users] == ["carol", "dave", "erin"]
    assert [user["user_id"] for user in only_pro] == ["carol", "erin"]
    assert [user["user_id"] for user in first] == ["carol"]
    assert users[0]["spent_nano_usd"] == 41_000_000_002
    assert Decimal(users[0]["spent_usd"]) * 10**9 == 41_000_000_002
    assert users[0]["limit_nano_usd"] == 50_000_000_000
    assert users[0]["action"] == "warn"
    pro = tiers["pro"]
    assert (pro["users"], pro["calls"], pro["spent_nano_usd"]) == (2, 3, 41_000_000_005)
    assert pro["margin_nano_usd"] == 2 * 29_000_000_000 - 41_000_000_005
    assert pro["users_at_80_percent"] == 1
    assert tiers["free"]["margin_usd"] == "-2.500000000"


def test_the_tables_fit_and_show_the_same(run: Any, service: Service, policy_file: Path) -> None:
    run("policy", "apply", str(policy_file))
    _spend(service, "frank", "pro", 45_000_000_000)

    users, _ = run("users", "--top", "1")
    tiers, _ = run("tiers")

    assert "frank" in users
    assert "$45.00" in users
    assert "█████████░  90%" in users
    assert max(map(len, (users + tiers).splitlines())) <= 140
    assert "policy version" in tiers


def test_calls_without_a_price_are_told_and_never_pass_for_free(run: Any, service: Service) -> None:
    before, _ = run("tiers")
    _spend(service, "grace", "free", None)

    tiers, _ = run("tiers")
    users, _ = run("users", "--tier", "free")

    assert "no known price" not in before
    assert "! 1 call has no known price: not in these sums" in tiers
    assert "! 1 call has no known price: not in these sums" in users
