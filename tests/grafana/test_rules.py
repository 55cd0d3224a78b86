"""The alert rules: accepted by Prometheus, right on synthetic series, over declared names."""

import subprocess
from pathlib import Path

import yaml

from llm_cost import attributes
from support.promql import mentions

ROOT = Path(__file__).parents[2]
RULES = ROOT / "grafana" / "rules" / "llm-cost.yaml"
SYNTHETIC_SERIES = Path(__file__).with_name("rules_test.yaml")
DECLARED = {value for name, value in vars(attributes).items() if name.startswith("METRIC_")}


def _promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, cwd=SYNTHETIC_SERIES.parent
    )


def test_a_broken_rule_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(RULES.read_text().replace("max by (tier)", "max by (tier"))

    assert _promtool("check", "rules", broken).returncode != 0


def test_prometheus_accepts_the_rules() -> None:
    checked = _promtool("check", "rules", "--lint-fatal", RULES)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_rules_fire_when_they_should_and_only_then() -> None:
    tested = _promtool("test", "rules", SYNTHETIC_SERIES)

    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_the_rules_read_declared_metrics_only() -> None:
    rules = [r for group in yaml.safe_load(RULES.read_text())["groups"] for r in group["rules"]]
    named = {m.family for rule in rules for m in mentions(rule["expr"])}

    assert len(rules) >= 2
    assert named <= DECLARED
