"""A scripted policy service and a client of it, both gone after each test."""

from collections.abc import Iterator

import pytest

from llm_cost.policy.client import PolicyClient
from llm_cost.settings import Settings
from support import scripted_policy_service


@pytest.fixture
def server() -> Iterator[scripted_policy_service.Running]:
    with scripted_policy_service.running() as started:
        yield started


@pytest.fixture
def client(server: scripted_policy_service.Running) -> Iterator[PolicyClient]:
    made = PolicyClient(Settings(policy_endpoint=server.endpoint))
    yield made
    made.close()
