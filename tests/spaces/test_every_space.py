"""The conformance suite of spaces, over the catalogue."""

import pytest

from archscout import catalogue
from archscout.core.kinds import kinds_of
from archscout.testing.spaces import CHECKS
from archscout.testing.tasks import image_task, token_task

# Settings that keep a space's networks small enough for a test; a space that is missing here runs with its own.
SMALL = {
    "nas201": {"channels": 4, "cells": 1},
    "darts": {"channels": 4, "layers": 3},
    "nao-cell": {"channels": 4, "layers": 1},
    "proxyless": {"channels": 4, "depth": 2, "skip": True},
    "transnas-cell": {"channels": 4},
    "transnas-macro": {"channels": 4},
    "few-shot": {"channels": 4, "nodes": 2},
    "nlp-rnn": {"embedding": 6, "hidden": 8},
    "rnn": {"nodes": 5, "size": 6},
    "macro": {"channels": 4, "head": 16},
    "nas101": {"stem": 8, "cells": 1},
}
TASKS = {
    "grey": image_task((1, 12, 12), classes=3),
    "colour": image_task((3, 16, 16), classes=5),
    "tokens": token_task(length=5, classes=7),
}
SERVED = [
    (name, task)
    for name in catalogue.names("spaces")
    for task in TASKS
    if TASKS[task].kind in kinds_of(catalogue.make("spaces", name))
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("name", "task"), SERVED)
def test_conforms(name, check, task):
    check(catalogue.make("spaces", name, **SMALL.get(name, {})), TASKS[task])


def test_every_space_serves_a_task():
    assert {name for name, _ in SERVED} == set(catalogue.names("spaces"))


@pytest.mark.parametrize("name", catalogue.names("spaces"))
def test_its_name_is_the_plugins(name):
    assert catalogue.make("spaces", name).name == name
    assert catalogue.summary("spaces", name)


def test_small_settings_name_spaces_that_exist():
    assert set(SMALL) <= set(catalogue.names("spaces"))
