"""An application that patches its clients itself, without OpenTelemetry's launcher."""

import openai

import llm_cost

llm_cost.instrument()
with llm_cost.attribute_to(user_id="user_1", tier="pro"):
    openai.OpenAI().chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "Good morning"}], max_tokens=50
    )
llm_cost.uninstrument()
openai.OpenAI().chat.completions.create(
    model="gpt-4o", messages=[{"role": "user", "content": "Good night"}], max_tokens=50
)
