"""The benchmark of NAO: its settings are NAO's, and a job of it gives what its rows are made of."""

from __future__ import annotations

import nao
import numpy as np
import pytest

from archscout.strategies.nao import Nao


@pytest.mark.parametrize("name", nao.ABLATIONS)
def test_every_ablation_is_another_nao(name):
    for table, queries in (("nas201", 200), ("nas101", 500), ("nas101", 2000)):
        plain, [race] = Nao(**nao.rounds(table, queries)), nao.ablations(table, queries, [name])
        assert isinstance(race.strategy(), Nao) and race.strategy() != plain


def test_a_race_gives_a_regret_for_each_query():
    settings = (("initial", 6), ("new", 3), ("epochs", 2), ("refresh", 1), ("hidden", 8), ("furthest", 2))
    found = nao.Race("nas201", "cifar10", 12, "nao", settings).find(0)
    for name in ("valid_regret", "test_regret"):
        assert found[name].shape == (12,) and np.isfinite(found[name]).all()
    assert (np.diff(found["valid_regret"]) <= 0).all() and (found["valid_regret"] >= 0).all()
