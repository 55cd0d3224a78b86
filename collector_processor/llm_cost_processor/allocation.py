"""How this process keeps memory between requests. Changes nothing but speed."""

import ctypes
import gc
from typing import Final

KEPT_BYTES: Final = 64 << 20
"""Freed memory that is kept for the next request: four of the largest. Without it, writing a
request of a thousand spans touches some nine hundred fresh pages, every time."""

LARGEST_KEPT_BLOCK_BYTES: Final = 32 << 20
"""What glibc allows at most."""

YOUNG_OBJECTS: Final = 50_000
"""New objects between two looks for garbage: some requests' worth. Python's own 700 is a look
every hundred spans, and what a request makes is not cyclic."""

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3  # both from glibc's malloc.h


def settle_in() -> None:
    """Tune both allocators; to be called once everything is wired."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # another C library, with habits of its own
    mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
    mallopt(_MMAP_THRESHOLD, LARGEST_KEPT_BLOCK_BYTES)
