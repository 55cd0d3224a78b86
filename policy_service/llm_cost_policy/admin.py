"""The admin service over gRPC, on a port of its own: translates, and decides nothing."""

from typing import Final

import grpc

from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost_policy import validation, wire
from llm_cost_policy.ledger import Ledger
from llm_cost_policy.transport import COMMIT_TIMEOUT_S, generic_handler, unary
from llm_cost_policy.validation import InvalidRequest

SERVICE: Final = pb.DESCRIPTOR.services_by_name["PolicyAdminService"]


class PolicyAdminServicer:
    """One method per RPC of `PolicyAdminService`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def get_policy(self, request: pb.GetPolicyRequest) -> pb.GetPolicyResponse:
        """Return the running policy document."""
        del request
        document_yaml, version = self._ledger.document()
        return pb.GetPolicyResponse(document_yaml=document_yaml, version=version)

    def put_policy(self, request: pb.PutPolicyRequest) -> pb.PutPolicyResponse:
        """Replace the policy document."""
        if request.expected_version < 0:
            raise InvalidRequest(
                f"expected_version: {request.expected_version} is negative; 0 stands for any"
            )
        pending = self._ledger.put_policy(
            request.document_yaml,
            expected_version=request.expected_version,
            author=validation.text("author", request.author),
            reason=validation.text("reason", request.reason),
        )
        return pb.PutPolicyResponse(version=pending.result(COMMIT_TIMEOUT_S))

    def put_override(self, request: pb.PutOverrideRequest) -> pb.PutOverrideResponse:
        """Set a user's override."""
        pending = self._ledger.put_override(validation.override(request.override))
        return pb.PutOverrideResponse(policy_version=pending.result(COMMIT_TIMEOUT_S))

    def delete_override(self, request: pb.DeleteOverrideRequest) -> pb.DeleteOverrideResponse:
        """Remove a user's override."""
        pending = self._ledger.delete_override(
            validation.user_id(request.user_id),
            author=validation.text("author", request.author),
            reason=validation.text("reason", request.reason),
        )
        return pb.DeleteOverrideResponse(policy_version=pending.result(COMMIT_TIMEOUT_S))

    def list_overrides(self, request: pb.ListOverridesRequest) -> pb.ListOverridesResponse:
        """List the overrides, expired ones too, by user."""
        del request
        overrides = sorted(self._ledger.rules.overrides.values(), key=lambda o: o.user_id)
        return pb.ListOverridesResponse(overrides=map(wire.override, overrides))

    def history(self, request: pb.HistoryRequest) -> pb.HistoryResponse:
        """List admin changes, newest first."""
        if request.before_id < 0:
            raise InvalidRequest(f"before_id: {request.before_id} is negative; 0 for the newest")
        entries = self._ledger.history(
            before_id=request.before_id, at_most=validation.page_size(request.page_size)
        )
        return pb.HistoryResponse(entries=map(wire.history_entry, entries))


def handlers(ledger: Ledger) -> grpc.GenericRpcHandler:
    """Return the gRPC handlers of the admin service."""
    servicer = PolicyAdminServicer(ledger)
    return generic_handler(
        SERVICE.full_name,
        {
            "GetPolicy": unary(pb.GetPolicyRequest, servicer.get_policy),
            "PutPolicy": unary(pb.PutPolicyRequest, servicer.put_policy),
            "PutOverride": unary(pb.PutOverrideRequest, servicer.put_override),
            "DeleteOverride": unary(pb.DeleteOverrideRequest, servicer.delete_override),
            "ListOverrides": unary(pb.ListOverridesRequest, servicer.list_overrides),
            "History": unary(pb.HistoryRequest, servicer.history),
        },
    )
