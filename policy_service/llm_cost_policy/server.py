"""The data service over gRPC: translates, and decides nothing."""

from collections.abc import Iterator
from typing import Final

import grpc

from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost_policy import reports, validation, wire
from llm_cost_policy.ledger import Ledger, SettleCall, SettleOutcome, SettleStatus
from llm_cost_policy.periods import Period
from llm_cost_policy.transport import COMMIT_TIMEOUT_S, AlreadySettled, generic_handler, unary
from llm_cost_policy.validation import InvalidRequest

SERVICE: Final = pb.DESCRIPTOR.services_by_name["PolicyService"]


class PolicyServicer:
    """One method per RPC of `PolicyService`; gRPC itself stands in `handlers`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def check(self, request: pb.CheckRequest) -> pb.CheckResponse:
        """Judge an estimated call."""
        decision = self._ledger.check(validation.check_call(request))
        return pb.CheckResponse(decision=wire.decision(decision))

    def reserve(self, request: pb.ReserveRequest) -> pb.ReserveResponse:
        """Judge an estimated call and hold its estimate."""
        pending = self._ledger.reserve(validation.reserve_call(request))
        return wire.reserve_response(pending.result(COMMIT_TIMEOUT_S))

    def settle(self, request: pb.SettleRequest) -> pb.SettleResponse:
        """Record what a call cost."""
        if not request.HasField("settlement"):
            raise InvalidRequest("settlement: is missing; send the call's")
        call = validation.settle_call(request.settlement)
        answer = self._ledger.settle([call]).result(COMMIT_TIMEOUT_S)
        outcome = answer.outcomes[0]
        if outcome.status is SettleStatus.CONFLICT:
            raise AlreadySettled(outcome.error)
        if outcome.status is SettleStatus.INVALID:
            raise InvalidRequest(outcome.error)
        return pb.SettleResponse(
            result=wire.settle_result(call.call_id, outcome),
            threshold_events=wire.threshold_events(answer.warnings),
        )

    def settle_batch(self, request: pb.SettleBatchRequest) -> pb.SettleBatchResponse:
        """Record what many calls cost."""
        checked = validation.settle_calls(request)
        good = [call for call in checked if isinstance(call, SettleCall)]
        response = pb.SettleBatchResponse()
        outcomes: Iterator[SettleOutcome] = iter(())
        if good:
            answer = self._ledger.settle(good).result(COMMIT_TIMEOUT_S)
            outcomes = iter(answer.outcomes)
            response.threshold_events.extend(wire.threshold_events(answer.warnings))
        response.results.extend(
            wire.settle_result(call.call_id, next(outcomes))
            if isinstance(call, SettleCall)
            else wire.invalid_result(item.call_id, str(call))
            for item, call in zip(request.settlements, checked, strict=True)
        )
        return response

    def void(self, request: pb.VoidRequest) -> pb.VoidResponse:
        """Release a hold."""
        pending = self._ledger.void(validation.call_id(request.call_id))
        return pb.VoidResponse(released=pending.result(COMMIT_TIMEOUT_S))

    def extend(self, request: pb.ExtendRequest) -> pb.ExtendResponse:
        """Keep holds of calls that still run."""
        call_ids, ttl_ms = validation.extended_holds(request)
        pending = self._ledger.extend(call_ids, ttl_ms)
        return pb.ExtendResponse(hold_expires_unix_ms=pending.result(COMMIT_TIMEOUT_S))

    def get_usage(self, request: pb.GetUsageRequest) -> pb.GetUsageResponse:
        """Report one user."""
        user_id = validation.user_id(request.user_id)
        row = reports.user_row(self._ledger, user_id, self._period(request.period))
        return pb.GetUsageResponse(usage=wire.user_usage(row))

    def list_users(self, request: pb.ListUsersRequest) -> pb.ListUsersResponse:
        """Report users, highest spend first."""
        rows, token = reports.ranked_users(
            self._ledger,
            self._period(request.period),
            tier=validation.tier(request.tier),
            page_token=request.page_token,
            page_size=validation.page_size(request.page_size),
        )
        return pb.ListUsersResponse(users=map(wire.user_usage, rows), next_page_token=token)

    def tier_report(self, request: pb.TierReportRequest) -> pb.TierReportResponse:
        """Report every tier."""
        period = self._period(request.period)
        return pb.TierReportResponse(
            period=period.name,
            tiers=map(wire.tier_usage, reports.tier_rows(self._ledger, period)),
            policy_version=self._ledger.rules.version,
        )

    def _period(self, name: str) -> Period:
        period = self._ledger.period_of(validation.period_name(name))
        if period is None:
            raise validation.no_such_period(name)
        return period


def handlers(ledger: Ledger) -> grpc.GenericRpcHandler:
    """Return the gRPC handlers of the data service."""
    servicer = PolicyServicer(ledger)
    return generic_handler(
        SERVICE.full_name,
        {
            "Check": unary(pb.CheckRequest, servicer.check),
            "Reserve": unary(pb.ReserveRequest, servicer.reserve),
            "Settle": unary(pb.SettleRequest, servicer.settle),
            "SettleBatch": unary(pb.SettleBatchRequest, servicer.settle_batch),
            "Void": unary(pb.VoidRequest, servicer.void),
            "Extend": unary(pb.ExtendRequest, servicer.extend),
            "GetUsage": unary(pb.GetUsageRequest, servicer.get_usage),
            "ListUsers": unary(pb.ListUsersRequest, servicer.list_users),
            "TierReport": unary(pb.TierReportRequest, servicer.tier_report),
        },
    )
