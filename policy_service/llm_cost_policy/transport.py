"""gRPC itself: bytes to method calls, exceptions to status codes, ports and their safety.

The servicers know none of this, so that another transport can carry them.
"""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NoReturn, TypeVar

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from llm_cost.errors import ConfigurationError
from llm_cost_policy.ledger import NotThere, Refused, StoreUnavailable, VersionMismatch
from llm_cost_policy.policy_document import PolicyDocumentError
from llm_cost_policy.validation import LARGEST_MESSAGE_BYTES, InvalidRequest, parsed

COMMIT_TIMEOUT_S: Final = 10  # a disk that takes longer is down
WORKERS: Final = 32  # each waits for a commit most of its time; more only switch
MOST_RPCS_AT_ONCE: Final = 2_000  # beyond it gRPC answers RESOURCE_EXHAUSTED at once
LONGEST_DETAILS: Final = 3_000  # gRPC drops an answer whose headers pass 8 KiB
_LOOPBACK: Final = ("127.", "localhost:", "[::1]:", "unix:")

_log = logging.getLogger(__name__)
Request = TypeVar("Request", bound=Message)


class AlreadySettled(Exception):
    """This call_id was settled with another amount; the message names both."""


_STATUS_OF: Final = {
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    PolicyDocumentError: grpc.StatusCode.INVALID_ARGUMENT,
    Refused: grpc.StatusCode.INVALID_ARGUMENT,
    NotThere: grpc.StatusCode.NOT_FOUND,
    AlreadySettled: grpc.StatusCode.ALREADY_EXISTS,
    VersionMismatch: grpc.StatusCode.ABORTED,
    # Never UNKNOWN: clients take UNKNOWN for a defect and UNAVAILABLE for an outage.
    StoreUnavailable: grpc.StatusCode.UNAVAILABLE,
}


def unary(
    kind: type[Request], method: Callable[[Request], Message]
) -> "grpc.RpcMethodHandler[bytes, Message]":
    """Return the gRPC handler that parses, calls `method` and translates what it raises."""

    def behaviour(serialized: bytes, context: grpc.ServicerContext) -> Message:
        try:
            return method(parsed(kind, serialized))
        except Exception as error:  # noqa: BLE001 - gRPC would answer UNKNOWN
            failure = error
        _abort(context, failure)

    return grpc.unary_unary_rpc_method_handler(behaviour, response_serializer=_serialized)


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def _abort(context: grpc.ServicerContext, failure: Exception) -> NoReturn:
    code = _STATUS_OF.get(type(failure))
    details = str(failure)
    if code is None:
        _log.error("an RPC failed by a defect", exc_info=failure)
        code, details = grpc.StatusCode.INTERNAL, f"a defect of the service: {failure!r}"
    if len(details) > LONGEST_DETAILS:
        details = f"{details[:LONGEST_DETAILS]}... ({len(details)} characters in all)"
    context.abort(code, details)


def generic_handler(
    service: str, methods: "Mapping[str, grpc.RpcMethodHandler[bytes, Message]]"
) -> grpc.GenericRpcHandler:
    """Return the handler of a whole service."""
    return grpc.method_handlers_generic_handler(service, dict(methods))


class Listener:
    """A gRPC server on one address, with health and reflection."""

    def __init__(
        self,
        handler: grpc.GenericRpcHandler,
        service: str,
        *,
        address: str,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self._server = grpc.server(
            ThreadPoolExecutor(WORKERS, thread_name_prefix="rpc"),
            maximum_concurrent_rpcs=MOST_RPCS_AT_ONCE,
            options=[
                ("grpc.max_receive_message_length", LARGEST_MESSAGE_BYTES),
                # Two services on one port would share its calls at random.
                ("grpc.so_reuseport", 0),
            ],
        )
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (service, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self._server.add_generic_rpc_handlers((handler,))
        for name in ("", service):
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self.address = self._bind(address, credentials)
        self._server.start()

    def _bind(self, address: str, credentials: grpc.ServerCredentials | None) -> str:
        try:
            if credentials is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise ConfigurationError(
                f"cannot listen on {address} ({error}); free the port or choose another, 0 for any"
            ) from None
        return f"{address.rpartition(':')[0]}:{port}"

    def stop(self, grace_s: float) -> None:
        """Tell health checks, refuse new calls, let running ones end within `grace_s`."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_s).wait()


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach `address`."""
    return address.startswith(_LOOPBACK)
