"""Databases of tasks: what is written is read; damage is told in one sentence; merging keeps each record once."""

import numpy as np
import pytest

from archscout.core.architecture import Architecture
from archscout.core.database import MetaDatabase, Record, TaskName, make_database, merged, pack_database, read_database
from archscout.core.errors import UserError

TASKS = [TaskName("shapes", 0, 0), TaskName("glyphs", 3, 0)]


def database(*rows, tasks=TASKS, **facts):
    records = [Record(task, Architecture("nas201", (number,) * 6), seed, 0.5 + number / 10) for task, number, seed in rows]
    return make_database(tasks, records, {"form": {"side": 16}, "seconds": 2.0, "machines": ["a"], **facts})


def test_what_is_written_is_read(tmp_path):
    made = database((0, 1, 0), (1, 2, 0), (1, 3, 7))
    path = tmp_path / "some.npz"
    path.write_bytes(pack_database(made))
    read = read_database(path)
    assert read.tasks == tuple(TASKS) and read.facts == made.facts and read.digest == made.digest and len(read) == 3
    assert read.architectures == made.architectures and str(read.architectures[1]) == "nas201:2.2.2.2.2.2"
    np.testing.assert_allclose(read.accuracy, [0.6, 0.7, 0.8], rtol=1e-6)
    assert str(read.tasks[1]) == "glyphs/3@0"
    one = read.of_tasks([1])
    assert one.tasks == (TASKS[1],) and one.task.tolist() == [0, 0] and one.seed.tolist() == [0, 7]


@pytest.mark.parametrize("place", [0.2, 0.5])
def test_a_wrong_byte_is_found(tmp_path, place):
    content = bytearray(pack_database(database((0, 1, 0), (1, 2, 0))))
    content[int(place * len(content))] ^= 0x55
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        read_database(tmp_path / "bad.npz")


def test_an_empty_database_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"the database is empty; build one with more --records"):
        make_database(TASKS, [], {})
    nothing = database((0, 1, 0))
    parts = (nothing.task[:0], nothing.choices[:0], nothing.seed[:0], nothing.accuracy[:0])
    (tmp_path / "empty.npz").write_bytes(pack_database(MetaDatabase("nas201", (), *parts)))
    with pytest.raises(UserError, match="is empty"):
        read_database(tmp_path / "empty.npz")


def test_merging_keeps_each_record_once():
    first, second = database((0, 1, 0), (1, 2, 0)), database((0, 2, 0), (0, 4, 0), tasks=[TASKS[1]], machines=["b"])
    both = merged([first, second])
    assert len(both) == 3 and both.tasks == tuple(TASKS) and both.task.tolist() == [0, 1, 1]
    assert both.facts["machines"] == ["a", "b"] and both.facts["seconds"] == 4.0
    assert merged([both, first, second]).digest == both.digest
    with pytest.raises(UserError, match=r"made in different ways \(form differs\)"):
        merged([first, database((0, 1, 0), form={"side": 8})])
