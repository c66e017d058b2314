"""What `archscout compare` says of runs: what is paired, what is grouped, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archscout.analysis.intervals import difference, mean_interval, welch
from archscout.comparison.contrasts import contrast
from archscout.comparison.entrants import Group, entrants, grouped
from archscout.comparison.side_by_side import Compared, compare, lines, record
from archscout.comparison.side_page import render, write_comparison
from archscout.core.errors import RunError, UserError
from archscout.core.problem import FEW_SHOT, IMAGE_CLASSIFICATION, LANGUAGE_MODELLING
from archscout.engine.finish import packed
from archscout.engine.request import Request
from archscout.nn.course import Marks
from archscout.report.facts import Answer, Block, Comparison, Data, Repeat, ReportFacts, StageTime, to_json
from archscout.report.metric import METRICS
from archscout.store.runs import RunStore

COUNTS = {"train": {"cat": 60, "dog": 40}, "valid": {"cat": 10, "dog": 10}, "test": {"cat": 100, "dog": 100}}
Make = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path) -> Make:
    """Makes a finished run with these marks on its test items."""

    def make(
        name: str, marks: Marks | None, seed: int = 0, *, test: str | None = "t", fingerprint: str = "f", counts: Any = COUNTS,
        metric: str = IMAGE_CLASSIFICATION.metric, data: str = "pets", done: bool = True,
        lacks: tuple[str, ...] = (), command: tuple[str, str] = ("archscout search --data pets", "again"), **asked: Any,
    ) -> Path:  # fmt: skip
        folder = tmp_path / name
        request = Request(data=data, seed=seed, **asked)
        architecture = f"nas201:{seed}.1.1.1.1.1"
        tested = marks is not None
        answer = Answer(
            "searched network", "searched", architecture, 1000 * (seed + 1), 50_000, metric, latency_ms=0.5,
            test_value=float(marks.mean()) if tested else None,
            test_interval=METRICS[metric].interval(marks) if tested else None,
            test_count=len(marks) if tested else 0, epochs=3.0,
        )  # fmt: skip
        facts = ReportFacts(
            str(folder), data, "2026-11-26T08:03:21+00:00", request.budget, 12.0, "done", answer,
            Data(data, (3, 8, 8), fingerprint, counts), Repeat((command,), seed, {}, {"processor": "x"}),
            comparison=Comparison(True, 0.02, (0.01, 0.03), "a", "b", "validation", 20, "1 epoch each"),
            network=(Block("input", "input", "", (3, 8, 8)), Block("stem", "conv", "conv 3×3", (4, 8, 8), 100, (0,))),
            stages=(StageTime("screen", 3.0, 40), StageTime("finish", 6.0)), metric=metric,
        )  # fmt: skip
        written = {name: value for name, value in request.as_dict().items() if name not in lacks}
        with RunStore.create(folder, request=written, seed=seed) as store:
            if tested:
                store.meta[f"trained {architecture}"] = {"test_correct": packed(marks)}
            if test is not None:
                store.meta["test"] = {"digest": test, "count": answer.test_count}
        if done:
            (folder / "report.json").write_text(to_json(facts))
        return folder

    return make


def marks(rate: float, seed: int = 0, count: int = 200) -> Marks:
    return np.random.default_rng(seed).random(count) < rate


def pair(*folders: Path) -> tuple[Group, Group]:
    first, second = grouped(entrants(folders))
    return first, second


def test_two_runs_are_paired_item_by_item(run: Make) -> None:
    a, b = marks(0.8, 1), marks(0.8, 1)
    b[:12] = True
    first, second = pair(run("one", a), run("two", b, 1, strategy="local"))
    found = contrast(first, second)
    assert found is not None and found.paired == "items"
    assert found.gain == difference(b, a) and found.gain.difference > 0
    gained = int((~a[:12]).sum())
    assert found.discordant is not None and (found.discordant.only_first, found.discordant.only_second) == (gained, 0)
    assert f"Only two is right on {gained} of them, only one on 0" in found.basis and "the same 200 test images" in found.basis
    told = found.record()
    assert (told["only_first"], told["only_second"], told["first"], told["second"]) == (0, gained, "one", "two")


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ({"test": "t", "fingerprint": "f"}, {"test": "u", "fingerprint": "g"}, "their test images differ"),
        ({"test": None, "fingerprint": "f"}, {"test": "u", "fingerprint": "g"}, "'one' does not tell which test images"),
    ],
)
def test_other_test_items_are_not_paired_and_the_reason_is_said(run: Make, one: Any, other: Any, why: str) -> None:
    a, b = marks(0.9, 1), marks(0.6, 2)
    first, second = pair(run("one", a, **one), run("two", b, 1, **other, space="darts"))
    found = contrast(first, second)
    assert found is not None and found.paired == "" and found.discordant is None and why in found.basis
    assert found.gain == difference((int(b.sum()), 200), (int(a.sum()), 200)) and found.verdict == "worse"


def test_equal_fingerprints_pair_runs_of_earlier_versions(run: Make) -> None:
    first, second = pair(run("one", marks(0.9), test=None), run("two", marks(0.9), 1, test=None, space="darts"))
    found = contrast(first, second)
    assert found is not None and found.paired == "items"


def test_seeds_of_equal_settings_are_one_group(run: Make) -> None:
    values = [[0.80, 0.82, 0.84], [0.85, 0.91, 0.88]]
    folders = [
        run(f"{name}-{seed}", marks(rate, 10 * group + seed), seed, strategy=name)
        for group, (name, rates) in enumerate(zip(("random", "local"), values, strict=True))
        for seed, rate in enumerate(rates)
    ]
    found = compare(folders)
    assert [group.name for group in found.groups] == ["random", "local"] and found.apart == ["strategy"]
    first, second = found.groups
    assert first.interval == mean_interval(first.values)
    [one] = found.contrasts
    assert one.paired == "" and one.gain == welch(second.values, first.values) and "3 and 3 runs" in one.basis
    told = record(found)
    assert [group["name"] for group in told["groups"]] == ["random", "local"] and len(told["runs"]) == 6
    assert told["groups"][0]["mean"] == pytest.approx(np.mean(first.values))
    text = "\n".join(lines(found))
    assert "over 3 runs" in text and one.sentence().replace("\u00a0", " ") in text


def test_seeds_that_draw_their_own_test_items_are_paired_by_seed(run: Make) -> None:
    folders = [
        run(f"{name}-{seed}", marks(0.7 + 0.05 * seed + gain, seed), seed, test=f"t{seed}", fingerprint=f"f{seed}", strategy=name)
        for name, gain in (("random", 0.0), ("local", 0.1))
        for seed in range(3)
    ]
    first, second = pair(*folders)
    found = contrast(first, second)
    gaps = [b - a for a, b in zip(first.values, second.values, strict=True)]
    assert found is not None and found.paired == "seeds"
    assert (found.gain.difference, found.gain.low, found.gain.high) == pytest.approx((np.mean(gaps), *mean_interval(gaps)))


def test_groups_are_named_by_their_folders_or_by_what_sets_them_apart(run: Make) -> None:
    folders = [
        run(f"{name}{seed}", marks(0.8, seed), seed, strategy=name) for name in ("random", "local") for seed in range(10, 12)
    ]
    assert [group.name for group in grouped(entrants(folders))] == ["random", "local"]
    folders = [run(f"{seed}-{name}", marks(0.8, seed), seed, strategy=name) for name in ("random", "local") for seed in (2, 3)]
    assert [group.name for group in grouped(entrants(folders))] == ["strategy random", "strategy local"]
    folders = [run(f"{place}/run", marks(0.8), strategy=name) for place, name in (("x", "random"), ("y", "local"))]
    assert [group.name for group in grouped(entrants(folders))] == ["strategy random", "strategy local"]


def test_a_single_run_beside_several_is_said_to_be_one(run: Make) -> None:
    folders = [run(f"r{seed}", marks(0.8, seed), seed) for seed in range(3)]
    first, second = pair(*folders, run("alone", marks(0.9, 9), 7, space="darts"))
    found = contrast(first, second)
    assert found is not None and found.gain == welch(second.values, first.values)
    assert "'alone' is a single run and is taken to vary as the others do" in found.basis


def test_runs_of_other_data_are_refused_in_a_sentence(run: Make) -> None:
    one = run("one", marks(0.8))
    for name, changes in {
        "name": {"data": "birds"},
        "counts": {"counts": {"train": {"cat": 5, "dog": 5}}},
        "metric": {"metric": FEW_SHOT.metric},
    }.items():
        other = run(name, marks(0.8).astype(float) if name == "metric" else marks(0.8), test="u", fingerprint="g", **changes)
        with pytest.raises(UserError, match=f"only runs of the same data.*'one' is of 'pets'.*'{name}' of"):
            entrants([one, other])
    ways = run("ways", marks(0.8), test="u", fingerprint="g", task="few-shot", ways=3)
    with pytest.raises(UserError, match="only runs of the same data"):
        entrants([one, ways])


def test_too_few_unfinished_and_missing_runs_are_refused(run: Make, tmp_path: Path) -> None:
    one = run("one", marks(0.8))
    with pytest.raises(UserError, match="two runs or more, but 1 came"):
        entrants([one, one / ".." / "one"])
    with pytest.raises(UserError, match="is not done; end it with: archscout resume"):
        entrants([one, run("two", marks(0.8), 1, done=False)])
    with pytest.raises(RunError, match="there is no run in"):
        entrants([one, tmp_path / "nothing"])


def test_runs_without_a_test_are_compared_by_size_and_cost(run: Make) -> None:
    found = compare([run("one", marks(0.8)), run("two", None, 1, space="darts")])
    assert found.contrasts == () and record(found)["runs"][1]["test_value"] is None
    assert any(line.startswith("Some runs have no test value: two") for line in lines(found))
    assert "Some runs have no test value" in render(found, "x", Path("."))


def test_perplexities_are_compared_window_by_window(run: Make) -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(-4.6, 0.3, 400)
    b = a + rng.normal(0.05, 0.02, 400)
    counts = {"train": {"known": 900, "unknown": 100}}
    folders = [
        run(name, values, seed, metric=LANGUAGE_MODELLING.metric, counts=counts, strategy=name)
        for seed, (name, values) in enumerate((("random", a), ("local", b)))
    ]
    found = compare(folders)
    [one] = found.contrasts
    assert one.paired == "items" and one.discordant is None and one.verdict == "better"
    assert "perplexity 4.8\u00a0% lower" in one.sentence() and "the same 400 test windows of text" in one.basis
    assert record(found)["runs"][0]["test_value"] == pytest.approx(np.exp(-a.mean()))


def test_the_page_leads_to_the_reports_and_escapes_names(run: Make, tmp_path: Path) -> None:
    out = tmp_path / "out"
    folders = [run("a <b>&", marks(0.8)), run("two", marks(0.9), 1, strategy="local")]
    page = write_comparison(out, compare(folders), "archscout compare <x>")
    text = page.read_text("utf8")
    assert 'href="../a%20%3Cb%3E%26/report.html"' in text and "<b>&" not in text.replace("</b>", "") and "&lt;x&gt;" in text
    assert json.loads((out / "compare.json").read_text())["command"] == "archscout compare <x>"
    body = text[text.index("<main") :]
    places = [
        body.index(f"<h2>{heading}")
        for heading in (
            "Test accuracy", "Differences", "The runs", "What they were asked", "What it cost", "What size buys", "The networks",
            "How to repeat it", "What not to believe",
        )
    ]  # fmt: skip
    assert places == sorted(places) and body.count('class="drawing"') == 2
    assert re.search(r'<ul class="short">.*(?:two is better|Undecided: two or a)', body, re.S)


def test_where_candidates_were_judged_is_no_other_setting(run: Make) -> None:
    folders = [run("r0", marks(0.8)), run("r1", marks(0.8), 1, executor="ray", address="head:6379", workers=64)]
    assert [len(group.runs) for group in grouped(entrants(folders))] == [2]


def test_runs_of_arrays_have_no_search_to_repeat(run: Make) -> None:
    use = ("archscout predict one --data PATH", "label new images")
    page = render(
        compare([run("one", marks(0.8), command=use), run("two", marks(0.9), 1, command=use)]), "archscout compare", Path()
    )
    assert "archscout predict" not in page and "The searches, each with" not in page and "archscout compare" in page


def test_marks_that_are_not_there_are_not_called_a_smaller_split(run: Make) -> None:
    one, other = pair(run("one", marks(0.8)), run("two", marks(0.9), 1, strategy="local"))
    found = contrast(one, Group("two", (replace(other.runs[0], marks=None),)))
    assert found is not None and "'two' does not tell how each test image fared" in found.basis


def test_an_old_run_without_later_settings_is_in_the_same_group(run: Make) -> None:
    """A request that was written before a field existed had its default."""
    found = entrants([run("one", marks(0.8)), run("old", marks(0.8), 1, lacks=("ways", "vocabulary"))])
    assert [len(group.runs) for group in grouped(found)] == [2] and Compared(tuple(grouped(found))).apart == []
