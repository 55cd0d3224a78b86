"""The 16 bytes that name one LLM attempt, on the wire, in the ledger and on the span.

They start with 48 bits of milliseconds, because a ledger's B-tree takes time-ordered keys
several times faster than random ones. The rest is random, or derived from the span.
"""

import os
import time
from hashlib import blake2b
from typing import Final

LENGTH_BYTES: Final = 16


def new() -> bytes:
    """Return a fresh id, to be made before the call and kept with it."""
    return (time.time_ns() // 1_000_000).to_bytes(6, "big") + os.urandom(10)


def of_span(trace_id: bytes, span_id: bytes, start_unix_nano: int) -> bytes:
    """Return the id of a span that carries none: the same for every delivery of that span."""
    start_ms = (start_unix_nano // 1_000_000) & 0xFFFF_FFFF_FFFF
    return start_ms.to_bytes(6, "big") + blake2b(trace_id + span_id, digest_size=10).digest()


def of_job(name: str, began_at_s: int = 0) -> bytes:
    """Return the id of work that goes on after its request: the same for all who read its result.

    name: the provider's and its own name of the work.
    """
    start_ms = (began_at_s * 1000) & 0xFFFF_FFFF_FFFF
    return start_ms.to_bytes(6, "big") + blake2b(name.encode(), digest_size=10).digest()


def of_part(whole: bytes, number: int) -> bytes:
    """Return the id of the part `number` of a call, where another model did it."""
    return whole[:6] + blake2b(whole + number.to_bytes(4, "big"), digest_size=10).digest()
