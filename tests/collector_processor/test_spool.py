"""The spool on disk: what it keeps, and what it does with damage."""

from pathlib import Path

import pytest

from llm_cost.errors import ConfigurationError
from llm_cost_processor import spool as spool_module
from llm_cost_processor.spool import Record, Spool, SpoolFull

MIB = 1 << 20


def record(number: int, size: int = 100) -> Record:
    return Record(number.to_bytes(4, "big") * (size // 4), 1)


def drained(spool: Spool) -> list[Record]:
    found: list[Record] = []
    while records := spool.read(10):
        found += records
        spool.acknowledge()
    return found


def test_a_record_cut_off_by_a_crash_is_left_out_and_those_before_it_stay(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=MIB)
    spool.append([record(1), record(2)])
    spool.close()
    [segment] = tmp_path.glob("*.spool")
    segment.write_bytes(segment.read_bytes()[:-1])

    again = Spool(tmp_path, max_bytes=MIB)

    assert again.items == 1
    assert drained(again) == [record(1)]


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=MIB)
    spool.append([record(1), record(2)])
    spool.close()
    [segment] = tmp_path.glob("*.spool")
    damaged = bytearray(segment.read_bytes())
    damaged[-1] ^= 1
    segment.write_bytes(damaged)

    assert drained(Spool(tmp_path, max_bytes=MIB)) == [record(1)]


def test_damage_while_running_is_stepped_over_and_kept_for_repair(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=MIB)
    spool.append([record(1)])
    [segment] = tmp_path.glob("*.spool")
    segment.write_bytes(b"\0" * segment.stat().st_size)

    assert drained(spool) == []
    assert spool.items == 0
    assert len(list(tmp_path.glob("*.damaged"))) == 1
    spool.append([record(2)])
    assert drained(spool) == [record(2)]


def test_records_come_back_in_order_and_once_acknowledged_never_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=MIB)
    for number in range(25):
        spool.append([record(number)])

    assert spool.read(10) == spool.read(10) == [record(n) for n in range(10)]
    spool.acknowledge()
    assert drained(spool) == [record(n) for n in range(10, 25)]
    assert spool.read(10) == []


def test_the_bound_is_kept_and_named(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=1_000)
    spool.append([record(1, size=800)])

    with pytest.raises(SpoolFull, match="of at most 1000 bytes"):
        spool.check_room(400)
    drained(spool)
    spool.check_room(400)


def test_disk_space_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 1_000)
    monkeypatch.setattr(spool_module, "READ_SEGMENT_BYTES", 500)
    spool = Spool(tmp_path, max_bytes=MIB)
    for number in range(100):
        spool.append([record(number)])
    assert len(list(tmp_path.glob("*.spool"))) > 5

    assert len(drained(spool)) == 100
    assert len(list(tmp_path.glob("*.spool"))) == 1
    spool.append([record(100)])
    assert drained(spool) == [record(100)]
    spool.close()
    assert list(tmp_path.glob("*.spool")) == []


def test_unread_records_survive_a_restart_and_acknowledged_segments_do_not_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 200)
    spool = Spool(tmp_path, max_bytes=MIB)
    for number in range(6):
        spool.append([record(number)])
    assert spool.read(2) == [record(0), record(1)]
    spool.acknowledge()
    spool.close()

    assert drained(Spool(tmp_path, max_bytes=MIB)) == [record(n) for n in range(2, 6)]


def test_a_second_owner_is_refused_with_the_way_out(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=MIB)

    with pytest.raises(ConfigurationError, match="give each its own --spool"):
        Spool(tmp_path, max_bytes=MIB)
    spool.close()
    Spool(tmp_path, max_bytes=MIB).close()
