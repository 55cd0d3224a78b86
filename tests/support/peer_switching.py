"""Goes on, off and on again beside a peer, and prints what was left behind.

Usage: peer_switching.py PEER
"""

import json
import sys
from typing import Any

import openai
import openai._base_client

from llm_cost import policy, providers
from support import llm_server as says
from support.llm_server import Answer, LlmServer, llm_server
from support.peer_process import PEERS, Watched

OWNERS = (
    openai._base_client.SyncAPIClient,
    openai._base_client.AsyncAPIClient,
    openai.OpenAI,
    openai.AsyncOpenAI,
)


def _found() -> list[dict[str, Any]]:
    return [dict(vars(owner)) for owner in OWNERS]


def _call(watched: Watched, server: LlmServer) -> tuple[int, int]:
    """Return the costs on spans and the settles of one call."""
    watched.clear()
    openai.OpenAI(api_key="k", base_url=f"{server.url}/v1").chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "hello"}]
    )
    return watched.count("llm_cost.cost.nano_usd"), len(watched.gate.settled)


def main(peer: str) -> None:
    watched = Watched(peer)
    PEERS[peer]()
    found = _found()
    with policy.use_gate(watched.gate), llm_server() as server:
        server.will(Answer(body=says.chat()))
        providers.instrument()
        _call(watched, server)
        providers.uninstrument()
        is_left_as_found = _found() == found
        off = _call(watched, server)
        providers.instrument()
        on = _call(watched, server)
    print(
        json.dumps(
            {
                "is_left_as_found": is_left_as_found,
                "costs_while_off": off[0],
                "settles_while_off": off[1],
                "costs_when_on_again": on[0],
                "settles_when_on_again": on[1],
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
