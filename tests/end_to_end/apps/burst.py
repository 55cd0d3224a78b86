"""Calls of one user, all at once: `burst.py USER TIER CALLS`. Prints what became of them.

Waits for a line on standard input before it starts, so that two of these start together.
"""

import json
import sys
import threading
from collections import Counter

import httpx2
import openai

import llm_cost

user_id, tier, calls = sys.argv[1], sys.argv[2], int(sys.argv[3])
limits = httpx2.Limits(max_connections=calls)
client = openai.OpenAI(max_retries=0, http_client=httpx2.Client(limits=limits, timeout=60))
outcomes: Counter[str] = Counter()
together = threading.Barrier(calls)


def call() -> None:
    together.wait()
    try:
        with llm_cost.attribute_to(user_id=user_id, tier=tier):
            client.chat.completions.create(
                model="gpt-4o",
                messages=[{"role": "user", "content": "Summarise the quarter"}],
                max_tokens=100,
                # Slow, so that every decision falls while the admitted calls are in flight.
                extra_headers={"x-fault-slow-ms": "4000"},
            )
        outcomes["served"] += 1
    except llm_cost.PolicyBlocked as blocked:
        outcomes["blocked" if blocked.limit_nano_usd is not None else str(blocked)] += 1
    except openai.OpenAIError as error:
        outcomes[repr(error)] += 1


threads = [threading.Thread(target=call) for _ in range(calls)]
print("ready", flush=True)
sys.stdin.readline()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
llm_cost.flush(10)
print(json.dumps(outcomes))
