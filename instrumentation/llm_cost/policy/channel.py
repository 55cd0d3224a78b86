"""The connection to the policy service: where, with which options, in which process.

Made when first used, and again in a forked child: a channel does not survive a fork.
"""

import threading
import time
from typing import Final, TypeVar

import grpc

from llm_cost.errors import ConfigurationError
from llm_cost.policy.v1.policy_pb2_grpc import PolicyServiceStub

_CONNECT_GRACE_S: Final = 1.0
"""A process that never got an answer may still be connecting (TLS, DNS); blocking its first
calls for that would be wrong. It waits this long in all, once, and then keeps the deadline."""

_FORK_SLACK_S: Final = 0.05  # how late gRPC's own deadline may be before we think it dead
_FORK_SILENCES: Final = 3  # in a row, before we stop asking in a child whose gRPC is dead

_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 0),  # servers punish pings without calls
    # A service that restarts is found again within a second or two.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # also the time one attempt may take
    ("grpc.client_idle_timeout_ms", 2**31 - 1),  # reconnecting would eat a call's deadline
    ("grpc.enable_retries", 0),  # we retry ourselves, with the same call id
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.enable_http_proxy", 0),  # the policy service is ours, not out on the internet
    ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection
)

Q = TypeVar("Q")
A = TypeVar("A")


class Unanswered(Exception):
    """gRPC itself did not come back in time: it does not work in this process."""


def target_of(endpoint: str) -> tuple[str, bool]:
    """Return gRPC's name for `endpoint` and whether to use TLS; else `ConfigurationError`."""
    if endpoint.startswith(("unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:")):
        return endpoint, False
    scheme, separator, rest = endpoint.rpartition("://")
    host, _, port = rest.rstrip("/").rpartition(":")
    is_port = port.isascii() and port.isdigit() and 0 < int(port) < 65_536
    if not host or not is_port or (separator and scheme not in ("http", "https")):
        raise ConfigurationError(
            f"policy endpoint {endpoint!r} is not HOST:PORT, http(s)://HOST:PORT, "
            "dns:///HOST:PORT or unix:PATH"
        )
    return f"{host}:{port}", scheme == "https"


class Connection:
    """The channel of this process to the policy service."""

    def __init__(self, endpoint: str) -> None:
        self._target, self._is_secure = target_of(endpoint)
        self._abandoned: list[grpc.Channel] = []  # a parent's: not even to be deleted here
        self._channel: grpc.Channel | None = None
        self.is_forked = False
        self.reset()

    def reset(self) -> None:
        """Start over without touching the old channel."""
        self._lock = threading.Lock()
        if self._channel is not None:
            self._abandoned.append(self._channel)
        self._channel = None
        self._stub: PolicyServiceStub | None = None
        self._grace_ends_s = 0.0
        self._has_answered = False
        self._silences = 0

    @property
    def stub(self) -> PolicyServiceStub:
        """The stub on the channel of this process."""
        return self._stub or self._connect()

    def _connect(self) -> PolicyServiceStub:
        with self._lock:
            if self._stub is None:
                self._grace_ends_s = time.monotonic() + _CONNECT_GRACE_S
                self._channel = (
                    grpc.secure_channel(
                        self._target, grpc.ssl_channel_credentials(), options=_OPTIONS
                    )
                    if self._is_secure
                    else grpc.insecure_channel(self._target, options=_OPTIONS)
                )
                self._stub = PolicyServiceStub(self._channel)
            return self._stub

    def renew(self) -> None:
        """Leave a connection that is up and silent; the next call makes another."""
        with self._lock:
            channel, self._channel, self._stub = self._channel, None, None
        if channel is not None:
            channel.close()

    close = renew

    def allowed_s(self, deadline_s: float) -> float:
        """Return how long a call may wait: the deadline, or the grace of a first connection."""
        if self._has_answered:
            return deadline_s
        return max(deadline_s, self._grace_ends_s - time.monotonic())

    def answered(self) -> None:
        """Note that the service has answered over this connection."""
        self._has_answered = True
        self._silences = 0

    def ask(self, method: "grpc.UnaryUnaryMultiCallable[Q, A]", request: Q, timeout_s: float) -> A:
        """Return the answer; raises `grpc.RpcError`, or `Unanswered`, in about `timeout_s`."""
        if not self.is_forked:
            return method(request, timeout=timeout_s)
        # Without fork support, gRPC in a child never returns, deadline or not. So wait here.
        self.require_living()
        call = method.future(request, timeout=timeout_s)
        try:
            return call.result(timeout=timeout_s + _FORK_SLACK_S)
        except grpc.FutureTimeoutError:
            raise self.silent() from None

    def require_living(self) -> None:
        """Raise `Unanswered` where gRPC has been found dead in this process."""
        if self._silences >= _FORK_SILENCES:
            raise Unanswered(_DEAD)

    def silent(self) -> Unanswered:
        """Count a call that gRPC did not end in time; return what to raise."""
        self._silences += 1
        return Unanswered(_DEAD)


_DEAD: Final = (
    "gRPC does not work in this forked process; set GRPC_ENABLE_FORK_SUPPORT=1 before gRPC "
    "is imported, or fork before it is"
)
