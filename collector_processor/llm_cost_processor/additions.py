"""What is appended to the span of a call, as the bytes of OTLP attributes."""

from binascii import hexlify
from typing import Final

from llm_cost import attributes as names
from llm_cost import call_id
from llm_cost.money import usd_display
from llm_cost_processor.any_value import (
    appended_text,
    appended_text_head,
    float_appender,
    int_appender,
)
from llm_cost_processor.enrich import LlmCall, Price, texts_added
from llm_cost_processor.memory import Memory

REMEMBERED_PRICES: Final = 4_096
"""As many as there are kinds of calls; each is some hundred bytes."""

_call_id_head: Final = appended_text_head(names.CALL_ID, 2 * call_id.LENGTH_BYTES)
_total: Final = int_appender(names.COST_NANO_USD)
_input: Final = int_appender(names.COST_INPUT_NANO_USD)
_output: Final = int_appender(names.COST_OUTPUT_NANO_USD)
_cache_read: Final = int_appender(names.COST_CACHE_READ_NANO_USD)
_cache_write: Final = int_appender(names.COST_CACHE_WRITE_NANO_USD)
_tools: Final = int_appender(names.COST_TOOLS_NANO_USD)
_amount: Final = float_appender(names.COST_AMOUNT)

_texts: Memory[Price, bytes] = Memory(
    lambda price: b"".join(appended_text(*each) for each in texts_added(price)),
    max_entries=REMEMBERED_PRICES,
)


def additions(call: LlmCall) -> bytes:
    """Return what to append to the call's span; nothing where the span says it all."""
    price = call.price
    if price.carried:
        return b""
    added = [_texts[price]]
    if not call.carries_call_id:
        added += (_call_id_head, hexlify(call.call_id))
    cost, nano_usd = call.cost, call.nano_usd
    if cost is not None and nano_usd is not None:
        _, input_, output, cache_read, cache_write, tools, _, _ = cost
        added += (_total(nano_usd), _input(input_), _output(output))
        if cache_read:
            added.append(_cache_read(cache_read))
        if cache_write:
            added.append(_cache_write(cache_write))
        if tools:
            added.append(_tools(tools))
        added.append(_amount(usd_display(nano_usd)))
    return b"".join(added)
