"""The public API is a promise: a change here is a change for every application."""

import subprocess
import sys

import pytest

import llm_cost


def test_the_public_names_are_these() -> None:
    assert llm_cost.__all__ == [
        "AttributionMiddleware",
        "BudgetWarning",
        "ConfigurationError",
        "Identity",
        "LlmCostError",
        "PolicyBlocked",
        "WsgiAttributionMiddleware",
        "attribute_to",
        "current_identity",
        "flush",
        "instrument",
        "on_budget_warning",
        "uninstrument",
    ]


@pytest.mark.parametrize("name", llm_cost.__all__)
def test_every_public_name_exists_and_is_described(name: str) -> None:
    assert getattr(llm_cost, name).__doc__


def test_another_name_is_an_attribute_error_that_lists_the_names() -> None:
    with pytest.raises(AttributeError, match="attribute_to"):
        _ = llm_cost.atribute_to  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import llm_cost", ("grpc", "opentelemetry", "openai", "wrapt", "asyncio", "typing")),
        ("from llm_cost import attribute_to", ("grpc", "openai", "wrapt", "google.protobuf")),
        ("from llm_cost import policy; policy.current_gate()", ("grpc", "google.protobuf")),
    ],
)
def test_importing_loads_nothing_that_is_not_used(statement: str, absent: tuple[str, ...]) -> None:
    probe = f"import sys; {statement}; print([m for m in {absent} if m in sys.modules])"
    printed = subprocess.run(
        [sys.executable, "-c", f"import sys; before = set(sys.modules); {probe}"],
        capture_output=True,
        text=True,
        check=True,
        env={},
    )

    assert printed.stdout.strip() == "[]"
