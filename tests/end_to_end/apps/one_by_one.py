"""One call for each line `USER TIER` on standard input; prints what became of it."""

import sys

import openai

import llm_cost

client = openai.OpenAI(max_retries=0)
llm_cost.on_budget_warning(
    lambda warning: print(f"warning {warning.user_id} {warning.threshold_percent}", flush=True)
)
print("ready", flush=True)
for line in sys.stdin:
    user_id, tier = line.split()
    try:
        with llm_cost.attribute_to(user_id=user_id, tier=tier):
            client.chat.completions.create(
                model="gpt-4o",
                messages=[{"role": "user", "content": "Summarise the quarter"}],
                max_tokens=100,
            )
        print("served", flush=True)
    except llm_cost.PolicyBlocked as blocked:
        print(f"blocked {blocked.rule} {blocked.limit_nano_usd}", flush=True)
