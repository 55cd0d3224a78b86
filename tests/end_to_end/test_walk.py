"""One call's walk through real processes: application, policy service, processor, backend."""

import time

from llm_cost import attributes as names
from support import otlp
from support.system import APPS, EXAMPLES, System


def costed(spans: list[otlp.Span]) -> list[dict[str, object]]:
    """The attributes of the spans that carry a cost."""
    plain = [otlp.attributes_of(span) for span in spans]
    return [attributes for attributes in plain if names.COST_NANO_USD in attributes]


def test_two_fields_are_all_that_an_application_adds(system: System) -> None:
    system.run(str(EXAMPLES / "two_fields.py"))

    spans = costed(system.sink.wait_for(lambda spans: len(costed(spans)) >= 1))
    [span] = spans
    assert span[names.USER_ID] == "user_1"
    assert span[names.USER_TIER] == "free"
    assert span[names.PRICE_STATUS] == "exact"
    assert span[names.COST_NANO_USD] == system.provider.record.total_nano_usd > 0
    assert system.usage("user_1").spent_nano_usd == system.provider.record.total_nano_usd
    assert system.usage("user_1").calls == 1


def test_an_untouched_application_is_priced_and_booked_as_unattributed(system: System) -> None:
    system.run(str(APPS / "untouched.py"))

    spans = costed(system.sink.wait_for(lambda spans: len(costed(spans)) >= 2))
    assert len(spans) == 2
    assert sum(int(str(span[names.COST_NANO_USD])) for span in spans) == (
        system.provider.record.total_nano_usd
    )
    usage = system.usage(names.UNATTRIBUTED)
    assert usage.spent_nano_usd == system.provider.record.total_nano_usd
    assert usage.calls == 2


def test_one_anthropic_call_is_one_span_with_usage(system: System) -> None:
    system.run(str(APPS / "untouched.py"))
    system.sink.wait_for(lambda spans: len(costed(spans)) >= 2)
    time.sleep(1)  # whatever else was going to be exported has been by now

    with_usage = [
        span
        for span in map(otlp.attributes_of, system.sink.spans)
        if names.USAGE_OUTPUT_TOKENS in span
    ]
    assert len(with_usage) == 2


def test_without_a_policy_endpoint_everything_but_enforcement_works(system: System) -> None:
    system.put_policy("default_tier: free\ntiers:\n  free:\n    limit: 0\n    action: block\n")
    del system.environment["LLM_COST_POLICY_ENDPOINT"]

    system.run(str(EXAMPLES / "two_fields.py"))

    [span] = costed(system.sink.wait_for(lambda spans: len(costed(spans)) >= 1))
    assert span[names.USER_ID] == "user_1"
    assert names.POLICY_DECISION not in span
    # Nobody was asked; the span alone has told the ledger.
    assert system.usage("user_1").spent_nano_usd == system.provider.record.total_nano_usd > 0


def test_an_application_can_patch_its_clients_by_hand(system: System) -> None:
    system.run_plainly(str(APPS / "by_hand.py"))

    first, second = system.provider.record.rows
    assert system.usage("user_1").spent_nano_usd == first.price_nano_usd
    assert system.usage(names.UNATTRIBUTED).calls == 0, second  # `uninstrument` holds
