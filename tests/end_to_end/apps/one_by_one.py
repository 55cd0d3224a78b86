"""One call for each line `USER TIER` on standard input; prints what became of it."""

import sys

import openai

import llm_cost


def say(line: str) -> None:
    # One write a line: warnings come from a thread of their own.
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


client = openai.OpenAI(max_retries=0)
llm_cost.on_budget_warning(
    lambda warning: say(f"warning {warning.user_id} {warning.threshold_percent}")
)
say("ready")
for line in sys.stdin:
    user_id, tier = line.split()
    try:
        with llm_cost.attribute_to(user_id=user_id, tier=tier):
            client.chat.completions.create(
                model="gpt-4o",
                messages=[{"role": "user", "content": "Summarise the quarter"}],
                max_tokens=100,
            )
        say("served")
    except llm_cost.PolicyBlocked as blocked:
        say(f"blocked {blocked.rule} {blocked.limit_nano_usd}")
