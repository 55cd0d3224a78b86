"""Limits hold for real applications: at once, across processes, changed live, in an outage."""

import json
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from llm_cost.policy.v1 import policy_pb2 as pb
from support.system import APPS, System


def hold_of_one_call(system: System) -> int:
    """What one call of `burst.py` holds, seen from outside while it is in flight."""
    app = system.start(str(APPS / "burst.py"), "probe", "probe", "1")
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(app.communicate, "go\n", 60)
        held = 0
        while not held and not ended.done():
            held = system.usage("probe").held_nano_usd
        ended.result()
    assert held > 0
    return held


@pytest.mark.parametrize("apps", [1, 2])
def test_of_200_calls_at_once_exactly_those_with_room_reach_the_provider(
    system: System, apps: int
) -> None:
    room_for = 17
    hold_nano_usd = hold_of_one_call(system)
    before = len(system.provider.record.rows)
    limit_nano_usd = room_for * hold_nano_usd + hold_nano_usd // 2
    system.put_policy(policy_of_free(usd(limit_nano_usd)))

    processes = [
        system.start(str(APPS / "burst.py"), "user_1", "free", str(200 // apps))
        for _ in range(apps)
    ]
    with ThreadPoolExecutor(apps) as pool:
        outputs = list(pool.map(lambda process: process.communicate("go\n", 90)[0], processes))

    outcomes = [json.loads(output) for output in outputs]
    assert sum(o.get("served", 0) for o in outcomes) == room_for
    assert sum(o.get("blocked", 0) for o in outcomes) == 200 - room_for, outcomes
    assert len(system.provider.record.rows) - before == room_for
    usage = system.usage("user_1")
    assert usage.calls == room_for
    assert usage.held_nano_usd == 0
    assert usage.spent_nano_usd <= limit_nano_usd


def usd(nano_usd: int) -> str:
    return f"{nano_usd // 10**9}.{nano_usd % 10**9:09d}"


def policy_of_free(limit: str) -> str:
    return f"default_tier: free\ntiers:\n  free:\n    limit: '{limit}'\n    action: block\n"


class Interactive:
    """`one_by_one.py`, asked for one call at a time."""

    def __init__(self, system: System) -> None:
        self.process = system.start(str(APPS / "one_by_one.py"))
        self.warnings: list[str] = []

    def outcome(self, user_id: str = "user_1", tier: str = "free") -> str:
        """Make a call; return what became of it. Warnings told meanwhile are kept aside."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{user_id} {tier}\n")
        self.process.stdin.flush()
        while (line := self.process.stdout.readline().strip()).startswith("warning"):
            self.warnings.append(line)
        return line

    def end(self) -> list[str]:
        """End the application as one that is done; return every warning it was told."""
        printed, _ = self.process.communicate(timeout=20)
        return self.warnings + printed.splitlines()


def test_the_next_decision_follows_a_change_of_policy_or_override(system: System) -> None:
    app = Interactive(system)

    outcomes = [app.outcome()]
    system.put_policy(policy_of_free("0"))
    outcomes.append(app.outcome())
    override = pb.Override(user_id="user_1", limit_nano_usd=10**9, reason="goodwill")
    system.admin.PutOverride(pb.PutOverrideRequest(override=override), timeout=5)
    outcomes.append(app.outcome())
    system.admin.DeleteOverride(pb.DeleteOverrideRequest(user_id="user_1"), timeout=5)
    outcomes.append(app.outcome())
    system.put_policy(policy_of_free("5.00"))
    outcomes.append(app.outcome())
    app.end()

    assert outcomes == ["served", "blocked tier:free 0", "served", "blocked tier:free 0", "served"]


def test_an_outage_is_judged_by_the_rule_of_each_tier(system: System) -> None:
    app = Interactive(system)
    before = [app.outcome(f"{tier}_user", tier) for tier in ("free", "pro", "enterprise")]

    system.policy.kill()
    during = [app.outcome(f"{tier}_user", tier) for tier in ("free", "pro", "enterprise")]
    app.process.kill()

    assert before == ["served"] * 3
    # As shipped: free blocks, pro is allowed up to 25 cents, enterprise goes on.
    assert during == ["blocked outage:block None", "served", "served"]


def test_a_warning_is_told_once_whichever_process_reaches_it(system: System) -> None:
    hold_nano_usd = hold_of_one_call(system)
    system.put_policy(policy_of_free(usd(4 * hold_nano_usd)))
    apps = [Interactive(system), Interactive(system)]

    outcomes = [app.outcome() for _ in range(10) for app in apps]

    told = [warning for app in apps for warning in app.end()]
    assert told == ["warning user_1 80"]
    assert outcomes[-1].startswith("blocked")  # the threshold was passed, and the limit too


def test_a_broken_policy_is_refused_whole_and_the_running_one_stays(system: System) -> None:
    version = system.put_policy(policy_of_free("0"))

    with pytest.raises(grpc.RpcError) as caught:
        system.put_policy("tiers:\n  free:\n    limit: many\n    action: explode\n")

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "many" in caught.value.details()
    assert "explode" in caught.value.details()
    running_now = system.admin.GetPolicy(pb.GetPolicyRequest(), timeout=5)
    assert (running_now.version, running_now.document_yaml) == (version, policy_of_free("0"))
