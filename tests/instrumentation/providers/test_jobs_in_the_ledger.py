"""A job that several processes read, in the real ledger: one call, at what it really cost."""

from pathlib import Path
from typing import Any

import grpc
import openai

from llm_cost import attribute_to, policy, receipts
from llm_cost.policy.client import PolicyClient
from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost.policy.v1.policy_pb2_grpc import PolicyServiceStub
from llm_cost.settings import Settings
from support import llm_server as says
from support import processes
from support.llm_server import Answer, LlmServer
from support.recording import Spans

FLUSH_S = 10.0
STARTED: Any = {"background": True, "created_at": 1_790_000_000}


def _usage(service: processes.Service) -> pb.UserUsage:
    with grpc.insecure_channel(service.ready["policy"]) as channel:
        request = pb.GetUsageRequest(user_id="anna")
        return PolicyServiceStub(channel).GetUsage(request).usage


def test_background_work_counts_once_at_its_real_cost_whoever_reads_it(
    server: LlmServer, spans: Spans, tmp_path: Path
) -> None:
    queued = says.response(**STARTED, status="queued", output=[], usage=None)
    server.will(Answer(body=queued), Answer(body=says.response(**STARTED)))
    openai_client = openai.OpenAI(api_key="k", base_url=f"{server.url}/v1")
    arguments = processes.policy_service_arguments(tmp_path / "ledger.db")
    with processes.running(arguments) as service:
        settings = Settings(policy_endpoint=service.ready["policy"], policy_deadline_s=2.0)
        client = PolicyClient(settings)
        with policy.use_gate(client):
            with attribute_to(user_id="anna", tier="free"):
                openai_client.responses.create(
                    model="gpt-4o-mini",
                    input=says.PROMPT,
                    max_output_tokens=1_000,  # the estimate does not rest on what others saw
                    background=True,
                )
            assert client.flush(FLUSH_S)
            begun = _usage(service)
            openai_client.responses.retrieve("resp_1")  # by nobody in particular
            receipts._booked.clear()  # as in another process
            openai_client.responses.retrieve("resp_1")
            assert client.flush(FLUSH_S)
            done = _usage(service)
        client.close()

    # gpt-4o-mini: 100 input at 150, 20 cached at 75, 50 output at 600 nano-USD.
    assert done.spent_nano_usd == 100 * 150 + 20 * 75 + 50 * 600
    assert begun.spent_nano_usd > done.spent_nano_usd
    assert (begun.calls, done.calls) == (1, 1)
    assert (begun.held_nano_usd, done.held_nano_usd) == (0, 0)
