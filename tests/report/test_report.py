import base64
import json
import re
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from sample_facts import mobile_graph, sample

from archscout.core.architecture import Architecture
from archscout.core.errors import RunError
from archscout.core.evidence import Failure, Observation
from archscout.core.operations import GraphBuilder
from archscout.engine.stages import Contest
from archscout.engine.stages import Contestant as Contender
from archscout.report.caveats import caveats
from archscout.report.drawing import blocks, draw, fold
from archscout.report.facts import Block, Comparison, Data, Mistake, Repeat, ReportFacts, StageTime, Trial, from_json, to_json
from archscout.report.html import best_first, class_rows, compared, failures, render, verdict
from archscout.report.outcome import missing, unbeaten
from archscout.report.page import rewrite, write
from archscout.report.plots import Axis, Bar, Dot, Line, bars, confusion, curves, pareto, scatter
from archscout.report.words import bytes_of, count, duration, percent, points, short

EVIL = "<script>alert('x')</script>\"'&"
MINIMAL = ReportFacts(
    "r", "t", "today", "200", 1.0, "the budget was spent", None, Data("d", (3, 8, 8), "f", {}), Repeat((), 0, {}, {})
)  # fmt: skip


class Page(HTMLParser):
    """Checks that tags nest, and collects what a test asks for."""

    VOID = frozenset(("meta", "img", "br", "link", "hr", "input"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def assert_only_our_script(text: str) -> None:
    """One script, in the page itself, and a policy that lets no other run."""
    [script] = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert text.count("<script") == 1
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_facts_come_back_equal_from_json() -> None:
    facts = sample()
    assert from_json(to_json(facts)) == facts
    assert from_json(to_json(MINIMAL)) == MINIMAL


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "damaged"),
        ("[]", "damaged"),
        ("[" * 100_000, "damaged"),
        ('{"version": 99}', "version 99"),
        ('{"version": 1}', "damaged"),
        (json.dumps(json.loads(to_json(MINIMAL)) | {"strange": 1}), "strange"),
        (json.dumps(json.loads(to_json(MINIMAL)) | {"seconds": "long"}), "report.seconds"),
        (json.dumps(json.loads(to_json(MINIMAL)) | {"plan": [1]}), r"report.plan\[0\]"),
    ],
)
def test_other_json_is_refused_by_name(text: str, match: str) -> None:
    with pytest.raises(RunError, match=match):
        from_json(text)


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        to_json(replace(MINIMAL, seconds=float("nan")))


