from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_cost_policy.periods import Window, period_at, period_named

HOUR_MS = 3_600_000


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


@pytest.mark.parametrize("name", ["", "2026", "2026-13", "2026-W54", "2026-02-30", "0000-01", "x"])
def test_what_is_no_period_has_none(name: str) -> None:
    assert period_named(name, ZoneInfo("UTC")) is None


def test_a_month_ends_when_the_next_begins() -> None:
    november = period_at(_ms("2026-11-30T23:59:59"), ZoneInfo("UTC"), Window.MONTH)

    assert november.name == "2026-11"
    assert november.ends_unix_ms == _ms("2026-12-01T00:00:00")
    december = period_at(november.ends_unix_ms, ZoneInfo("UTC"), Window.MONTH)
    assert december.name == "2026-12"
    assert december.starts_unix_ms == november.ends_unix_ms


def test_a_zone_ahead_of_utc_enters_the_month_earlier() -> None:
    kiritimati = ZoneInfo("Pacific/Kiritimati")  # +14:00

    assert period_at(_ms("2026-11-30T09:59:59"), kiritimati, Window.MONTH).name == "2026-11"
    assert period_at(_ms("2026-11-30T10:00:00"), kiritimati, Window.MONTH).name == "2026-12"


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_a_day_of_a_clock_change_is_shorter_or_longer(day: str, hours: int) -> None:
    period = period_named(day, ZoneInfo("Europe/Berlin"))

    assert period is not None
    assert period.ends_unix_ms - period.starts_unix_ms == hours * HOUR_MS


def test_a_midnight_that_does_not_exist_is_the_instant_of_the_change() -> None:
    beirut = ZoneInfo("Asia/Beirut")  # 2026-03-29 00:00 becomes 01:00
    before = period_at(_ms("2026-03-28T21:59:59"), beirut, Window.DAY)
    after = period_at(_ms("2026-03-28T22:00:00"), beirut, Window.DAY)

    assert (before.name, after.name) == ("2026-03-28", "2026-03-29")
    assert before.ends_unix_ms == after.starts_unix_ms == _ms("2026-03-28T22:00:00")


def test_the_last_days_of_a_year_may_fall_into_week_one() -> None:
    assert period_at(_ms("2025-12-30T00:00:00"), ZoneInfo("UTC"), Window.WEEK).name == "2026-W01"


@given(
    st.integers(min_value=0, max_value=_ms("2100-01-01T00:00:00")),
    st.sampled_from(["UTC", "Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia", "Asia/Beirut"]),
    st.sampled_from(Window),
)
def test_every_instant_lies_in_its_period_and_the_name_says_which(
    at_unix_ms: int, zone_name: str, window: Window
) -> None:
    zone = ZoneInfo(zone_name)
    period = period_at(at_unix_ms, zone, window)

    assert period.holds(at_unix_ms)
    assert period_named(period.name, zone) == period
