"""Which gRPC answer means what between OTLP hops. Translates; decides nothing else.

A Collector retries CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE and
DATA_LOSS, and RESOURCE_EXHAUSTED only with RetryInfo; after anything else it drops the data.
"""

from typing import Final

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc import (  # type: ignore[import-untyped]  # the package ships no stubs
    code_pb2,
    error_details_pb2,
    status_pb2,
)
from grpc_status import rpc_status

RETRY_AFTER_S: Final = 1.0
"""When nobody downstream says better: soon enough for a restart, seldom enough for an outage."""

RETRIED: Final = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


class Refusal(Exception):
    """Why a request is not accepted. `retry_after_s` is None when it never will be."""

    def __init__(
        self,
        message: str,
        retry_after_s: float | None = None,
        code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s
        self.code = code


def back_pressure(message: str, retry_after_s: float = RETRY_AFTER_S) -> Refusal:
    """Return the refusal that makes the sender keep its data and come again."""
    return Refusal(message, retry_after_s, grpc.StatusCode.UNAVAILABLE)


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal:
    """Return what to answer when the next hop answered `error`."""
    message = f"downstream: {error.code().name}: {error.details()}"
    retry_after_s = _retry_after_s(error)
    if error.code() in RETRIED or retry_after_s is not None:
        return back_pressure(message, RETRY_AFTER_S if retry_after_s is None else retry_after_s)
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        # Without RetryInfo it says "too large, for ever"; passed on as such it might be retried.
        return Refusal(message)
    return Refusal(message, None, error.code())


async def abort(context: "grpc.aio.ServicerContext[bytes, bytes]", refusal: Refusal) -> None:
    """End the call with `refusal`. Does not return."""
    if refusal.retry_after_s is None:
        await context.abort(refusal.code, refusal.message)
        return  # abort raises; this is for the reader and the type checker
    status = status_pb2.Status(code=code_pb2.UNAVAILABLE, message=refusal.message)
    delay = Duration()
    delay.FromNanoseconds(int(refusal.retry_after_s * 1e9))
    status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    rich = rpc_status.to_status(status)
    # grpc.aio has no abort_with_status: the details travel as this trailer.
    await context.abort(rich.code, rich.details, rich.trailing_metadata)


def _retry_after_s(error: grpc.aio.AioRpcError) -> float | None:
    """The delay of the RetryInfo among the error's details, None where there is none."""
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin" or not isinstance(value, bytes):
            continue
        status = status_pb2.Status()
        try:
            status.ParseFromString(value)
        except DecodeError:
            return None
        for detail in status.details:
            retry = error_details_pb2.RetryInfo()
            if detail.Is(retry.DESCRIPTOR) and detail.Unpack(retry):
                delay: Duration = retry.retry_delay
                return max(0.0, delay.ToNanoseconds() / 1e9)
    return None
