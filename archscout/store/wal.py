"""Looks at SQLite's write-ahead log before SQLite does.

SQLite drops everything after the first bad frame without a word. At the tail that is right (a torn write was never confirmed); in
the middle it would forget confirmed results, so that case is told apart here. File format: https://sqlite.org/fileformat2.html.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Literal

_MAGIC = (0x377F0682, 0x377F0683)


def examine(path: Path) -> tuple[Literal["sound", "torn", "damaged"], int]:
    """Whether the log at `path` is whole, has a torn tail, or is damaged before its last confirmed transaction; and the byte."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return "sound", 0
    if not data:
        return "sound", 0
    if len(data) < 32:
        return "torn", 0
    magic, _, page, _, salt_one, salt_two, one, two = struct.unpack(">8I", data[:32])
    order = ">" if magic == _MAGIC[1] else "<"
    if magic not in _MAGIC or _sum(data[:24], (0, 0), order) != (one, two):
        return ("damaged" if len(data) > 32 else "torn"), 0
    size = 24 + page
    running, bad, place, commits_after = (one, two), False, 0, 0
    for start in range(32, len(data) - size + 1, size):
        frame = data[start : start + size]
        _, commit, frame_one, frame_two, one, two = struct.unpack(">6I", frame[:24])
        if (frame_one, frame_two) != (salt_one, salt_two):
            if bad:
                continue
            if frame_one == (salt_one - 1) & 0xFFFFFFFF or frame_one == 0:
                break  # left over from before the log was last emptied
            bad, place = True, start
            continue
        if not bad:
            running = _sum(frame[24:], _sum(frame[:8], running, order), order)
            bad, place = running != (one, two), start
        if bad and commit:
            commits_after += 1
    # One commit after the first bad frame is the end of the torn transaction itself; a second one was confirmed.
    if commits_after > 1:
        return "damaged", place
    return ("torn" if bad or (len(data) - 32) % size else "sound"), place


def _sum(data: bytes, start: tuple[int, int], order: str) -> tuple[int, int]:
    one, two = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two
