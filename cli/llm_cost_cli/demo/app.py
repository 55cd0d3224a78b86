"""Brief: a small SaaS that answers, searches, summarises, reports and audits.

An ordinary FastAPI application with ordinary clients, addressed by the usual environment
variables. All it says to llm_cost is who pays: the middleware says the user and the tier,
`attribute_to` the feature. It runs under `opentelemetry-instrument`; nothing else is added.
"""

import json
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import uvicorn
from anthropic import Anthropic, AsyncAnthropic
from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse, StreamingResponse
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel, Field

from llm_cost import AttributionMiddleware, PolicyBlocked, attribute_to
from llm_cost.middleware import from_headers

_HOUSE_STYLE = (
    "You write for busy people: plain words, short sentences, the conclusion first. " * 60
)

app = FastAPI(title="Brief")
# Who pays, where this product has it: its gateway puts the session's user into headers.
app.add_middleware(AttributionMiddleware, identify=from_headers(user="x-user-id", tier="x-plan"))

openai, openai_async = OpenAI(), AsyncOpenAI()
anthropic, anthropic_async = Anthropic(), AsyncAnthropic()

Plan = Annotated[str, Header(alias="x-plan")]


class Ask(BaseModel):
    """What a person pastes in, and how long an answer may become."""

    text: str
    max_output_tokens: int = Field(default=600, ge=0, le=100_000)
    streamed: bool = False


@app.exception_handler(PolicyBlocked)
async def over_the_limit(request: Request, blocked: PolicyBlocked) -> JSONResponse:
    """Tell the person that their plan is used up: no model was asked, nothing was spent."""
    del request
    document = {"error": "plan limit reached", "reason": blocked.reason, "period": blocked.period}
    return JSONResponse(document, status_code=402)


@app.post("/assistant", response_model=None)
async def assistant(ask: Ask, plan: Plan) -> StreamingResponse | dict[str, Any]:
    """Answer a question; paying plans get the larger model."""
    asked: dict[str, Any] = {
        "model": "gpt-4o-mini" if plan == "free" else "gpt-4o",
        "messages": [{"role": "user", "content": ask.text}],
        "max_tokens": ask.max_output_tokens,
    }
    with attribute_to(group="assistant"):
        if not ask.streamed:
            answer = await openai_async.chat.completions.create(**asked)
            return {"text": answer.choices[0].message.content}
        chunks = await openai_async.chat.completions.create(
            stream=True, stream_options={"include_usage": True}, **asked
        )

    async def pieces() -> AsyncIterator[str]:
        async for chunk in chunks:
            for choice in chunk.choices:
                yield choice.delta.content or ""

    return StreamingResponse(pieces(), media_type="text/plain")


@app.post("/search")
@attribute_to(group="search")
def search(ask: Ask) -> dict[str, Any]:
    """Find documents by meaning."""
    found = openai.embeddings.create(model="text-embedding-3-small", input=ask.text, dimensions=256)
    return {"dimensions": len(found.data[0].embedding)}


@app.post("/summaries")
@attribute_to(group="summaries")
async def summaries(ask: Ask, plan: Plan) -> dict[str, Any]:
    """Shorten a document; the instructions are the same each time, so they are cached."""
    message = await anthropic_async.messages.create(
        model="claude-haiku-4-5" if plan == "free" else "claude-sonnet-4-0",
        max_tokens=ask.max_output_tokens,
        system=[{"type": "text", "text": _HOUSE_STYLE, "cache_control": {"type": "ephemeral"}}],
        messages=[{"role": "user", "content": ask.text}],
    )
    return {"stop_reason": message.stop_reason}


@app.post("/reports", response_model=None)
def reports(ask: Ask) -> StreamingResponse:
    """Write a researched report with a reasoning model, streamed while it grows."""
    with attribute_to(group="reports"):
        events = openai.responses.create(
            model="gpt-5-pro",
            input=ask.text,
            max_output_tokens=ask.max_output_tokens,
            stream=True,
        )

    def pieces() -> Iterator[str]:
        for event in events:
            if event.type == "response.output_text.delta":
                yield event.delta

    return StreamingResponse(pieces(), media_type="text/plain")


@app.post("/audits")
@attribute_to(group="audits")
def audits(ask: Ask) -> dict[str, Any]:
    """Audit a contract with the most thorough model there is; it has a price."""
    audit = openai.responses.create(
        model="o1-pro", input=ask.text, max_output_tokens=ask.max_output_tokens
    )
    return {"status": audit.status, "text": audit.output_text}


def main() -> None:
    """Serve on a free port of loopback and say which."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    host, port = listener.getsockname()[:2]
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    print(json.dumps({"ready": True, "app": f"{host}:{port}"}), flush=True)
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
