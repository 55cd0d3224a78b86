"""A durable first-in first-out of byte records on disk: bounded, and proof against a kill.

Append-only segment files. A record is safe when `append` returns. Nothing on disk says how far
the reader got: a segment is deleted once it is read to its end, and after a crash the oldest
one is read again from its start. So what is spooled has to be repeatable; settlements are,
because the ledger knows them by call id.

One process, one writer and one reader; these two may be different threads. Each changes only
what is its own: the writer appends segments, the reader takes them away.
"""

import fcntl
import logging
import os
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from llm_cost.errors import ConfigurationError

_log = logging.getLogger("llm_cost_processor")

SEGMENT_BYTES: Final = 8 << 20
"""A segment is closed at this size; disk space is given back in such steps."""

READ_SEGMENT_BYTES: Final = 1 << 20
"""A segment that has been read to its end is closed from this size on: so much is read again
after a crash, and so seldom does a spool that keeps up change its file."""

_HEADER: Final = struct.Struct("<4sIII")  # magic, length, items, checksum
_MAGIC: Final = b"LCS1"


class SpoolFull(Exception):
    """The bound is reached; the sender has to keep its data and come again."""


class Record(NamedTuple):
    """Bytes, and how many items they stand for."""

    payload: bytes
    items: int


class _Segment:
    """One file. `size` is what is safely on disk, `read` how far the reader got."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = int(path.stem)
        self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.size = 0
        self.read = 0
        self.items = 0
        self.read_items = 0

    def records(self, offset: int, end: int) -> Iterator[tuple[int, Record]]:
        """Yield each whole record from `offset` with the offset behind it."""
        while offset + _HEADER.size <= end:
            header = os.pread(self.file, _HEADER.size, offset)
            if len(header) < _HEADER.size:
                return
            magic, length, items, checksum = _HEADER.unpack(header)
            payload = os.pread(self.file, length, offset + _HEADER.size)
            if magic != _MAGIC or len(payload) != length or zlib.crc32(payload) != checksum:
                return
            offset += _HEADER.size + length
            yield offset, Record(payload, items)

    def delete(self) -> None:
        os.close(self.file)
        self.path.unlink(missing_ok=True)


class Spool:
    """One directory of segments."""

    def __init__(self, directory: Path, *, max_bytes: int) -> None:
        """Open or create `directory`; `ConfigurationError` if another process has it open."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        self._max_bytes = max_bytes
        self._lock = _locked(directory)
        self._unacknowledged: tuple[int, int] = (0, 0)
        self._segments = [
            segment
            for path in sorted(directory.glob("*.spool"))
            if (segment := self._recovered(path)) is not None
        ]
        self._open_segment()

    @property
    def items(self) -> int:
        """How many items wait for the reader."""
        return sum(segment.items - segment.read_items for segment in list(self._segments))

    @property
    def size_bytes(self) -> int:
        """How many bytes wait for the reader."""
        return sum(segment.size - segment.read for segment in list(self._segments))

    def check_room(self, more_bytes: int) -> None:
        """Raise `SpoolFull` if `more_bytes` do not fit any more."""
        waiting_bytes = self.size_bytes
        if waiting_bytes + more_bytes > self._max_bytes:
            raise SpoolFull(
                f"{waiting_bytes} of at most {self._max_bytes} bytes of settlements wait for the "
                "policy service; bring it back, or allow more with --spool-max-mib"
            )

    def append(self, records: Sequence[Record]) -> None:
        """Store `records` in order; when it returns they survive a power cut."""
        segment = self._segments[-1]
        has_been_read = segment.read == segment.size
        if segment.size >= (READ_SEGMENT_BYTES if has_been_read else SEGMENT_BYTES):
            segment = self._open_segment()
        block = b"".join(
            part
            for payload, items in records
            for part in (_HEADER.pack(_MAGIC, len(payload), items, zlib.crc32(payload)), payload)
        )
        written = os.pwrite(segment.file, block, segment.size)
        if written != len(block):
            # `size` stays, so the next append writes over what is incomplete.
            raise OSError(f"{segment.path}: wrote {written} of {len(block)} bytes; disk full?")
        os.fdatasync(segment.file)
        segment.size += len(block)
        segment.items += sum(record.items for record in records)

    def read(self, max_items: int) -> list[Record]:
        """Return the oldest records: at least one if any waits, together at most `max_items`
        unless one alone holds more. They wait until `acknowledge`."""
        self._drop_read_segments()
        segment = self._segments[0]
        found: list[Record] = []
        items, end = 0, segment.read
        for behind, record in segment.records(segment.read, segment.size):
            if found and items + record.items > max_items:
                break
            found.append(record)
            items += record.items
            end = behind
        if not found and segment.read < segment.size:
            self._give_up(segment)
        self._unacknowledged = (segment.read if not found else end, items)
        return found

    def acknowledge(self) -> None:
        """Let go of what the last `read` returned."""
        end, items = self._unacknowledged
        self._segments[0].read = end
        self._segments[0].read_items += items
        self._unacknowledged = (end, 0)
        self._drop_read_segments()

    def close(self) -> None:
        """Close; a spool without waiting items leaves no segment behind."""
        for segment in self._segments:
            if segment.read == segment.size:
                segment.delete()
            else:
                os.close(segment.file)
        self._segments.clear()
        os.close(self._lock)

    def _drop_read_segments(self) -> None:
        while len(self._segments) > 1 and self._segments[0].read == self._segments[0].size:
            self._segments.pop(0).delete()

    def _give_up(self, segment: _Segment) -> None:
        """Step over what the disk no longer gives back; a copy stays for whoever repairs it."""
        _log.error(
            "%s: damaged after byte %d, %d settlements cannot be read; kept as *.damaged",
            segment.path, segment.read, segment.items - segment.read_items,
        )  # fmt: skip
        os.link(segment.path, segment.path.with_suffix(f".{time.time_ns()}.damaged"))
        segment.read, segment.read_items = segment.size, segment.items

    def _open_segment(self) -> _Segment:
        number = self._segments[-1].number + 1 if self._segments else 1
        segment = _Segment(self._directory / f"{number:012}.spool")
        # The file's name has to survive as well as its content.
        folder = os.open(self._directory, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        self._segments.append(segment)
        return segment

    def _recovered(self, path: Path) -> _Segment | None:
        """The segment a former process left, up to its last whole record."""
        segment = _Segment(path)
        on_disk = os.fstat(segment.file).st_size
        for behind, record in segment.records(0, on_disk):
            segment.size = behind
            segment.items += record.items
        if segment.size < on_disk:
            # What a crash cut off was never acknowledged: its sender still has it.
            _log.warning(
                "%s: %d bytes after byte %d are no whole record; they are left out",
                path, on_disk - segment.size, segment.size,
            )  # fmt: skip
        if segment.size:
            return segment
        segment.delete()
        return None


def _locked(directory: Path) -> int:
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise ConfigurationError(
            f"spool {str(directory)!r} is in use by another process; give each its own --spool"
        ) from None
    return lock
