"""Calls to ask about and to report, as short as tests want them."""

from llm_cost import call_id
from llm_cost.policy.decision import Identity, Reservation, Settlement
from llm_cost.usage import Usage

ANNA = Identity(user_id="anna", tier="free", group="chat")


def reservation(
    identity: Identity = ANNA, *, estimate_nano_usd: int | None = 1_000, name: bytes | None = None
) -> Reservation:
    return Reservation(
        call_id=name or call_id.new(),
        identity=identity,
        provider="openai",
        model="gpt-5-mini",
        estimate_nano_usd=estimate_nano_usd,
        hold_ttl_s=60.0,
    )


def settlement(
    name: bytes | None = None,
    *,
    actual_nano_usd: int | None = 700,
    price_status: str = "exact",
    identity: Identity = ANNA,
) -> Settlement:
    return Settlement(
        call_id=name or call_id.new(),
        identity=identity,
        provider="openai",
        model="gpt-5-mini",
        operation="chat",
        actual_nano_usd=actual_nano_usd,
        usage=Usage(input_text_tokens=10, output_text_tokens=3),
        price_status=price_status,
        price_version="2026-11-01",
        usage_source="reported",
        outcome="ok",
        ended_at_unix_ms=1_795_000_000_000,
    )
