"""The processor against the plain reference, on spans nobody would send and some do.

The enricher under test lives as long as this file: what it remembers of one example must
never show in another.
"""

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_cost import attributes as names
from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost.usage import Usage
from llm_cost_processor.aggregate import Aggregate
from llm_cost_processor.batch import Enriched, Enricher
from llm_cost_processor.dialects import BUCKET_NAMES, DIALECTS, SubjectNames
from llm_cost_processor.dialects.plan import OWN
from llm_cost_processor.memory import Memory
from llm_cost_processor.raw.v1 import raw_pb2
from llm_cost_processor.settlement import records_of
from llm_cost_processor.wire import delimited, varint
from support import reference_enrichment as reference
from support.dialect_spans import CURRENT, OLDER, OPENINFERENCE, OPENLLMETRY, VERCEL
from support.otlp_traffic import OPENAI_CALL

ENRICHER = Enricher(SubjectNames())
S = SubjectNames()
OWN_CALL = OPENAI_CALL | {
    names.COST_NANO_USD: 270_000,
    names.PRICE_STATUS: "exact",
    names.PRICE_VERSION: "v",
    names.USAGE_SOURCE: "reported",
    names.CALL_ID: "00" * 16,
}
WRITTEN = (OPENAI_CALL, OWN_CALL, CURRENT, OLDER, OPENLLMETRY, OPENINFERENCE, VERCEL, {})
READ = sorted({*OWN, *S.user, *S.tier, *S.group}.union(*(d.names() for d in DIALECTS)))
OTHER = ["gen_ai.prompt.0.content", "http.route", "gen_ai.", "", "llm.x" * 30]

texts = st.sampled_from(
    [
        b"", b"chat", b"LLM", b"AGENT", b"embeddings", b"openai", b"anthropic", b"gpt-4o-mini",
        b"claude-sonnet-4-5", b"batch", b"block", b"estimated", b"unknown", b"partial", b"EXACT",
        b"12", b"007", b"-3", b"1" * 14, "²".encode(), b"a\0b", b"\xff\xfe", b"gr\xc3", b"u" * 257,
        b"\xff" * 100, b"u" * 127, b"u" * 128, b"ab" * 16, b"zz" * 16, b"x" * 3_000,
        b"gen_ai.system",
    ]
)  # fmt: skip
numbers = st.sampled_from(
    [0, 1, 127, 128, 300, 16_383, 16_384, 10**12, 10**12 + 1, 2**63 - 1, -1, -(2**63)]
) | st.integers(0, 5_000)
doubles = st.sampled_from([0.0, -0.0, 5.0, 1.5, -1.0, 1e300, float("inf"), float("nan")])
values = st.one_of(
    texts.map(lambda text: raw_pb2.Value(string_value=text).SerializeToString()),
    numbers.map(lambda number: raw_pb2.Value(int_value=number).SerializeToString()),
    doubles.map(lambda number: raw_pb2.Value(double_value=number).SerializeToString()),
    st.booleans().map(lambda truth: raw_pb2.Value(bool_value=truth).SerializeToString()),
    st.sampled_from(
        [
            b"",  # no value
            b"\x2a\x04\x0a\x02\x0a\x00",  # an array
            b"\x3a\x02ab",  # bytes
            b"\x0a\x80\x80\x00",  # a length in more bytes than it needs
            b"\x0a\x04chat\xca\x3e\x01x",  # a text, and a field from the future
            b"\x0a\x01a\x0a\x01b",  # two texts: the last stands
            b"\x0a\x01a\x18\x05",  # a text and a number: the last stands
            b"\x18\x85\x80\x00",  # 5, in more bytes than it needs
        ]
    ),
)
ids = st.sampled_from([b"", b"\0" * 8, b"\1" * 16]) | st.binary(max_size=20)
moments = st.sampled_from(
    [0, 1, 1_763_000_000 * 10**9, 1_763_000_002 * 10**9, 2**64 - 1]
) | st.integers(0, 2**64 - 1)


def key_value(key: bytes, value: bytes) -> bytes:
    return delimited(b"\x4a", delimited(b"\x0a", key) + delimited(b"\x12", value))


def plain(value: object) -> bytes:
    field = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}
    if isinstance(value, str):
        return raw_pb2.Value(string_value=value.encode()).SerializeToString()
    return raw_pb2.Value(**{field[type(value)]: value}).SerializeToString()  # type: ignore[arg-type]


