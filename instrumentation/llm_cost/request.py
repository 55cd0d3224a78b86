"""One call to a model as its provider's file reads it: what is asked, what came back."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from llm_cost.usage import Usage

REPORTED: Final = "reported"
ESTIMATED: Final = "estimated"


class Request(NamedTuple):
    """A call about to be made, as its provider's file reads it.

    is_text: whether its use can be estimated from bytes; else an unreported use is unpriced.
    choices: how many answers the caller wants at once.
    client_user_id: what the request itself says about its user: the last resort.
    """

    provider: str
    operation: str
    model: str
    body: Mapping[str, object]
    stream: bool = False
    max_output_tokens: int | None = None
    choices: int = 1
    client_user_id: str | None = None
    service_tier: str | None = None
    server_address: str | None = None
    server_port: int | None = None
    is_text: bool = True


class Reply(NamedTuple):
    """What came back, as far as it is known. `usage` None: to be estimated.

    output_bytes: of a stream without usage, the bytes of output that arrived.
    """

    usage: Usage | None = None
    usage_source: str = REPORTED
    output_bytes: int | None = None
    model: str | None = None
    id: str | None = None
    finish_reasons: tuple[str, ...] = ()
    service_tier: str | None = None
    region: str | None = None
    first_chunk_at_s: float | None = None  # time.perf_counter
