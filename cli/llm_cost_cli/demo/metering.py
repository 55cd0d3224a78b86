"""How many tokens a request uses: a pure function of the request and a seed.

Four bytes of prompt text are one token. The length of an answer is drawn from the model's
range by a hash of the request, and never exceeds the request's own limit.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from llm_cost_cli.demo.rates import Rate, Tokens

BYTES_PER_TOKEN: Final = 4
_OVERHEAD_TOKENS: Final = 4  # of the chat markup around a prompt
_OPENAI_CACHE_FROM_TOKENS: Final = 1_024
_OPENAI_CACHE_STEP_TOKENS: Final = 128
_ANTHROPIC_CACHE_FROM_TOKENS: Final = 1_024


@dataclass(frozen=True, slots=True)
class Habit:
    """How a model answers: the range of its answers, and how much of one is reasoning."""

    shortest_tokens: int
    longest_tokens: int
    reasoning_percent: int = 0


_ORDINARY: Final = Habit(60, 900)
_HABITS: Final = {
    "gpt-5-pro": Habit(2_500, 9_000, reasoning_percent=85),
    "o1-pro": Habit(12_000, 34_000, reasoning_percent=93),
    "text-embedding-3-small": Habit(0, 0),
}


def draw(seed: int, body: bytes) -> int:
    """Return 64 bits that belong to this request and seed."""
    digest = blake2b(body, digest_size=8, key=seed.to_bytes(8, "big")).digest()
    return int.from_bytes(digest, "big")


def tokens_of(model: str, request: Mapping[str, Any], drawn: int, rate: Rate) -> Tokens:
    """Return what `request` is billed for; `model` is the name without its date."""
    prompt = _prompt_tokens(request)
    habit = _HABITS.get(model, _ORDINARY)
    natural = habit.shortest_tokens + drawn % (habit.longest_tokens - habit.shortest_tokens + 1)
    output = min(natural, _output_limit(request))
    reasoning = output * habit.reasoning_percent // 100
    if rate.provider == "anthropic":
        return _anthropic_cache(request, prompt, drawn, output)
    cached = _openai_cached(prompt, drawn) if rate.cache_read is not None and natural else 0
    return Tokens(
        input=prompt - cached, cache_read=cached, output=output, reasoning=reasoning
    )  # fmt: skip


def _openai_cached(prompt: int, drawn: int) -> int:
    """Every other long prompt finds most of itself in the cache, in steps of 128 tokens."""
    if prompt < _OPENAI_CACHE_FROM_TOKENS or not drawn >> 40 & 1:
        return 0
    return prompt * 3 // 4 // _OPENAI_CACHE_STEP_TOKENS * _OPENAI_CACHE_STEP_TOKENS


def _anthropic_cache(request: Mapping[str, Any], prompt: int, drawn: int, output: int) -> Tokens:
    """Marked prompts are written to the cache the one time and read from it the other three."""
    lifetime = _cache_lifetime(request)
    if lifetime is None or prompt < _ANTHROPIC_CACHE_FROM_TOKENS:
        return Tokens(input=prompt, output=output)
    marked = prompt * 9 // 10
    if drawn >> 40 & 3:
        return Tokens(input=prompt - marked, cache_read=marked, output=output)
    if lifetime == "1h":
        return Tokens(input=prompt - marked, cache_write_1h=marked, output=output)
    return Tokens(input=prompt - marked, cache_write_5m=marked, output=output)


def _cache_lifetime(value: Any) -> str | None:
    """Return the lifetime of the first cache mark anywhere in the request."""
    if isinstance(value, Mapping):
        mark = value.get("cache_control")
        if isinstance(mark, Mapping):
            return str(mark.get("ttl", "5m"))
        value = list(value.values())
    if isinstance(value, list):
        return next(filter(None, map(_cache_lifetime, value)), None)
    return None


def _output_limit(request: Mapping[str, Any]) -> int:
    limits = ("max_completion_tokens", "max_tokens", "max_output_tokens")
    return next((int(request[name]) for name in limits if request.get(name)), 1 << 31)


def _prompt_tokens(request: Mapping[str, Any]) -> int:
    size_bytes = sum(len(text.encode()) for text in _prompt_texts(request))
    return -(-size_bytes // BYTES_PER_TOKEN) + _OVERHEAD_TOKENS


def _prompt_texts(request: Mapping[str, Any]) -> Iterator[str]:
    for name in ("system", "instructions", "messages", "input"):
        yield from _texts(request.get(name))


def _texts(value: Any) -> Iterator[str]:
    """Yield the prompt's text wherever it stands: a string, blocks, or messages of blocks."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, Mapping):
        yield from _texts(value.get("text"))
        yield from _texts(value.get("content"))


_WORDS: Final = (
    "The figures for this quarter hold up well, with support costs falling while the number "
    "of active accounts rose; three customers asked for the export to run each night. "
)


def visible_text(tokens: Tokens) -> str:
    """Return the answer that a reader sees: four bytes for each token that is not reasoning."""
    size_bytes = (tokens.output - tokens.reasoning) * BYTES_PER_TOKEN
    return (_WORDS * (size_bytes // len(_WORDS) + 1))[:size_bytes]
