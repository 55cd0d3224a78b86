"""Hands OTLP requests to the next hop, byte for byte; or, on the last hop, keeps nothing."""

from typing import Final, Protocol

import grpc
import grpc.aio

from llm_cost_processor.status import back_pressure, refusal_of

MAX_MESSAGE_BYTES: Final = 16 << 20
"""What the Collector's receivers are told to take; a batch of spans with prompts is large."""

DEFAULT_TIMEOUT_S: Final = 10.0
"""For a caller without a deadline: twice the Collector's own per-attempt default."""

ANSWER_MARGIN: Final = 0.1
"""Part of the caller's remaining time that is kept for answering: a reply that comes too late
is resent, and then everything downstream has it twice."""

SHORTEST_FORWARD_S: Final = 0.01


class Forward(Protocol):
    """The next hop for one signal."""

    async def send(self, payload: bytes, remaining_s: float | None) -> bytes:
        """Return the next hop's serialized reply; raises `status.Refusal`."""


class GrpcForward:
    """An OTLP/gRPC server."""

    def __init__(self, channel: grpc.aio.Channel, method: str) -> None:
        self._call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)

    async def send(self, payload: bytes, remaining_s: float | None) -> bytes:
        """Send once; retrying is the sender's, which has the queue for it."""
        timeout_s = DEFAULT_TIMEOUT_S
        if remaining_s is not None:
            timeout_s = min(timeout_s, remaining_s * (1 - ANSWER_MARGIN))
            if timeout_s < SHORTEST_FORWARD_S:
                raise back_pressure("the caller's deadline leaves no time to hand this on")
        try:
            reply: bytes = await self._call(payload, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise refusal_of(error) from error
        return reply


class LastHop:
    """No next hop: what was counted is all that remains."""

    async def send(self, payload: bytes, remaining_s: float | None) -> bytes:
        """Accept. An empty message is a whole success in every OTLP response."""
        del payload, remaining_s
        return b""


def channel_to(endpoint: str) -> grpc.aio.Channel:
    """Return a channel to "host:port" on a trusted network."""
    return grpc.aio.insecure_channel(
        endpoint,
        options=[
            ("grpc.max_send_message_length", -1),  # the receiver has refused what is too large
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            # A next hop that restarts is found again within a second, not within two minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1_000),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            # Spans must not leave the network over a proxy that was set for web traffic.
            ("grpc.enable_http_proxy", 0),
        ],
    )
