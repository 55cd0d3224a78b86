"""Calls through a framework that is itself instrumented, and prints what came of each.

Usage: peer_frameworks.py langchain|llama-index INSTRUMENTATION
"""

import sys
from collections.abc import Callable
from typing import Any

from llm_cost import attribute_to, policy, providers
from support import llm_server as says
from support.llm_server import Answer, LlmServer, llm_server
from support.peer_process import Watched


def _openinference_langchain() -> None:
    from openinference.instrumentation.langchain import LangChainInstrumentor

    LangChainInstrumentor().instrument()


def _openinference_both() -> None:
    from openinference.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()
    _openinference_langchain()


def _openllmetry_langchain() -> None:
    from opentelemetry.instrumentation.langchain import LangchainInstrumentor

    LangchainInstrumentor().instrument()


def _openllmetry_both() -> None:
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()
    _openllmetry_langchain()


def _openinference_llama_index() -> None:
    from openinference.instrumentation.llama_index import LlamaIndexInstrumentor

    LlamaIndexInstrumentor().instrument()


def _openllmetry_llama_index() -> None:
    from opentelemetry.instrumentation.llamaindex import LlamaIndexInstrumentor

    LlamaIndexInstrumentor().instrument()


SWITCHES: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "openinference": _openinference_langchain,
    "openinference and its openai": _openinference_both,
    "openllmetry": _openllmetry_langchain,
    "openllmetry and its openai": _openllmetry_both,
    "openinference llama-index": _openinference_llama_index,
    "openllmetry llama-index": _openllmetry_llama_index,
}


def _langchain(server: LlmServer) -> dict[str, Callable[[], Any]]:
    from langchain_anthropic import ChatAnthropic
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(model="gpt-4o-mini", api_key="k", base_url=f"{server.url}/v1", max_retries=0)
    message = ChatAnthropic(model="claude-sonnet-4-6", api_key="k", base_url=server.url)
    chain = ChatPromptTemplate.from_messages([("human", "{q}")]) | chat
    return {
        "chat": lambda: chain.invoke({"q": "hello"}),
        "chat stream": lambda: list(chain.stream({"q": "hello"})),
        "message": lambda: message.invoke("hello"),
    }


def _llama_index(server: LlmServer) -> dict[str, Callable[[], Any]]:
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai import OpenAI

    llm = OpenAI(model="gpt-4o-mini", api_key="k", api_base=f"{server.url}/v1", max_retries=0)
    asked = [ChatMessage(role="user", content="hello")]
    return {"chat": lambda: llm.chat(asked), "chat stream": lambda: list(llm.stream_chat(asked))}


ANSWERS = {
    "chat": Answer(body=says.chat()),
    "chat stream": Answer(events=says.chat_events()),
    "message": Answer(body=says.message()),
}


def main(framework: str, instrumentation: str) -> None:
    watched = Watched(framework)
    SWITCHES[instrumentation]()
    providers.instrument()
    with policy.use_gate(watched.gate), llm_server() as server:
        calls = _langchain(server) if framework == "langchain" else _llama_index(server)
        for name, call in calls.items():
            watched.clear()
            server.will(ANSWERS[name])
            raised = ""
            with attribute_to(user_id="user-7"):
                try:
                    call()
                except Exception as error:  # noqa: BLE001 - reported, to be judged by the test
                    raised = f"{type(error).__name__}: {error}"
            watched.wait(1)
            watched.report(scenario=name, attempts=1, raised=raised)


if __name__ == "__main__":
    main(*sys.argv[1:])
