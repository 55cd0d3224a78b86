"""What one request is answered with, before a provider's own shape is put around it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from llm_cost_cli.demo.rates import Rate, Tokens

_PIECES_AT_MOST: Final = 8  # of a streamed answer: the work of a client grows with each


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to `request`, an already checked JSON object."""

    request: Mapping[str, Any]
    rate: Rate
    tokens: Tokens
    text: str
    number: str  # unlike any other answer's: what ids are made of
    created_unix_s: int
    is_cut_by_limit: bool

    def pieces(self) -> Iterator[str]:
        """Yield the text as a stream brings it."""
        size = max(1, -(-len(self.text) // _PIECES_AT_MOST))
        return (self.text[at : at + size] for at in range(0, len(self.text), size))


class Event(NamedTuple):
    """One server-sent event; `data` is a JSON object, or the text that ends a stream."""

    data: Mapping[str, Any] | str
    name: str | None = None
