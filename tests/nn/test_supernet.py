"""Supernets of all shared spaces keep the contract; and what is special to some."""

from __future__ import annotations

from dataclasses import replace

import pytest

from archscout import catalogue
from archscout.core.errors import UserError
from archscout.core.problem import IMAGE_CLASSIFICATION, Task
from archscout.core.protocols import SharedSpace
from archscout.nn.supernet import Supernet, supernet_of
from archscout.testing.supernets import CHECKS

SMALL = Task("noise", IMAGE_CLASSIFICATION, (3, 8, 8), 4, "noise")
SETTINGS = {
    "darts": [{"channels": 4, "layers": 3}],
    "nas101": [{"stem": 6, "stacks": 2, "cells": 1, "subspace": subspace} for subspace in (1, 2, 3)],
    "nas201": [{"channels": 4, "cells": 1}],
}
SPACES = [catalogue.make("spaces", name, **settings) for name, listed in SETTINGS.items() for settings in listed]
SHARED = [name for name in catalogue.names("spaces") if isinstance(catalogue.make("spaces", name), SharedSpace)]


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_every_supernet_keeps_the_contract(space, check):
    check(space, SMALL)


def test_the_expected_spaces_have_supernets():
    assert set(SETTINGS) == set(SHARED)


def test_the_search_network_of_darts_has_its_published_size():
    task = replace(SMALL, shape=(3, 32, 32), classes=10)
    graph = catalogue.make("spaces", "darts", channels=16, layers=8).supernet(task)
    assert graph.params == 1_930_618  # "1.9 M"


def test_a_space_without_one_is_told_of():
    with pytest.raises(UserError, match="'macro' has no supernet"):
        supernet_of(catalogue.make("spaces", "macro"), SMALL, seed=0)
    with pytest.raises(UserError, match="take one of its sub-spaces"):
        supernet_of(catalogue.make("spaces", "nas101"), SMALL, seed=0)


def test_a_supernet_may_be_smaller_than_its_space():
    net = supernet_of(catalogue.make("spaces", "darts"), SMALL, seed=0, channels=4, depth=3)
    assert isinstance(net, Supernet) and (net.space.channels, net.space.layers) == (4, 3)
