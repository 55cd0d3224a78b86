"""Puts our patch beneath one that somebody else put on a subclass before us.

OpenInference and Logfire wrap `request` of `OpenAI`, where it is inherited from the base class
that we patch. What they wrapped is the function they found, and without this our patch of the
base class would never run: no policy, no cost. So where their wrapper holds the original, it
is given ours to hold.
"""

from collections.abc import Callable, Iterator
from functools import partial
from types import CellType, FunctionType
from typing import Any, Final

import wrapt

_DEPTH_LIMIT: Final = 8  # wrappers around wrappers; nobody stacks that many
_MARK: Final = "_llm_cost_wraps"

_PROXY: Final[type] = getattr(wrapt, "BaseObjectProxy", wrapt.ObjectProxy)  # wrapt 2, and before

Undo = Callable[[], None]


def slip(owner: type, name: str, original: Any, ours: Any) -> list[Undo]:
    """Have every wrapper of `original` on a subclass of `owner` call `ours`; return the undoing."""
    if not isinstance(ours, FunctionType):
        return []  # a property: nobody wraps those
    vars(ours)[_MARK] = original
    undo: list[Undo] = []
    for subclass in _subclasses(owner):
        patched = vars(subclass).get(name)
        if patched is not None:
            for put in _places(patched, original, _DEPTH_LIMIT):
                put(ours)
                undo.append(partial(put, original))
    return undo


def _subclasses(owner: type) -> Iterator[type]:
    subclasses: list[type] = type.__subclasses__(owner)
    for subclass in subclasses:
        yield subclass
        yield from _subclasses(subclass)


def _places(wrapper: Any, original: Any, depth: int) -> Iterator[Callable[[Any], None]]:
    """Return how to replace `original`, or a patch of ours that was taken off, in `wrapper`."""
    if depth == 0:
        return
    for held, put in _held_by(wrapper):
        if held is original or _is_ours_around(held, original):
            yield put
        else:
            yield from _places(held, original, depth - 1)


def _held_by(wrapper: Any) -> Iterator[tuple[Any, Callable[[Any], None]]]:
    if isinstance(wrapper, _PROXY):
        held = getattr(wrapper, "__wrapped__", None)
        yield held, partial(setattr, wrapper, "__wrapped__")
    elif isinstance(wrapper, FunctionType):
        for cell in wrapper.__closure__ or ():
            held = _content(cell)
            if isinstance(held, FunctionType | _PROXY):
                yield held, partial(setattr, cell, "cell_contents")


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None  # not filled yet


def _is_ours_around(held: Any, original: Any) -> bool:
    # Not through a proxy, which answers for what it wraps.
    return type(held) is FunctionType and vars(held).get(_MARK) is original
