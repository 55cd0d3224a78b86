"""An existing application plus two fields.

llm-cost up                                        # prints the three variables to set
opentelemetry-instrument python two_fields.py
"""

import openai

import llm_cost


def answer(user_id: str, tier: str, question: str) -> str | None:
    """Answer one user's question."""
    client = openai.OpenAI()
    with llm_cost.attribute_to(user_id=user_id, tier=tier):
        completion = client.chat.completions.create(
            model="gpt-4o-mini",
            messages=[{"role": "user", "content": question}],
            max_tokens=200,
        )
    return completion.choices[0].message.content


if __name__ == "__main__":
    print(answer("user_1", "free", "What does a plan tier cost to serve?"))
