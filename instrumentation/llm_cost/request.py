"""One call to a model as its provider's file reads it: what is asked, what came back."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from llm_cost.pricing.cost import REPORTED_BY, Cost
from llm_cost.usage import Usage

if TYPE_CHECKING:
    from llm_cost.pricing import Cost

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


class Job(NamedTuple):
    """Work that goes on after the request that began it: a background response, a batch.

    name: what the provider calls it. All who read its result settle by this name, so that it
        counts once, whichever process reads it and how often.
    """

    name: str
    began_at_s: int = 0
    is_done: bool = True


class Reply(NamedTuple):
    """What came back, as far as it is known. `usage` None: to be estimated.

    output_bytes: of a stream without usage, the bytes of output that arrived.
    job: the work that goes on, or whose result this is; None for a call that is over.
    others: what other models did inside the call, each at its own price.
    cost_if_unpriced: what somebody else says it cost, for models that we have no price for.
    cost: the bill as the provider told it; counts only where it is the call's own provider.
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
    job: Job | None = None
    others: "tuple[Reply, ...]" = ()
    cost_if_unpriced: "Cost | None" = None
    cost: Cost | None = None

    def bill_of(self, provider: str) -> Cost | None:
        """Return the bill that `provider` told; a server's word of somebody else's is none."""
        cost = self.cost
        if cost is None or cost.total_nano_usd is None:
            return None
        return cost if cost.price_version == REPORTED_BY + provider else None
