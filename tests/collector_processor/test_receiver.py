"""The processor as a hop: what it answers, and what reaches the next hop."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from llm_cost import attributes as names
from support.otlp import attributes_of
from support.otlp_traffic import (
    HTTP_SPAN,
    OPENAI_CALL,
    OPENAI_CALL_NANO_USD,
    request,
    span,
    spans_of,
)
from support.processor import Processor, processor
from support.scripted_downstream import Downstream, downstream


@pytest.fixture(scope="module")
def hop() -> Iterator[tuple[Processor, Downstream]]:
    with downstream() as next_hop, processor(forward=next_hop.endpoint) as running:
        yield running, next_hop


@pytest.fixture
def running(hop: tuple[Processor, Downstream]) -> Processor:
    return hop[0]


@pytest.fixture
def next_hop(hop: tuple[Processor, Downstream]) -> Iterator[Downstream]:
    hop[1].accepted.clear()
    hop[1].deadlines_s.clear()
    yield hop[1]
    hop[1].answer = lambda payload, context: b""


def refused(export: Callable[[], bytes]) -> tuple[grpc.StatusCode, str, float | None]:
    """The code, the message, and the delay of the RetryInfo, of a refused export."""
    with pytest.raises(grpc.RpcError) as raised:
        export()
    error = raised.value
    assert isinstance(error, grpc.Call)
    rich = rpc_status.from_call(error)
    retry = error_details_pb2.RetryInfo()
    delay = None
    if rich is not None and rich.details and rich.details[0].Unpack(retry):
        delay = retry.retry_delay.ToNanoseconds() / 1e9
    return error.code(), str(error.details()), delay


def test_malformed_bytes_are_an_invalid_argument(running: Processor) -> None:
    code, message, delay = refused(lambda: running.export(b"not protobuf"))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "12 bytes are not an OTLP" in message
    assert delay is None


def test_an_oversized_request_is_an_invalid_argument_that_names_the_limit(
    running: Processor, next_hop: Downstream
) -> None:
    large = request([span(HTTP_SPAN | {"text": "x" * (16 << 20)})])

    code, message, _ = refused(lambda: running.export(large))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "at most 16777216" in message
    assert next_hop.accepted == []


def test_fifteen_mebibytes_pass(running: Processor, next_hop: Downstream) -> None:
    large = request([span(OPENAI_CALL | {"gen_ai.prompt": "x" * (15 << 20)})])

    running.export(large)

    assert attributes_of(next_hop.spans[0])[names.COST_NANO_USD] == OPENAI_CALL_NANO_USD


def aborting(code: grpc.StatusCode) -> Callable[[bytes, grpc.ServicerContext], bytes]:
    def answer(payload: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(code, "scripted")
        raise AssertionError("abort raises")

    return answer


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.DATA_LOSS,
    ],
)
def test_a_next_hop_that_may_recover_makes_the_sender_come_again(
    running: Processor, next_hop: Downstream, code: grpc.StatusCode
) -> None:
    next_hop.answer = aborting(code)

    answered, message, delay = refused(lambda: running.export(request([span(OPENAI_CALL)])))

    assert answered is grpc.StatusCode.UNAVAILABLE
    assert code.name in message
    assert delay == 1.0


def test_the_delay_that_the_next_hop_asks_for_is_passed_on(
    running: Processor, next_hop: Downstream
) -> None:
    def exhausted(payload: bytes, context: grpc.ServicerContext) -> bytes:
        status = status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED, message="full")
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=7)))
        context.abort_with_status(rpc_status.to_status(status))
        raise AssertionError("abort raises")

    next_hop.answer = exhausted

    code, _, delay = refused(lambda: running.export(request([span(OPENAI_CALL)])))

    assert code is grpc.StatusCode.UNAVAILABLE
    assert delay == 7.0


@pytest.mark.parametrize(
    ("code", "answered"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INVALID_ARGUMENT),
        (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.PERMISSION_DENIED),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_a_refusal_for_ever_stays_one_and_never_says_resource_exhausted(
    running: Processor,
    next_hop: Downstream,
    code: grpc.StatusCode,
    answered: grpc.StatusCode,
) -> None:
    next_hop.answer = aborting(code)

    assert refused(lambda: running.export(request([span(OPENAI_CALL)])))[0] is answered


def test_a_hanging_next_hop_is_given_up_before_the_sender_gives_up(
    running: Processor, next_hop: Downstream
) -> None:
    next_hop.answer = next_hop.hang

    began_s = time.monotonic()
    code, message, delay = refused(
        lambda: running.export(request([span(OPENAI_CALL)]), timeout_s=2)
    )
    next_hop.released.set()

    assert code is grpc.StatusCode.UNAVAILABLE
    assert "DEADLINE_EXCEEDED" in message
    assert delay is not None
    assert time.monotonic() - began_s < 2
    assert next_hop.deadlines_s[0] < 1.9


def test_partial_success_of_the_next_hop_is_handed_back(
    running: Processor, next_hop: Downstream
) -> None:
    partial = ExportTracePartialSuccess(rejected_spans=1, error_message="too old")
    next_hop.answer = lambda payload, context: ExportTraceServiceResponse(
        partial_success=partial
    ).SerializeToString()

    reply = running.export(request([span(OPENAI_CALL), span(HTTP_SPAN)]))

    assert ExportTraceServiceResponse.FromString(reply).partial_success == partial


def test_a_request_without_llm_spans_arrives_byte_for_byte(
    running: Processor, next_hop: Downstream
) -> None:
    payload = request([span(HTTP_SPAN)]).SerializeToString() + b"\xca\x3e\x05later"

    running.export(payload)

    assert next_hop.accepted == [payload]


def test_a_span_delivered_three_times_is_counted_once(
    running: Processor, next_hop: Downstream
) -> None:
    call = OPENAI_CALL | {names.USER_TIER: "thrice"}
    for _ in range(3):
        running.export(request([span(call, number=777)]))

    assert len(next_hop.spans) == 3
    assert running.metric("llm_calls_total", tier="thrice") == 1
    assert running.metric("llm_cost_usd_total", tier="thrice") == OPENAI_CALL_NANO_USD / 1e9
    assert running.metric("llm_tokens_total", tier="thrice", kind="input") == 1_000
    assert running.metric("llm_call_duration_seconds_count", tier="thrice") == 1
    assert running.metric("llm_call_duration_seconds_bucket", tier="thrice", le="2.56") == 1
    assert running.metric("llm_call_duration_seconds_bucket", tier="thrice", le="1.28") == 0


def test_an_unpriced_call_is_counted_with_its_reason(
    running: Processor, next_hop: Downstream
) -> None:
    model = {names.RESPONSE_MODEL: "nobody-7", names.REQUEST_MODEL: "nobody-7"}
    running.export(request([span(OPENAI_CALL | model, number=778)]))

    assert running.metric("llm_unpriced_calls_total", model="nobody-7", reason="no_price") == 1
    assert running.metric("llm_cost_usd_total", model="nobody-7") == 0


@pytest.mark.parametrize("signal_name", ["metrics.v1.Metrics", "logs.v1.Logs"])
def test_other_signals_pass_byte_for_byte(
    running: Processor, next_hop: Downstream, signal_name: str
) -> None:
    running.export(b"\x0a\x02\x0a\x00", signal=signal_name)

    assert next_hop.accepted == [b"\x0a\x02\x0a\x00"]


def test_other_signals_are_accepted_and_counted_where_the_next_hop_takes_only_traces() -> None:
    with (
        downstream("trace.v1.TraceService") as next_hop,
        processor(forward=next_hop.endpoint) as running,
    ):
        assert running.export(b"\x0a\x02\x0a\x00", signal="metrics.v1.Metrics") == b""
        assert running.metric("llm_cost_processor_discarded_requests_total", signal="metrics") == 1


def test_the_last_hop_accepts_everything() -> None:
    with processor() as running:
        assert running.export(request([span(OPENAI_CALL)])) == b""
        assert running.export(b"", signal="logs.v1.Logs") == b""
        assert running.metric("llm_calls_total") == 1
        assert running.metric("llm_cost_processor_discarded_requests_total", signal="logs") == 1


def test_it_is_healthy_and_sigterm_ends_it_within_five_seconds() -> None:
    with downstream() as next_hop, processor(forward=next_hop.endpoint) as running:
        with grpc.insecure_channel(str(running.service.ready["otlp"])) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            status = health.Check(health_pb2.HealthCheckRequest()).status
        next_hop.answer = lambda payload, context: time.sleep(0.5) or b""
        replies: list[bytes] = []
        sending = threading.Thread(
            target=lambda: replies.append(running.export(request([span(OPENAI_CALL)])))
        )
        sending.start()
        time.sleep(0.2)
        code = running.service.terminate(timeout_s=5)
        sending.join()

        assert status == health_pb2.HealthCheckResponse.SERVING
        assert code == 0
        assert replies == [b""]  # what was in flight was finished
        assert len(next_hop.spans) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--listen", "0.0.0.0:4317"], "--insecure"),
        (["--listen", "nowhere"], "HOST:PORT"),
        (["--listen", "127.0.0.1:99999"], "HOST:PORT"),
        (["--policy", "127.0.0.1:1"], "--spool"),
        (["--spool-max-mib", "0"], "whole number"),
    ],
)
def test_settings_that_cannot_be_used_are_named(arguments: list[str], says: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "llm_cost_processor", *arguments],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip

    assert ended.returncode == 2
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


def test_sigint_ends_it_too() -> None:
    with processor() as running:
        running.service.process.send_signal(signal.SIGINT)

        assert running.service.process.wait(5) == 0


def test_spans_come_back_with_their_order(running: Processor, next_hop: Downstream) -> None:
    running.export(request([span(OPENAI_CALL, number=n) for n in range(1, 51)]))

    assert [s.span_id for s in spans_of(next_hop.accepted[0])] == [
        n.to_bytes(8, "big") for n in range(1, 51)
    ]
