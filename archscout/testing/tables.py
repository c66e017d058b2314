"""What every recorded table must do: a list of checks that take a table and its space and raise AssertionError.

@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_my_table(check):
    check(MyTable(), MySpace())
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

import numpy as np

from archscout.core.draw import sample
from archscout.core.errors import UnknownName
from archscout.core.protocols import SealedTable, SignatureSpace, Space, Table
from archscout.core.seeds import generator

ROWS = 60
"""Rows that a check looks at, beside the first and the last."""
_NOWHERE = "no such data set"


def is_described(table: Table, space: Space) -> None:
    """Rows, columns with distinct names, licence, source; every column is an objective or a report, and says what it measures."""
    facts = table.facts
    assert table.name and facts.rows > 0 and facts.licence and facts.source
    assert facts.space == space.name, f"the rows are of the space '{facts.space}', not of '{space.name}'"
    assert facts.columns or facts.reports, "a table needs a column"
    for columns in (facts.columns, facts.reports):
        assert len({column.name for column in columns}) == len(columns), "two columns share a name"
    for column in (*facts.columns, *facts.reports):
        assert column.dataset and column.metric and column.epochs >= 0, f"{column.name} does not say what it is"
        assert column.caveat or column.split == "test" or column not in facts.reports, f"{column.name} is no test value: say why"
    tested = {column.dataset for column in facts.reports}
    assert set(facts.datasets) <= tested, f"no report of {', '.join(set(facts.datasets) - tested)}"


def finds_its_rows(table: Table, space: Space) -> None:
    """The architecture of a row is legal, and its row is that row or one of the same architecture."""
    for row in _rows(table):
        architecture = table.architecture(space, row)
        assert space.architecture(architecture.choices) == architecture, f"row {row} is no architecture of '{space.name}'"
        found = table.row(space, architecture)
        assert found is not None and table.architecture(space, found) == architecture, f"row {row} is found as {found}"


def finds_what_is_asked(table: Table, space: Space) -> None:
    """Of an architecture that was drawn from the space, the table has no row, or one of the same function."""
    rng = generator(0, "conformance", table.name)
    same: Callable[..., object] = space.signature if isinstance(space, SignatureSpace) else lambda architecture: architecture
    for architecture in (sample(space, rng) for _ in range(ROWS)):
        row = table.row(space, architecture)
        assert row is None or same(table.architecture(space, row)) == same(architecture), f"{architecture} is found as row {row}"


def records_numbers(table: Table, space: Space) -> None:
    """A value or NaN per row and column, which nobody can write into; the first column of a data set is its default."""
    for column in table.facts.columns:
        recorded = table.objective(column.dataset, column.epochs)
        assert recorded.column == column, f"{column.dataset} after {column.epochs} epochs gives {recorded.column.name}"
        for values in (recorded.values, recorded.seconds):
            if values is not None:
                assert values.shape == (table.facts.rows,) and values.dtype == np.float64
                assert not values.flags.writeable and not np.isinf(values).any() and not np.isnan(values).all()
        assert recorded.seconds is None or not (recorded.seconds < 0).any()
        sign = 1 if column.higher_is_better else -1
        assert np.array_equal(recorded.scores, sign * recorded.values, equal_nan=True)
    for dataset in table.facts.datasets:
        first = next(column for column in table.facts.columns if column.dataset == dataset)
        assert table.objective(dataset).column == first


def names_what_is_there(table: Table, space: Space) -> None:
    """What is not there raises UnknownName, which names what is."""
    [first, *_] = table.facts.columns
    asked = (
        (lambda: table.objective(_NOWHERE), first.dataset),
        (lambda: table.objective(first.dataset, 10**9), str(first.epochs or "unknown")),
        (lambda: table.extra(_NOWHERE), _NOWHERE),
    )
    for ask, word in asked:
        try:
            ask()
        except UnknownName as error:
            assert word in str(error) and table.name in str(error), f"'{error}' does not name '{word}'"
        else:
            raise AssertionError("something that is not there was found")


def states_its_facts(table: Table, space: Space) -> None:
    """Every row has the metrics that are promised, as finite numbers, and every extra array is there and read-only."""
    for row in _rows(table):
        metrics = table.metrics(row)
        assert tuple(metrics) == table.facts.metrics and all(isfinite(value) for value in metrics.values())
    assert all(table.extra(name).size and not table.extra(name).flags.writeable for name in table.facts.extras)


def seals_test_values(table: Table, space: Space) -> None:
    """Test values that are no objective lie in files that only the verdict opens."""
    hidden = [column for column in table.facts.reports if column not in table.facts.columns]
    assert not hidden or isinstance(table, SealedTable), "the reports are no objectives, and where they lie is not said"
    for column in hidden:
        files = table.sealed(column) if isinstance(table, SealedTable) else ()
        assert files and all(file.path.is_file() for file in files), f"{column.name} lies nowhere"
        assert all(file.path.name.endswith(".test.npz") for file in files), f"{column.name} lies where a search may read"


CHECKS = (
    is_described, finds_its_rows, finds_what_is_asked, records_numbers, names_what_is_there, states_its_facts, seals_test_values,
)  # fmt: skip


def check_table(table: Table, space: Space) -> None:
    """All checks."""
    for check in CHECKS:
        check(table, space)


def _rows(table: Table) -> list[int]:
    drawn = generator(0, "conformance", table.name).integers(table.facts.rows, size=ROWS)
    return [0, table.facts.rows - 1, *map(int, drawn)]
