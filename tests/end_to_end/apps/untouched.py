"""An application that knows nothing of us."""

import anthropic
import openai

openai.OpenAI().chat.completions.create(
    model="gpt-4o", messages=[{"role": "user", "content": "Good morning"}], max_tokens=50
)
anthropic.Anthropic().messages.create(
    model="claude-haiku-4-5", messages=[{"role": "user", "content": "Good day"}], max_tokens=50
)
