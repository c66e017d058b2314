"""Spaces and judges state the kinds of task they serve."""

from __future__ import annotations

import pytest

from archscout import catalogue
from archscout.core.errors import UserError
from archscout.core.kinds import check_kind, kinds_of
from archscout.core.problem import IMAGE_CLASSIFICATION, LANGUAGE_MODELLING, TASK_KINDS
from archscout.testing.tasks import image_task, token_task


def test_without_a_statement_it_is_image_classification() -> None:
    assert kinds_of(object()) == (IMAGE_CLASSIFICATION,)
    assert kinds_of(catalogue.make("spaces", "nas201")) == (IMAGE_CLASSIFICATION,)


def test_what_is_stated_counts() -> None:
    space = catalogue.make("spaces", "nlp-rnn")
    assert kinds_of(space) == (LANGUAGE_MODELLING,)
    check_kind(token_task(), space, "the space 'nlp-rnn'")
    with pytest.raises(UserError, match=r"the space 'nlp-rnn' serves language-modelling, but the task is image-classification"):
        check_kind(image_task(), space, "the space 'nlp-rnn'")


@pytest.mark.parametrize("name", ["params", "macs", "work", "latency"])
def test_judges_that_only_count_or_time_serve_all_kinds(name: str) -> None:
    assert kinds_of(catalogue.make("estimators", name)) == tuple(TASK_KINDS.values())


@pytest.mark.parametrize(
    ("terms", "kinds"),
    [("log(params) + 2*macs - 1", tuple(TASK_KINDS.values())), ("naswot - 0.2*log(macs)", (IMAGE_CLASSIFICATION,))],
)
def test_a_blend_serves_what_all_its_judges_serve(terms: str, kinds: object) -> None:
    assert kinds_of(catalogue.make("estimators", "blend", terms=terms)) == kinds
