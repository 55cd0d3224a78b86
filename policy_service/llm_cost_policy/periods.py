"""Windows of time: which one an instant falls into, and when it ends. Pure.

A period's name is part of every counter's key, so nothing is ever reset: a new period simply
is a new key. The name is taken once, at Reserve, and kept with the hold.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Final
from zoneinfo import ZoneInfo

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class Window(Enum):
    """How long a period is."""

    MONTH = "month"
    WEEK = "week"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Period:
    """One window of one time zone: from its first instant up to, not including, its last."""

    name: str
    starts_unix_ms: int
    ends_unix_ms: int

    def holds(self, at_unix_ms: int) -> bool:
        """Whether the instant falls into this period."""
        return self.starts_unix_ms <= at_unix_ms < self.ends_unix_ms


def period_at(at_unix_ms: int, zone: ZoneInfo, window: Window) -> Period:
    """Return the period that `at_unix_ms` falls into, by the calendar of `zone`."""
    local = (_EPOCH + at_unix_ms * _MILLISECOND).astimezone(zone).date()
    return _period_of_day(local, zone, window)


def period_named(name: str, zone: ZoneInfo) -> Period | None:
    """Return the period called `name` ("2026-11", "2026-W48", "2026-11-24"), if it is one."""
    for window, shape in _SHAPES.items():
        if shape.fullmatch(name):
            try:
                return _period_of_day(_first_day(name, window), zone, window)
            except (ValueError, OverflowError):
                return None
    return None


_SHAPES: Final = {
    Window.MONTH: re.compile(r"\d{4}-\d{2}", re.ASCII),
    Window.WEEK: re.compile(r"\d{4}-W\d{2}", re.ASCII),
    Window.DAY: re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII),
}


def _first_day(name: str, window: Window) -> date:
    match window:
        case Window.MONTH:
            return date.fromisoformat(f"{name}-01")
        case Window.WEEK:
            return date.fromisocalendar(int(name[:4]), int(name[6:]), 1)
        case Window.DAY:
            return date.fromisoformat(name)


def _period_of_day(day: date, zone: ZoneInfo, window: Window) -> Period:
    match window:
        case Window.MONTH:
            first = day.replace(day=1)
            following = (first + timedelta(days=31)).replace(day=1)
            name = f"{day:%Y-%m}"
        case Window.WEEK:
            year, week, weekday = day.isocalendar()
            first = day - timedelta(days=weekday - 1)
            following = first + timedelta(days=7)
            name = f"{year:04}-W{week:02}"
        case Window.DAY:
            first, following, name = day, day + timedelta(days=1), day.isoformat()
    return Period(name, _midnight_unix_ms(first, zone), _midnight_unix_ms(following, zone))


def _midnight_unix_ms(day: date, zone: ZoneInfo) -> int:
    # A midnight that a clock change skips is the instant of the change: the offset from
    # before it applies, which is what fold=0 means.
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    return (midnight.astimezone(UTC) - _EPOCH) // _MILLISECOND