@st.composite
def spans(draw: st.DrawFn) -> bytes:
    """A span as some instrumentation writes it, with attributes changed, doubled and left out."""
    written = draw(st.sampled_from(WRITTEN))
    left_out = draw(st.sets(st.sampled_from(sorted(written) or [""]), max_size=3))
    attributes = [
        key_value(name.encode(), plain(value))
        for name, value in written.items()
        if name not in left_out
    ]
    keys = st.sampled_from(READ).map(str.encode) | st.sampled_from(OTHER).map(str.encode)
    attributes += [
        key_value(key, value) for key, value in draw(st.lists(st.tuples(keys, values), max_size=4))
    ]
    if draw(st.integers(0, 40)) == 0:
        attributes.append(key_value(b"gen_ai.\xff", b""))  # a key must be UTF-8
    parts = [
        *draw(st.permutations(attributes)),
        delimited(b"\x0a", draw(ids)),
        delimited(b"\x12", draw(ids)),
        b"\x39" + draw(moments).to_bytes(8, "little"),
        b"\x41" + draw(moments).to_bytes(8, "little"),
        delimited(b"\x7a", b"\x18" + varint(draw(st.integers(0, 3)))),
        draw(st.sampled_from([b"", b"\xca\x3e\x05later"])),
    ]
    return b"".join(parts)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    keys = st.sampled_from([*S.user, *S.tier, *S.group, "service.name"]).map(str.encode)
    resource = b"".join(
        delimited(b"\x0a", delimited(b"\x0a", key) + delimited(b"\x12", value))
        for key, value in draw(st.lists(st.tuples(keys, values), max_size=2))
    )
    scope_spans = b"".join(delimited(b"\x12", span) for span in draw(st.lists(spans(), max_size=5)))
    return delimited(b"\x0a", delimited(b"\x0a", resource) + delimited(b"\x12", scope_spans))


@settings(max_examples=300, deadline=None)
@given(requests())
def test_the_processor_agrees_with_the_reference(payload: bytes) -> None:
    expected = reference.enrich(payload)

    enriched = ENRICHER.enrich(payload)

    assert enriched.payload == expected.payload
    assert enriched.passed == expected.passed
    assert enriched.unreadable == expected.unreadable
    assert [call.price.unpriced for call in enriched.calls] == [c.unpriced for c in expected.calls]
    assert [call.refused for call in enriched.calls] == [call.refused for call in expected.calls]
    check_settlements(enriched, expected)
    check_series(enriched, expected)


def check_settlements(enriched: Enriched, expected: reference.Expected) -> None:
    wanted = [call.settlement for call in expected.calls if call.settles]
    records = records_of(enriched.calls)

    told = [s for r in records for s in pb.SettleBatchRequest.FromString(r.payload).settlements]
    assert told == wanted
    assert sum(record.items for record in records) == len(wanted)
    # As short as protobuf's own: maps have no order, so the bytes themselves may differ.
    assert (
        sum(len(record.payload) for record in records)
        == pb.SettleBatchRequest(settlements=wanted).ByteSize()
    )


def check_series(enriched: Enriched, expected: reference.Expected) -> None:
    aggregate = Aggregate()
    repeated = aggregate.add(enriched.calls)

    once = {call.settlement.call_id: call for call in reversed(expected.calls)}
    assert repeated == len(expected.calls) - len(once)
    by_labels: defaultdict[tuple[str, ...], list[reference.Call]] = defaultdict(list)
    for call in once.values():
        by_labels[call.labels].append(call)
    series = dict(aggregate.snapshot())
    assert set(series) == set(by_labels)
    for labels, sums in series.items():
        calls = by_labels[labels]
        used = Usage(*(sum(column) for column in zip(*(c.usage for c in calls), strict=True)))
        assert sums.calls == sum(sums.duration_counts) == len(calls)
        assert sums.cost_nano_usd == sum(c.settlement.actual_nano_usd for c in calls)
        assert sum(sums.unpriced.values()) == sum(c.unpriced is not None for c in calls)
        assert sums.duration_s == pytest.approx(sum(c.duration_s for c in calls))
        assert sum(sums.tokens) == used.total_input_tokens + used.total_output_tokens
        assert sums.tokens[1] == used.cache_read_tokens


def test_the_spans_of_this_test_reach_every_judgement() -> None:
    """A differential test whose inputs all fall at the first hurdle would prove nothing."""
    everything = [
        b"".join(key_value(n.encode(), plain(v)) for n, v in written.items())
        for written in (*WRITTEN[:-1], {"gen_ai.agent.name": "a"})
    ]
    payload = delimited(
        b"\x0a", delimited(b"\x12", b"".join(delimited(b"\x12", span) for span in everything))
    )

    enriched = ENRICHER.enrich(payload)

    assert len(enriched.calls) == len(WRITTEN) - 1
    assert enriched.passed == {"not_llm": 1}
    assert all(call.price.unpriced is None for call in enriched.calls)


def test_every_own_bucket_is_read_by_the_reference_too() -> None:
    assert reference.SAID_BY_DIALECTS.issubset(BUCKET_NAMES.values())


def test_a_memory_stays_within_its_bounds_and_forgets_nothing_true() -> None:
    memory: Memory[bytes, int] = Memory(len, max_entries=10, keeps=lambda key: len(key) < 50)

    assert [memory[b"x" * n] for n in range(100)] == list(range(100))
    assert len(memory) <= 10
    assert b"x" * 50 not in memory
