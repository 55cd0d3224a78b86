"""What a call's span says, as plain dictionaries. No prompt or completion text is ever here."""

from typing import Final

from opentelemetry.util.types import AttributeValue

from llm_cost import attributes as names
from llm_cost.money import usd_display
from llm_cost.policy.decision import Action, Decision, Identity
from llm_cost.pricing import Cost
from llm_cost.request import Reply, Request
from llm_cost.usage import Usage

# The buckets that a reader of the span cannot get from the conventions' own names.
_BUCKETS_WITHOUT_NAME: Final = tuple(
    (index, names.USAGE_BUCKET_PREFIX + name)
    for index, name in enumerate(Usage._fields)
    if name
    not in (
        "input_text_tokens",
        "cache_read_text_tokens",
        "cache_write_tokens",
        "output_text_tokens",
        "output_reasoning_tokens",
    )
)


def at_start(
    call_id: bytes,
    request: Request,
    identity: Identity,
    decision: Decision | None,
    topic: tuple[str | None, str | None] = (None, None),
) -> dict[str, AttributeValue]:
    """Return what a sampler may see: who asks whom for what, who pays, and what was decided.

    `topic` is the conversation and the agent that the call belongs to.
    """
    conversation_id, agent = topic
    starts: dict[str, AttributeValue] = {
        names.OPERATION_NAME: request.operation,
        names.PROVIDER_NAME: request.provider,
        names.REQUEST_MODEL: request.model,
        names.CALL_ID: call_id.hex(),
    }
    if request.stream:
        starts[names.REQUEST_STREAM] = True
    if request.max_output_tokens is not None:
        starts[names.REQUEST_MAX_TOKENS] = request.max_output_tokens
    if request.server_address is not None:
        starts[names.SERVER_ADDRESS] = request.server_address
    if request.server_port is not None:
        starts[names.SERVER_PORT] = request.server_port
    if identity.user_id is not None:
        starts[names.USER_ID] = identity.user_id
    if identity.tier is not None:
        starts[names.USER_TIER] = identity.tier
    if identity.group is not None:
        starts[names.GROUP] = identity.group
    if conversation_id is not None:
        starts[names.CONVERSATION_ID] = conversation_id
    if agent is not None:
        starts[names.AGENT_NAME] = agent
    if decision is not None:
        starts[names.POLICY_DECISION] = _decision_name(decision)
        starts[names.POLICY_VERSION] = decision.policy_version
    return starts


def at_end(
    request: Request,
    reply: Reply,
    usage: Usage | None,
    source: str,
    cost: Cost,
    *,
    started_at_s: float,
) -> dict[str, AttributeValue]:
    """Return what is known once the call is over."""
    found: dict[str, AttributeValue] = {}
    if usage is not None:
        _add_usage(found, usage, source)
    _add_cost(found, cost)
    _add_reply(found, request, reply, started_at_s)
    return found


def at_start_of_job(
    request: Request, reply: Reply, *, started_at_s: float
) -> dict[str, AttributeValue]:
    """Return what is known of work that goes on: no usage and no cost, and no finished attempt."""
    found: dict[str, AttributeValue] = {names.OPERATION_NAME: names.OPERATION_START_JOB}
    _add_reply(found, request, reply, started_at_s)
    return found


def _decision_name(decision: Decision) -> str:
    if not decision.available and decision.action is not Action.BLOCK:
        return "unavailable"
    return decision.action.value


def _add_usage(found: dict[str, AttributeValue], usage: Usage, source: str) -> None:
    cache_read, cache_write = usage.cache_read_tokens, usage[7] + usage[8]
    found[names.USAGE_SOURCE] = source
    found[names.USAGE_INPUT_TOKENS] = usage.total_input_tokens
    found[names.USAGE_OUTPUT_TOKENS] = usage.total_output_tokens
    if cache_read:
        found[names.USAGE_CACHE_READ_TOKENS] = cache_read
    if cache_write:
        found[names.USAGE_CACHE_WRITE_TOKENS] = cache_write
    if usage.output_reasoning_tokens:
        found[names.USAGE_REASONING_TOKENS] = usage.output_reasoning_tokens
    for index, name in _BUCKETS_WITHOUT_NAME:
        if usage[index]:
            found[name] = usage[index]


def _add_cost(found: dict[str, AttributeValue], cost: Cost) -> None:
    found[names.PRICE_STATUS] = cost.status.value
    found[names.PRICE_VERSION] = cost.price_version
    if cost.total_nano_usd is None:
        return  # unknown is absent, never 0
    found[names.COST_NANO_USD] = cost.total_nano_usd
    found[names.COST_AMOUNT] = usd_display(cost.total_nano_usd)
    found[names.COST_CURRENCY] = "USD"
    found[names.COST_SOURCE] = cost.source
    found[names.COST_INPUT_NANO_USD] = cost.input_nano_usd
    found[names.COST_OUTPUT_NANO_USD] = cost.output_nano_usd
    if cost.cache_read_nano_usd:
        found[names.COST_CACHE_READ_NANO_USD] = cost.cache_read_nano_usd
    if cost.cache_write_nano_usd:
        found[names.COST_CACHE_WRITE_NANO_USD] = cost.cache_write_nano_usd
    if cost.tools_nano_usd:
        found[names.COST_TOOLS_NANO_USD] = cost.tools_nano_usd


def _add_reply(
    ends: dict[str, AttributeValue], request: Request, reply: Reply, started_at_s: float
) -> None:
    if reply.model is not None:
        ends[names.RESPONSE_MODEL] = reply.model
    if reply.id is not None:
        ends[names.RESPONSE_ID] = reply.id
    if reply.finish_reasons:
        ends[names.RESPONSE_FINISH_REASONS] = reply.finish_reasons
    if reply.service_tier is not None:
        ends[_service_tier_name(request.provider)] = reply.service_tier
    if reply.first_chunk_at_s is not None:
        ends[names.RESPONSE_TIME_TO_FIRST_CHUNK] = reply.first_chunk_at_s - started_at_s


def _service_tier_name(provider: str) -> str:
    if provider == "anthropic":
        return names.ANTHROPIC_RESPONSE_SERVICE_TIER
    if provider.startswith("gcp.") or provider == "mistral_ai":
        return names.RESPONSE_SERVICE_TIER  # the conventions have no name for these
    return names.OPENAI_RESPONSE_SERVICE_TIER