def test_the_page_is_whole_offline_and_small() -> None:
    text = render(sample())
    page = Page(text)
    assert len(text.encode()) < 1_000_000
    assert not {"link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert_only_our_script(text)
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        if "src" in attributes:
            assert (attributes["src"] or "").startswith("data:image/png;base64,"), tag
    assert re.findall(r"url\((?!#)", text) == [] and "@import" not in text
    for svg in re.findall(r"<svg.*?</svg>", text, re.S):
        ElementTree.fromstring(svg)


def test_the_page_tells_everything_in_order() -> None:
    text = render(sample())
    text = text[text.index("<main") :]  # the table of contents names the headings too
    places = [
        text.index(heading)
        for heading in (
            "92.0<small>%", "Searching paid", "Did search help?", "The network</h2>", "How the search went",
            "What size buys", "How training went", "Where it errs",
            "What was tried", "Failures", "Data</h2>", "Where the time went", "What the plan said", "How to repeat it",
            "What not to believe",
        )
    ]  # fmt: skip
    assert places == sorted(places)
    for fact in (
        "91.5\u00a0%", "92.5\u00a0%", "10,000 images", "model.onnx", "3f9ab2c41d7e8800", "--seed 0", "AMD EPYC 7B13", "timeout",
        "truncated file", "mobile:0.2.1.1.0.3", "MIT", "stage1.block1", "0.81\u00a0ms", "658\u00a0judgements",
    ):  # fmt: skip
        assert fact in text, fact


def test_a_run_that_found_nothing_has_a_page_too() -> None:
    text = render(MINIMAL)
    Page(text)
    assert "No network yet" in text and "Not compared" in text and "None: every candidate could be judged" in text


def test_screen_only_and_missing_test_have_pages() -> None:
    facts = sample()
    assert facts.answer is not None
    untested = replace(facts, answer=replace(facts.answer, test_value=None, test_interval=None, test_count=0), errors=None)
    assert "there is no test value" in render(untested) and "There is no test accuracy" in render(untested)
    screen = replace(untested, comparison=None, curves=(), trials=tuple(t for t in facts.trials if t.stage == "screen"))
    text = render(screen)
    Page(text)
    assert "Scores of the screening" in text


def test_text_from_the_run_is_escaped_everywhere() -> None:
    facts = sample()
    assert facts.answer and facts.comparison and facts.errors
    evil = replace(
        facts, run=EVIL, task=EVIL, created=EVIL, stopped=EVIL, plan=(EVIL,), notes=(EVIL,), limits={EVIL: 1.0},
        answer=replace(facts.answer, name=EVIL, architecture=EVIL, genotype=EVIL, files={EVIL: EVIL}),
        comparison=replace(
            facts.comparison, searched=EVIL, against=EVIL, cost=EVIL,
            contestants=tuple(replace(c, name=EVIL, role=EVIL) for c in facts.comparison.contestants),
        ),
        network=tuple(replace(b, name=EVIL, kind=EVIL, label=EVIL) for b in facts.network),
        trials=tuple(replace(t, architecture=EVIL, name=EVIL, message=EVIL, judge=EVIL, role=EVIL) for t in facts.trials[-40:]),
        curves=tuple(replace(c, name=EVIL, role=EVIL) for c in facts.curves),
        errors=replace(facts.errors, labels=(EVIL,) * 10, mistakes=(Mistake(EVIL, EVIL, EVIL, 0.5),)),
        data=replace(facts.data, name=EVIL, source=EVIL, licence=EVIL, notes=(EVIL,), counts={EVIL: {EVIL: 3}}),
        stages=(StageTime(EVIL, 1.0, what=EVIL),), repeat=replace(facts.repeat, commands=((EVIL, EVIL),), machine={EVIL: EVIL}),
    )  # fmt: skip
    text = render(evil)
    page = Page(text)
    assert_only_our_script(text)
    assert all(
        set(attributes) <= {"class", "title", "href", "style"} for tag, attributes in page.tags if tag in ("i", "b", "a", "td")
    )


def test_the_page_stays_small_for_a_long_search_and_many_classes() -> None:
    facts = sample()
    trial = Trial("mobile:" + "3." * 40 + "1", "screen", "naswot", 1.0, params=5, macs=5)
    trials = tuple(replace(trial, value=float(i % 977), macs=1000 + i) for i in range(20_000))
    labels = tuple(f"class {i}" for i in range(300))
    matrix = tuple(tuple(5 if i == j else 0 for j in range(300)) for i in range(300))
    assert facts.errors is not None
    png = base64.b64encode(b"0" * 20_000).decode()
    errors = replace(facts.errors, labels=labels, confusion=matrix, mistakes=(Mistake(png, "a", "b", 0.9),) * 24)
    data = replace(facts.data, counts={"train": dict.fromkeys(labels, 40)})
    text = render(replace(facts, trials=trials, errors=errors, data=data))
    assert len(text.encode()) < 1_000_000


def test_written_and_made_again(tmp_path: Path) -> None:
    page = write(sample(), tmp_path)
    first = page.read_bytes()
    page.unlink()
    assert rewrite(tmp_path) == page and page.read_bytes() == first
    (tmp_path / "report.json").unlink()
    with pytest.raises(RunError, match="cannot be read"):
        rewrite(tmp_path)


@pytest.mark.parametrize(
    ("won", "gap", "word", "says"),
    [(True, 0.012, "Yes", "1.2 points better"), (False, -0.02, "No", "2.0 points worse"), (None, 0.001, "Undecided", "0.1 points")],
)
def test_verdicts(won: bool | None, gap: float, word: str, says: str) -> None:
    found = verdict(Comparison(won, gap, (gap - 0.01, gap + 0.01), "a", "b", "validation", 500, "3 epochs each"))
    assert found.word == word and says in found.sentence and "500" in found.sentence


def test_only_what_may_be_compared_is_plotted_together() -> None:
    trials = sample().trials
    group = compared(trials)
    assert {(t.stage, t.judge, t.fidelity) for t in group} == {("compare", "train", 2.0)} and len(group) == 11
    order = best_first(trials)
    assert order[0].fidelity == 6.0 and order[-1].stage == "screen"
    assert [t.value for t in order[:7]] == sorted((t.value for t in order[:7]), reverse=True)


def test_failures_are_counted_by_kind_and_message() -> None:
    assert [(f.kind, f.times) for f in failures(sample().trials)] == [("nan", 3), ("timeout", 1)]


def test_class_rows_name_the_worst_first() -> None:
    rows = class_rows(sample().errors)
    assert rows[0].label == "Shirt" and rows[0].share == pytest.approx(0.764) and rows[0].images == 1000
    assert "Pullover" in rows[0].confused


def _headings(facts: ReportFacts) -> set[str]:
    return {heading for heading, _ in caveats(facts)}


def test_the_front_keeps_what_no_other_beats() -> None:
    points = [(0.9, 10, 10), (0.9, 10, 10), (0.9, 10, 11), (0.8, 9, 12), (0.8, 12, 9), (0.7, 12, 9), (0.1, 1, 99)]
    rows = [{"value": value, "params": params, "macs": macs} for value, params, macs in points]
    assert [rows.index(row) for row in unbeaten(rows)] == [0, 0, 3, 4, 6]


def test_rivals_that_are_missing_or_failed_are_told_of() -> None:
    searched = Contender("searched", Architecture("mobile", (0,)))
    residual = Contender("ResNet-type", Architecture("handmade", (0,)))
    seen = Observation(residual.architecture, None, Failure("over_limit", "it has 9 ms, above the limit of 5 ms"))
    notes = missing(Contest((searched, residual), 1.0, {}, {residual.architecture: seen}))
    assert "only ResNet-type meets the limits" in notes[0] and "No random architecture" in notes[1]
    assert notes[2] == "A rival could not be compared (ResNet-type): it has 9 ms, above the limit of 5 ms."
    assert len(notes) == 3


def test_caveats_follow_from_the_facts() -> None:
    facts = sample()
    assert facts.comparison is not None and facts.answer is not None
    usual = _headings(facts)
    assert {"One seed", "The test images were opened once", "The winner's validation accuracy is optimistic"} <= usual
    assert {"Latency is of this machine", "Training was limited by time", "Not every file was used"} <= usual
    assert "The validation set is small" not in usual and "Some classes are tiny" not in usual
    small = replace(facts.comparison, count=200)
    assert "The validation set is small" in _headings(replace(facts, comparison=small))
    verified = _headings(replace(facts, comparison=replace(facts.comparison, verified=True)))
    assert "The test images were opened once" not in verified and "The comparison used short trainings" not in verified
    tiny = replace(facts.data, counts={"train": {"a": 400, "b": 9}})
    assert {"Some classes are tiny", "The classes are unequal"} <= _headings(replace(facts, data=tiny))
    assert "One seed" not in _headings(replace(facts, seeds=3))
    many = facts.comparison.contestants[:1] * 5 + facts.comparison.contestants[1:2]
    assert "The search had more tries" in _headings(replace(facts, comparison=replace(facts.comparison, contestants=many)))
    assert _headings(MINIMAL) >= {"No network was trained"}
    assert "Training was limited by time" not in _headings(replace(facts, budget="200"))
    ranked = replace(facts.answer, test_value=None, valid_value=None)
    assert "No network was trained" in _headings(replace(facts, answer=ranked))


def test_blocks_group_operations_by_their_names() -> None:
    found = blocks(mobile_graph())
    assert [block.name for block in found[:3]] == ["input", "stem", "stage1.block1"] and found[-1].name == "head"
    assert sum(block.params for block in found) == mobile_graph().params
    assert found[2].label == "2× conv 1×1, depthwise 3×3" and found[2].shape == (24, 28, 28) and found[2].kind == "depthwise"
    assert found[0].kind == "input" and found[-1].kind == "head"
    assert all(i < position for position, block in enumerate(found) for i in block.inputs)


def test_equal_blocks_fold_and_keep_their_parameters() -> None:
    found = blocks(mobile_graph())
    folded = fold(found)
    assert len(folded) == 9 and "stage1.block2 … block4  × 3" in {block.name for block in folded}
    assert sum(block.params for block in folded) == sum(block.params for block in found)
    assert all(i < position for position, block in enumerate(folded) for i in block.inputs)


def test_a_zero_draws_no_arrow() -> None:
    builder = GraphBuilder((3, 8, 8))
    with builder.scope("a"):
        x = builder.conv(builder.input, 4)
    with builder.scope("b"):
        y = builder.relu(x)
    with builder.scope("c"):
        z = builder.add(builder.zero(x), builder.relu(y))
    with builder.scope("head"):
        found = blocks(builder.finish(builder.linear(builder.global_pool(z), 2)))
    assert [block.inputs for block in found] == [(), (0,), (1,), (2,), (3,)]


def test_jumping_inputs_are_arcs() -> None:
    chain = (Block("a", "conv", "x", (4, 8, 8)), Block("b", "pool", "y", (4, 8, 8), inputs=(0,)))
    assert draw(chain).count("flow skip") == 0
    assert draw((*chain, Block("c", "other", "sum", (4, 8, 8), inputs=(0, 1)))).count("flow skip") == 1


@pytest.mark.parametrize("repeats", [1, 30])
def test_long_networks_stay_drawable(repeats: int) -> None:
    found = blocks(mobile_graph(repeats))
    assert 3 <= len(found) <= 60
    ElementTree.fromstring(str(draw(found)))


def test_networks_without_scopes_are_drawn_in_parts() -> None:
    builder = GraphBuilder((3, 8, 8))
    x = builder.input
    for _ in range(100):
        x = builder.conv(x, 4)
    found = blocks(builder.finish(builder.linear(builder.global_pool(x), 2)))
    assert 5 <= len(found) <= 60 and sum(block.params for block in found) == 3 * 4 + 99 * 16 + 4 * 2 + 2


@pytest.mark.parametrize("space", ["nas201", "darts", "mobile", "handmade", "few-shot", "handmade-few-shot"])
def test_every_space_is_drawn(space: str) -> None:
    from archscout.catalogue import make
    from archscout.core.draw import sample as drawn
    from archscout.core.problem import IMAGE_CLASSIFICATION, Task
    from archscout.core.seeds import generator

    made = make("spaces", space)
    graph = made.operations(drawn(made, generator(0)), Task("t", IMAGE_CLASSIFICATION, (3, 32, 32), 10, "f"))
    found = blocks(graph)
    assert 5 <= len(found) <= 60
    assert sum(block.params for block in found) == graph.live().params
    ElementTree.fromstring(str(draw(found)))


def test_pareto_front() -> None:
    dots = [Dot(x, y, "searched", "") for x, y in ((1, 1), (2, 3), (2, 2), (3, 3), (4, 5), (5, 4))]
    assert [(dot.x, dot.y) for dot in pareto(dots)] == [(1, 1), (2, 3), (4, 5)]


def test_axes_have_round_ticks_inside() -> None:
    for values in ([0.0, 1.0], [0.883, 0.931], [5.0, 5.0], [-3.0, 900.0]):
        axis = Axis(values, 0, 100)
        assert 2 <= len(axis.ticks()) <= 8 and all(-1e-6 <= axis.at(tick) <= 100 + 1e-6 for tick in axis.ticks())
    logarithmic = Axis([1e4, 3e6], 0, 100, logarithmic=True)
    assert 1e5 in [pytest.approx(tick) for tick in logarithmic.ticks()]
    assert logarithmic.at(1e5) - logarithmic.at(1e4) == pytest.approx(logarithmic.at(1e6) - logarithmic.at(1e5))
    assert 1 <= len(Axis([4e4, 1.8e5], 0, 100, logarithmic=True).ticks()) <= 8
    assert Axis([0.81, 0.81], 0, 100, logarithmic=True).ticks(), "a single value has ticks around it"


def test_plots_are_well_formed_and_nothing_gives_nothing() -> None:
    dots = [Dot(10.0**i, i / 10, "searched", "<b>", strong=i == 2) for i in range(5)]
    for plot in (
        scatter(dots, "x", "y"), scatter([dots[0]], "x", "y"), scatter([Dot(float("nan"), 1, "searched", ""), *dots], "x", "y"),
        curves([Line("<a>", ((1.0, 0.5), (2.0, 0.6)))], "x", "y"), bars([Bar("<a>", 0.5, 0.4, 0.6)]),
        confusion(["<a>", "b"], [[3, 1], [0, 0]]),
    ):  # fmt: skip
        ElementTree.fromstring(str(plot))
    assert (str(scatter([], "x", "y")), str(curves([], "x", "y")), str(bars([]))) == ("", "", "")


def test_words() -> None:
    assert [short(x) for x in (0, 7, 0.5, 999, 1000, 12_345, 999_600, 4_560_000, 1e9)] == [
        "0", "7", "0.5", "999", "1\u00a0k", "12.3\u00a0k", "1\u00a0M", "4.56\u00a0M", "1\u00a0G",
    ]  # fmt: skip
    assert [duration(x) for x in (1.25, 59.7, 75, 120, 3600, 3725)] == [
        "1.2\u00a0s", "1\u00a0min", "1\u00a0min 15\u00a0s", "2\u00a0min", "1\u00a0h", "1\u00a0h 2\u00a0min",
    ]  # fmt: skip
    assert (percent(0.9234), points(0.0123), points(-0.0123), points(0.0001)) == ("92.3\u00a0%", "+1.2", "\u22121.2", "0.0")
    assert (bytes_of(999), bytes_of(1_230_000)) == ("999\u00a0B", "1.23\u00a0MB")
    assert (count(1, "class", "classes"), count(2, "class", "classes"), count(18.4, "epoch")) == (
        "1\u00a0class", "2\u00a0classes", "18.4\u00a0epochs",
    )  # fmt: skip
