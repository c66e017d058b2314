"""Paths of a supernet, drawn evenly."""

from __future__ import annotations

import numpy as np
from scipy.stats import chisquare

from archscout.core.draw import sample
from archscout.core.seeds import generator
from archscout.nn.paths import fair_path
from archscout.spaces.nas201 import Nas201


def test_uniform_draws_are_uniform():
    space = Nas201()
    drawn = np.array([sample(space, generator(0, "paths", step)).choices for step in range(5_000)])
    for row in range(6):
        assert chisquare(np.bincount(drawn[:, row], minlength=5)).pvalue > 1e-3


def test_fair_paths_use_every_option_equally_often():
    drawn = np.array([fair_path([5] * 6, 0, number) for number in range(100)])
    assert all(np.bincount(drawn[:, row]).tolist() == [20] * 5 for row in range(6))
    assert len({tuple(path) for path in drawn}) > 80, "rows should be permuted independently"
