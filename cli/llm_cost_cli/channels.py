"""Calls to the policy service, with its errors in a user's words."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc

from llm_cost.policy.v1.policy_pb2_grpc import PolicyAdminServiceStub, PolicyServiceStub
from llm_cost_cli import settings
from llm_cost_cli.failures import NOT_TRIED, REFUSED, CommandFailed

DEADLINE_S: Final = 10
"""A report over a large ledger may take seconds; a person will not wait longer."""

_AWAY: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


@contextmanager
def admin(endpoint: str) -> Iterator[PolicyAdminServiceStub]:
    """The admin service at `endpoint`."""
    way_out = f"--admin HOST:PORT or {settings.ADMIN_ENDPOINT}"
    with _channel(endpoint, "admin", way_out) as channel:
        yield PolicyAdminServiceStub(channel)


@contextmanager
def policy(endpoint: str) -> Iterator[PolicyServiceStub]:
    """The data service at `endpoint`."""
    way_out = f"--policy-endpoint HOST:PORT or {settings.POLICY_ENDPOINT}"
    with _channel(endpoint, "policy", way_out) as channel:
        yield PolicyServiceStub(channel)


@contextmanager
def _channel(endpoint: str, name: str, way_out: str) -> Iterator[grpc.Channel]:
    try:
        with grpc.insecure_channel(endpoint) as channel:
            yield channel
    except grpc.RpcError as error:
        raise _in_words(error, f"the {name} service at {endpoint}", way_out) from None


def _in_words(error: grpc.RpcError, service: str, way_out: str) -> CommandFailed:
    assert isinstance(error, grpc.Call)  # what a finished call raises is both
    code, details = error.code(), error.details() or ""
    if code in _AWAY:
        return CommandFailed(
            f"{service} does not answer; start it with 'llm-cost up', "
            f"or say where it is by {way_out}",
            exit_code=NOT_TRIED,
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return CommandFailed(
            f"{service} is another service than this command speaks to; check {way_out}",
            exit_code=NOT_TRIED,
        )
    return CommandFailed(details or f"{service} answered {code.name}", exit_code=REFUSED)
