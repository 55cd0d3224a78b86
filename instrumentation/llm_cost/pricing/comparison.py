"""What would change if one table took another's place, and which of it needs a second look."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from llm_cost.money import round_half_even
from llm_cost.pricing.catalog import Listed, RawRow, Table, raw_row
from llm_cost.pricing.rows import Rate, read_rate

LARGEST_RATIO: Final = 3
"""Vendors halve a price now and then; three times is a slipped digit until somebody says so."""

STANDARD: Final = "standard"


class Place(NamedTuple):
    """Where a rate stands in a row."""

    tier: str
    when: str
    key: str
    above_input_tokens: int
    """0 for the rate that every call begins with."""


class Change(NamedTuple):
    """One rate before and after, as decimal text; None where there is none."""

    provider: str
    model: str
    place: Place | None
    """None for a model that comes or goes as a whole."""
    before: str | None
    after: str | None
    percent: str | None
    concern: str
    """Why somebody should look first; empty where nothing is odd."""

    @property
    def kind(self) -> str:
        """One of added, removed, changed."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"


def when_text(condition: Any) -> str:
    """Return when a rate holds, for a reader."""
    if condition is None:
        return "always"
    if isinstance(condition, str):
        return f"from {condition}"
    start, end = (f"{s // 3600:02}:{s // 60 % 60:02}:{s % 60:02}" for s in condition)
    return f"{start}-{end} UTC"


def tier_text(context: Mapping[str, str]) -> str:
    """Return what a variant asks for, for a reader."""
    return " ".join(f"{key}={value}" for key, value in context.items()) or STANDARD


def places(row: RawRow) -> dict[Place, str]:
    """Return every rate of a row by where it stands; the last of two equal places wins."""
    _model, _clause, dated, *rest = row
    found: dict[Place, str] = {}
    groups = [(STANDARD, when, rates) for when, rates in dated]
    groups += [(tier_text(asks), when, rates) for asks, when, rates in (rest[0] if rest else ())]
    for tier, when, rates in groups:
        for key, raw in rates.items():
            base, *steps = raw if isinstance(raw, list) else [raw]
            for above, usd in ([0, base], *steps):
                found[Place(tier, when_text(when), key, above)] = usd
    return found


def _ratio(usd: str) -> tuple[int, int]:
    rate: Rate = read_rate(usd)
    return rate.steps[0][1:]


def percent(before: str, after: str) -> str | None:
    """Return the change as "+12.5%"; None from nothing."""
    (b, b_of), (a, a_of) = _ratio(before), _ratio(after)
    if not b:
        return None
    difference = a * b_of - b * a_of
    tenths = round_half_even(abs(difference) * 1000, b * a_of)
    return f"{'-' if difference < 0 else '+'}{tenths // 10:,}.{tenths % 10}%"


def concern(before: str, after: str) -> str:
    """Return why a change of a rate should be looked at; empty within the bounds."""
    (b, b_of), (a, a_of) = _ratio(before), _ratio(after)
    old, new = b * a_of, a * b_of
    if old == new:
        return ""
    if not new:
        return "becomes free"
    if not old:
        return "was free"
    if new > LARGEST_RATIO * old or old > LARGEST_RATIO * new:
        return f"more than {LARGEST_RATIO} times"
    return ""


def _reference(place: Place, before: Mapping[Place, str]) -> str | None:
    """Return the old rate that a new place is measured by: the nearest one of the same key."""
    same = [(other, usd) for other, usd in before.items() if other.key == place.key]
    for close in (
        lambda other: (
            (other.tier, other.above_input_tokens) == (place.tier, place.above_input_tokens)
        ),
        lambda other: other.tier == place.tier,
        lambda other: other.tier == STANDARD,
    ):
        # The last one: a new start date follows the newest of the old ones.
        found = [usd for other, usd in same if close(other)]
        if found:
            return found[-1]
    return None


def _changes(provider: str, model: str, old: RawRow, new: RawRow) -> Iterator[Change]:
    before, after = places(old), places(new)
    moved = "" if new[0] == old[0] else f"is matched by {new[0]} instead; "
    for place in dict.fromkeys((*before, *after)):
        b, a = before.get(place), after.get(place)
        if b is not None and a is not None:
            if _ratio(b) != _ratio(a):
                found = concern(b, a)
                yield Change(provider, model, place, b, a, percent(b, a), found and moved + found)
        elif a is not None:
            reference = _reference(place, before)
            found = "" if reference is None else concern(reference, a)
            yield Change(provider, model, place, None, a, None, found and moved + found)
        else:
            yield Change(provider, model, place, b, None, None, "the rate disappears")


def _successor(old: Table, new: Table, provider: str, row: RawRow, *, moved: bool) -> RawRow | None:
    """Return the row that prices in the new table what `row` prices in the old one."""
    name = row[0].lower()
    if moved and raw_row(old, provider, name) is row:
        return raw_row(new, provider, name)
    return next((each for each in new.listed(provider).rows if each[0] == row[0]), None)


def compare(old: Table, new: Table) -> list[Change]:
    """Return what `new` would change in the place of `old`."""
    changes: list[Change] = []
    for provider in dict.fromkeys((*old.providers(), *new.providers())):
        before = old.listed(provider).rows if provider in old else ()
        after = new.listed(provider).rows if provider in new else ()
        if before == after:
            continue
        # Matching is the slow part, and cannot differ while the clauses are the same.
        moved = [each[:2] for each in before] != [each[:2] for each in after]
        known = {row[0] for row in before}
        for row in before:
            successor = (
                _successor(old, new, provider, row, moved=moved) if provider in new else None
            )
            if successor is None:
                changes.append(Change(provider, row[0], None, "listed", None, None, ""))
            elif successor != row:
                changes += _changes(provider, row[0], row, successor)
        changes += [
            Change(provider, row[0], None, None, "listed", None, "")
            for row in after
            if row[0] not in known
        ]
    return changes


def merged(old: Table, new: Table) -> Table:
    """Return the new table with what only the old one knows behind it.

    A price that was true stays: last year's calls must still have one.
    """
    listed: dict[str, Listed] = {}
    for provider in dict.fromkeys((*new.providers(), *old.providers())):
        if provider not in new:
            listed[provider] = old.listed(provider)
            continue
        fresh = new.listed(provider)
        known = {row[0] for row in fresh.rows}
        kept = old.listed(provider).rows if provider in old else ()
        gone = [row for row in kept if row[0] not in known]
        listed[provider] = fresh._replace(rows=[*fresh.rows, *gone])
    return Table.of(listed, date=new.date, version=new.version)
