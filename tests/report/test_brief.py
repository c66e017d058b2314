"""The verdict in plain words, the plots of a search and its costs, and what pages have in common."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from sample_facts import sample

from archscout.report.brief import in_short
from archscout.report.facts import Calibration, Comparison, Errors, ReportFacts, Trace
from archscout.report.html import render
from archscout.report.plots import Bar, Dot, bars, part_names, scatter, stacked, trace
from archscout.report.web import moment, sections
from archscout.report.words import duration, took


def headings(facts: ReportFacts) -> list[str]:
    return [point.heading for point in in_short(facts)]


def test_a_newcomer_is_told_how_good_it_is_whether_search_paid_and_what_is_weakest() -> None:
    facts = sample()
    points = in_short(facts)
    assert [point.heading for point in points] == ["How good it is", "Searching paid", "Where it is weakest"]
    assert "Of 100 new images like these it labels about 92 right; between 91 and 93" in points[0].sentence
    assert points[1].tone == "good" and "0.9 points better" in points[1].sentence
    assert points[2].sentence.startswith("Of 'Shirt' only 76\u00a0% are right, most often taken for '")


@pytest.mark.parametrize(
    ("won", "heading", "tone"),
    [(True, "Searching paid", "good"), (False, "Searching did not pay", "bad"), (None, "Whether searching paid is open", "open")],
)
def test_the_verdict_stands_among_them(won: bool | None, heading: str, tone: str) -> None:
    facts = sample()
    assert facts.comparison is not None
    [point] = [p for p in in_short(replace(facts, comparison=replace(facts.comparison, search_won=won))) if p.tone]
    assert (point.heading, point.tone) == (heading, tone)


def test_what_would_help_follows_from_how_the_run_ended() -> None:
    facts = sample()
    assert facts.answer is not None
    timed = in_short(replace(facts, stopped="time"))[-1]
    assert timed.heading == "What would help" and "4\u00a0min 41\u00a0s" in timed.sentence and "longer --budget" in timed.sentence
    open_one = Comparison(None, 0.001, (-0.01, 0.02), "a", "b", "validation", 500, "3 epochs each")
    assert "--verify" in in_short(replace(facts, comparison=open_one))[-1].sentence
    screened = replace(facts, answer=replace(facts.answer, epochs=0.0, test_value=None), comparison=None, errors=None)
    assert headings(screened) == ["What next"]
    assert in_short(replace(facts, answer=None)) == []


def test_other_metrics_have_words_of_their_own() -> None:
    facts = sample()
    assert facts.answer is not None
    text = replace(facts.answer, test_value=-4.6052, test_interval=(-4.7, -4.5))
    assert (
        "if it had 100 equally likely ones" in in_short(replace(facts, metric="perplexity", answer=text, errors=None))[0].sentence
    )
    few = replace(facts.answer, test_value=0.643, test_interval=(0.63, 0.66))
    said = in_short(replace(facts, metric="few-shot accuracy", answer=few, errors=None))[0].sentence
    assert "it labels 64\u00a0% of others right (63.0\u00a0% to 66.0\u00a0%)" in said


def test_no_class_is_blamed_where_none_stands_out() -> None:
    even = Errors(("a", "b", "c"), ((90, 10, 0), (5, 91, 4), (0, 9, 91)))
    assert "Where it is weakest" not in headings(replace(sample(), errors=even))


def test_a_trace_shows_candidates_the_best_so_far_and_levels() -> None:
    points = [(1.0, 3.0), (2.0, 5.0), (3.0, 4.0)]
    svg = str(trace(points, points[:2], [("<b>", "baseline", 4.5), ("random", "random", 2.0)], 3, "candidates", "score"))
    ElementTree.fromstring(svg)
    assert svg.count("<circle") == 3 and svg.count('class="level') == 2 and "&lt;b&gt; 4.5" in svg
    [path] = re.findall(r'class="line searched strong" d="([^"]*)"', svg)
    assert path.count("H") == 2 and path.count("V") == 1, "a step for each that was better, and on to the end"
    assert str(trace([], [], [], 0, "x", "y")) == ""


def test_stacked_bars_share_a_scale_and_colours_follow_the_names() -> None:
    rows = [("one", [("screen", 10.0), ("finish", 30.0)]), ("two", [("finish", 20.0)])]
    svg = str(stacked(rows, form=duration))
    widths = [(kind, float(wide)) for kind, wide in re.findall(r'class="part (run\d)" x="[^"]*" y="[^"]*" width="([^"]*)"', svg)]
    assert [kind for kind, _ in widths] == ["run0", "run1", "run1"]
    assert (widths[1][1] + 1) / (widths[0][1] + 1) == pytest.approx(3, abs=0.02)
    assert (widths[2][1] + 1) / (widths[0][1] + 1) == pytest.approx(2, abs=0.02)
    assert part_names(rows) == [("part run0", "screen"), ("part run1", "finish")]
    assert "40\u00a0s" in svg and str(stacked([("a", [])])) == ""


def test_roles_are_told_by_shape_as_well_as_by_colour() -> None:
    dots = [Dot(1.0, 0.5, role, role) for role in ("searched", "baseline", "random")]
    svg = str(scatter(dots, "x", "y", front=False))
    assert svg.count("<circle") == 1 and svg.count("<rect") == 1 and svg.count('<path class="dot random"') == 1
    assert '<path class="nought"' in str(bars([Bar("a", 0.1, -0.1, 0.2)], nought=True))
    assert '<path class="nought"' not in str(bars([Bar("a", 0.1, 0.05, 0.2)]))


def test_traces_and_calibrations_without_numbers_leave_no_gap() -> None:
    facts = replace(sample(), trace=None, calibrations=())
    assert "How the search went" not in render(facts)
    odd = replace(facts, trace=Trace("naswot", ((1.0, 2.0),), ((1.0, 2.0),), (), 1), calibrations=(Calibration("x", (), None),))
    text = render(odd)
    assert "asked no judge" not in text and "asked no judge" in render(replace(odd, trace=None))
    assert "tau is not defined" in text and "judged 1\u00a0candidate by naswot" in text


def test_small_things_of_pages() -> None:
    assert moment("2026-11-26T08:03:21+00:00") == "26 November 2026, 08:03 UTC" and moment("yesterday") == "yesterday"
    assert sections('<section id="a">\n<h2>A &amp; b</h2>') == [("a", "A &amp; b")]
    assert [took(value) for value in (9.5e-5, 0.0123, 75.2)] == ["95\u00a0µs", "12.3\u00a0ms", "1\u00a0min 15\u00a0s"]
