import pytest

from llm_cost.errors import ConfigurationError
from llm_cost.policy.decision import OutageMode, OutagePolicy
from llm_cost.settings import Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LLM_COST_POLICY_DEADLINE_MS", "fast"),
        ("LLM_COST_POLICY_DEADLINE_MS", "0"),
        ("LLM_COST_POLICY_DEADLINE_MS", "-5"),
        ("LLM_COST_POLICY_DEADLINE_MS", "60001"),
        ("LLM_COST_ESTIMATE", "guess"),
        ("LLM_COST_ESTIMATE_MAX_OUTPUT_TOKENS", "1.5"),
        ("LLM_COST_ON_UNAVAILABLE", "explode"),
        ("LLM_COST_ON_UNAVAILABLE", "free=allow_up_to:-1"),
        ("LLM_COST_ON_UNAVAILABLE", "free=allow_up_to"),
    ],
)
def test_a_value_that_cannot_be_read_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment({name: value})

    assert name in str(caught.value)
    assert repr(value) in str(caught.value)


def test_an_empty_environment_prices_without_enforcing() -> None:
    settings = Settings.from_environment({})

    assert settings.policy_endpoint is None
    assert settings.policy_deadline_s == 0.05
    assert settings.outage_policy("free") == OutagePolicy(OutageMode.BLOCK)


def test_outage_rules_go_by_tier_and_the_bare_one_is_for_the_rest() -> None:
    settings = Settings.from_environment(
        {"LLM_COST_ON_UNAVAILABLE": "allow, free=block, pro=allow_up_to:0.25"}
    )

    assert settings.outage_policy("free") == OutagePolicy(OutageMode.BLOCK)
    assert settings.outage_policy("pro") == OutagePolicy(OutageMode.ALLOW_UP_TO, 250_000_000)
    assert settings.outage_policy("enterprise") == OutagePolicy(OutageMode.ALLOW)
