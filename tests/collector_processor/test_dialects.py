"""Spans as instrumentations write them, and the usage they mean."""

import pytest

from llm_cost.usage import Usage
from llm_cost_processor.batch import Enricher
from llm_cost_processor.dialects import DIALECTS, LLM_SPAN_MARKS, SubjectNames
from llm_cost_processor.enrich import LlmCall
from support.dialect_spans import CURRENT, OLDER, OPENINFERENCE, OPENLLMETRY, VERCEL
from support.otlp_traffic import Plain, request, span, spans_of

EVERYTHING = Usage(
    input_text_tokens=300,
    cache_read_text_tokens=600,
    cache_write_tokens=100,
    output_text_tokens=150,
    output_reasoning_tokens=50,
)


def calls(attributes: dict[str, Plain], resource: dict[str, Plain] | None = None) -> list[LlmCall]:
    payload = request([span(attributes)], resource).SerializeToString()
    return Enricher(SubjectNames()).enrich(payload).calls


@pytest.mark.parametrize(
    "attributes", [CURRENT, OLDER, OPENLLMETRY, OPENINFERENCE], ids=lambda a: next(iter(a))
)
def test_every_dialect_means_the_same_usage(attributes: dict[str, Plain]) -> None:
    [call] = calls(attributes)

    assert call.usage == EVERYTHING
    assert call.kind.operation == "chat"
    assert call.kind.provider.lower() == "anthropic"
    assert call.kind.model.startswith("claude-sonnet-4-5")
    assert call.price.status == "exact"


def test_all_dialects_cost_the_same() -> None:
    costs = {
        call.nano_usd
        for attributes in (CURRENT, OLDER, OPENLLMETRY, OPENINFERENCE)
        for call in calls(attributes)
    }

    assert len(costs) == 1
    assert None not in costs


def test_counts_may_be_doubles_and_the_operation_unsaid() -> None:
    [call] = calls(VERCEL)

    assert call.usage == Usage(input_text_tokens=1_000, output_text_tokens=200)
    assert call.kind.operation == "chat"


def test_counts_may_be_text() -> None:
    [call] = calls(CURRENT | {"gen_ai.usage.output_tokens": "200"})

    assert call.usage == EVERYTHING


def test_an_input_smaller_than_its_cached_part_was_never_inclusive() -> None:
    [call] = calls(CURRENT | {"gen_ai.usage.input_tokens": 300})

    assert call.usage.input_text_tokens == 300
    assert call.usage.cache_read_text_tokens == 600


@pytest.mark.parametrize("count", [-1, 10**12 + 1, 1.5, float("nan"), "many", True])
def test_an_absurd_count_is_no_price_and_no_settlement(count: Plain) -> None:
    [call] = calls(CURRENT | {"gen_ai.usage.output_tokens": count})

    assert call.price.unpriced == "invalid_usage"
    assert call.nano_usd is None
    assert not call.price.settles


@pytest.mark.parametrize(
    "attributes",
    [
        CURRENT | {"gen_ai.operation.name": "invoke_agent"},
        CURRENT | {"gen_ai.operation.name": "execute_tool"},
        CURRENT | {"gen_ai.operation.name": "fetch_response"},
        CURRENT | {"gen_ai.operation.name": "invoke_workflow"},
        OPENINFERENCE | {"openinference.span.kind": "AGENT"},
        OPENINFERENCE | {"openinference.span.kind": "CHAIN"},
        {"traceloop.span.kind": "workflow", "gen_ai.usage.input_tokens": 5, "gen_ai.system": "x"},
        {"gen_ai.agent.name": "a", "gen_ai.usage.input_tokens": 5},
    ],
)
def test_agents_chains_and_tools_that_repeat_usage_are_no_calls(
    attributes: dict[str, Plain],
) -> None:
    assert calls(attributes) == []


@pytest.mark.parametrize(
    ("span_says", "resource_says", "paid_by"),
    [
        ({"user.id": "u"}, {"user.id": "of the resource"}, "u"),
        ({"enduser.id": "u"}, {}, "u"),
        ({"user.id": "", "enduser.id": "u"}, {}, "u"),
        ({"user.id": 42}, {}, "42"),
        ({}, {"user.id": "of the resource"}, "of the resource"),
        ({}, {}, ""),
    ],
)
def test_the_span_says_who_pays_before_its_resource(
    span_says: dict[str, Plain], resource_says: dict[str, Plain], paid_by: str
) -> None:
    [call] = calls(CURRENT | span_says, resource_says)

    assert call.subject.user_id == paid_by
    assert not call.subject.refused


@pytest.mark.parametrize("user", ["u" * 257, "ü" * 129, "a\0b"])
def test_a_user_id_that_the_ledger_refuses_is_booked_as_unsaid(user: str) -> None:
    [call] = calls(CURRENT | {"user.id": user, "llm_cost.user.tier": "free"})

    assert call.subject.user_id == ""
    assert call.subject.tier == "free"
    assert call.subject.refused
    assert call.price.settles


def test_an_array_where_a_text_belongs_gives_way_to_the_next_name() -> None:
    [call] = calls(CURRENT | {"gen_ai.response.model": ["a", "b"]})

    assert call.kind.model == "claude-sonnet-4-5"


def test_every_dialect_is_found_by_the_bytes_that_let_a_span_be_read() -> None:
    for dialect in DIALECTS:
        for name in dialect.input_tokens + dialect.output_tokens:
            assert any(mark in name.encode() for mark in LLM_SPAN_MARKS), name


def test_a_text_cut_inside_a_character_does_not_make_the_span_unreadable() -> None:
    payload = request([span(CURRENT | {"user.id": "grüß"})]).SerializeToString()
    cut = payload.replace("grüß".encode(), "grüß".encode()[:-1] + b"!")

    enriched = Enricher(SubjectNames()).enrich(cut)

    assert enriched.unreadable == 0
    assert enriched.calls[0].price.status == "exact"
    assert spans_of(payload)


def test_a_frameworks_span_around_priced_calls_is_not_priced_again() -> None:
    assert calls({**OPENINFERENCE, "llm_cost.priced_below": True}) == []
    assert len(calls(OPENINFERENCE)) == 1


def test_a_span_with_a_cost_keeps_it_whatever_is_priced_below() -> None:
    (call,) = calls({**OPENINFERENCE, "llm_cost.priced_below": True, "llm_cost.cost.nano_usd": 5})

    assert call.nano_usd == 5
