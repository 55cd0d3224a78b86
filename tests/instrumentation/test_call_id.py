import time

from llm_cost import call_id


def test_ids_are_sixteen_bytes_in_order_of_time() -> None:
    first = call_id.new()
    time.sleep(0.003)
    second = call_id.new()

    assert len(first) == call_id.LENGTH_BYTES
    assert first < second


def test_ids_of_one_millisecond_differ() -> None:
    assert len({call_id.new() for _ in range(10_000)}) == 10_000


def test_a_span_has_the_same_id_at_every_delivery() -> None:
    trace, span, start = bytes(range(16)), bytes(8), 1_790_000_000_123_456_789

    once = call_id.of_span(trace, span, start)

    assert once == call_id.of_span(trace, span, start)
    assert len(once) == call_id.LENGTH_BYTES
    assert once[:6] == (1_790_000_000_123).to_bytes(6, "big")


def test_spans_of_one_trace_have_different_ids() -> None:
    trace = bytes(range(16))

    assert call_id.of_span(trace, b"\1" * 8, 1) != call_id.of_span(trace, b"\2" * 8, 1)


def test_an_absurd_start_time_is_no_error() -> None:
    assert len(call_id.of_span(b"", b"", 2**64 - 1)) == call_id.LENGTH_BYTES
