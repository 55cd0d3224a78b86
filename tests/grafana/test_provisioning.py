"""The files that load data source and dashboards into a Grafana."""

from pathlib import Path
from typing import Any

import yaml

PROVISIONING = Path(__file__).parents[2] / "grafana" / "provisioning"


def _read(name: str) -> Any:
    return yaml.safe_load((PROVISIONING / name).read_text())


def test_the_data_source_is_a_prometheus_whose_address_comes_from_the_environment() -> None:
    (source,) = _read("datasources/prometheus.yaml")["datasources"]

    assert source["type"] == "prometheus"
    assert source["url"] == "$LLM_COST_PROMETHEUS_URL"
    assert source["jsonData"]["timeInterval"] == "15s"


def test_provisioned_dashboards_are_read_only_and_their_folder_comes_from_the_environment() -> None:
    (provider,) = _read("dashboards/llm-cost.yaml")["providers"]

    assert provider["type"] == "file"
    assert provider["allowUiUpdates"] is False
    assert provider["options"]["path"] == "$LLM_COST_DASHBOARDS"


def test_no_provisioning_file_carries_a_credential() -> None:
    texts = [path.read_text().lower() for path in PROVISIONING.rglob("*.yaml")]

    assert len(texts) == 2
    assert not [text for text in texts if "password" in text or "token" in text]
