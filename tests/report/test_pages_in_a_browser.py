"""Every kind of page, in a real browser: drawn, readable in both colours and at any width, usable with the keyboard, offline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from sample_facts import sample

from archscout.analysis.cells import explained
from archscout.comparison import results, side_page, tasks
from archscout.comparison.entrants import Entrant, grouped
from archscout.comparison.side_by_side import Compared
from archscout.engine.resolve import resolve
from archscout.explaining import page as explaining
from archscout.report.html import render

WIDTHS = (400, 1280)


def run_page(folder: Path) -> str:
    facts = sample()
    assert facts.answer is not None
    for name in facts.answer.files.values():
        (folder / name).touch()
    return render(facts)


def text_page(folder: Path) -> str:
    """The page of a language model: another metric, no images, no drawing."""
    facts = sample()
    assert facts.answer is not None
    answer = replace(facts.answer, test_value=-4.6, test_interval=(-4.7, -4.5), valid_value=-4.5, files={})
    return render(
        replace(
            facts, metric="perplexity", answer=answer, comparison=None, errors=None, network=(), cells=(), calibrations=(),
            curves=(), trials=(), sample="It was " * 200,
        )
    )  # fmt: skip


def compare_page(folder: Path) -> str:
    rng, facts = np.random.default_rng(0), sample()
    assert facts.answer is not None
    runs = []
    for number in range(4):
        marks = rng.random(1000) < 0.9
        place = folder / ("a rather long name of a run folder" if number == 3 else f"run-{number}")
        place.mkdir(exist_ok=True)
        (place / "report.html").touch()
        answer = replace(facts.answer, test_value=float(marks.mean()), test_interval=(0.88, 0.92), test_count=1000)
        request = {"strategy": "random" if number < 3 else "darts", "limits": {}, "settings": {}}
        runs.append(Entrant(place, replace(facts, answer=answer), request, number, "f", marks, "t"))
    return side_page.render(Compared(tuple(grouped(runs))), "archscout compare a b", folder)


def tasks_page(folder: Path) -> str:
    rng, count = np.random.default_rng(0), 5
    matrix = tasks.TaskMatrix(
        ("mnist:0", "mnist:6", "a task with a long name of its own", "fashion-mnist", "sign-digits"),
        rng.uniform(0.1, 0.8, (3, count, count)), rng.uniform(0.1, 0.2, (3, count)), rng.uniform(0.8, 0.95, (3, count)),
        rng.uniform(100, 9000, (3, count)), np.ones((3, count), bool), np.full(count, 0.1),
    )  # fmt: skip
    return tasks.render(
        matrix, {"kind": "Fisher", "mode": "empirical", "network": "small"}, "archscout tasks distance " + "x " * 90
    )


def results_page(folder: Path) -> str:
    path = sorted(Path(__file__).parents[2].joinpath("results").glob("*.csv"))[0]
    return results.render([(path.name, results.read_claims(path))])


def explain_page(folder: Path) -> str:
    found = explained(*resolve("DARTS_V2"))
    facts = {"subject": "DARTS_V2", **found.record()}
    return explaining.render(facts, found, found.variants(), None, "archscout explain DARTS_V2 --out why")


PAGES: dict[str, Callable[[Path], str]] = {
    "run": run_page, "text": text_page, "compare": compare_page, "tasks": tasks_page, "results": results_page,
    "explain": explain_page,
}  # fmt: skip


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Where the page of a kind lies."""
    made: dict[str, Path] = {}

    def of(kind: str) -> Path:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            made[kind] = folder / "page.html"
            made[kind].write_text(PAGES[kind](folder), "utf8")
        return made[kind]

    return of


CONTRAST = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = (text) => rgb(text).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const page = light(getComputedStyle(document.body).backgroundColor);
  const texts = ["h1", "h2", ".sub", "td", "td small", "th", "footer", "a"].flatMap((kind) => [...document.querySelectorAll(kind)]);
  return Math.min(...texts.slice(0, 400).map((one) => ratio(page, light(getComputedStyle(one).color))));
}"""
UNDRAWN = """() => [...document.querySelectorAll("svg")].filter((svg) => {
  const box = svg.getBoundingClientRect();
  const shapes = svg.querySelectorAll("path, rect, circle");
  const painted = [...shapes].some((shape) => shape.getBoundingClientRect().width > 3);
  return box.width < 100 || box.height < 20 || !painted || !svg.getAttribute("aria-label");
}).map((svg) => svg.outerHTML.slice(0, 200))"""
DEAD = """() => [...document.querySelectorAll("a[href^='#']")].map((link) => link.getAttribute("href").slice(1))
  .filter((id) => !document.getElementById(id))"""
FILES = """() => [...document.querySelectorAll("a[href]:not([href^='#'])")].map((link) => decodeURI(link.getAttribute("href")))"""
WIDE = "() => document.documentElement.scrollWidth - window.innerWidth"


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_is_drawn_and_fits_in_both_colours(browser: Browser, place: Callable[[str], Path], kind: str) -> None:
    path = place(kind)
    visit = browser.visit(path, color_scheme="light")
    assert visit.of(UNDRAWN) == [] and (visit.of("document.querySelectorAll('svg').length") > 0) == (kind != "results")
    assert visit.of(DEAD) == [] and visit.of("document.querySelectorAll('.contents li').length") > 0
    assert [name for name in visit.of(FILES) if not (path.parent / name).exists()] == []
    for scheme, page in (("light", "rgb(251, 251, 250)"), ("dark", "rgb(19, 21, 24)")):
        visit.page.emulate_media(color_scheme=scheme)
        assert visit.of("getComputedStyle(document.body).backgroundColor") == page
        assert visit.of(CONTRAST) >= 4.5, "as WCAG 2 asks for (AA)"
    for width in WIDTHS:
        visit.page.set_viewport_size({"width": width, "height": 900})
        assert visit.of(WIDE) <= 0, f"too wide for {width} pixels"
    assert visit.complaints == []
    assert visit.requests == [path.as_uri()], "the page asks for nothing else"
    visit.page.context.close()


def test_drawings_are_zoomed_with_the_keyboard(browser: Browser, place: Callable[[str], Path]) -> None:
    visit = browser.visit(place("run"))
    page = visit.page
    box = "document.querySelector('.canvas svg').getAttribute('viewBox')"
    whole = visit.of(box)
    wanted = {"skip", "BUTTON", "scroll", "PRE", "canvas"}
    for _ in range(100):
        page.keyboard.press("Tab")
        wanted.discard(visit.of("document.activeElement.classList[0] || document.activeElement.tagName"))
        if visit.of("document.activeElement === document.querySelector('.canvas')"):
            page.keyboard.press("+")
            [x, _, wide, _] = map(float, visit.of(box).split())
            assert wide < float(whole.split()[2])
            page.keyboard.press("ArrowRight")
            assert float(visit.of(box).split()[0]) > x
            page.keyboard.press("0")
            assert visit.of(box) == whole
        if not wanted:
            break
    assert not wanted, "a drawing, a table, a command or a button is out of the keyboard's reach"
    page.get_by_label("Zoom in").first.click()
    assert visit.of(box) != whole
    page.get_by_label("Show all").first.click()
    assert visit.of(box) == whole
    page.locator(".canvas").first.hover()
    page.mouse.wheel(0, -200)
    assert visit.of(box) == whole, "a wheel without Ctrl scrolls the page"
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.wait_for_function(f"{box} !== '{whole}'")
    page.keyboard.up("Control")
    assert visit.complaints == []
    page.context.close()


def test_colours_are_chosen_and_commands_copied(browser: Browser, place: Callable[[str], Path]) -> None:
    visit = browser.visit(place("run"), color_scheme="light")
    page = visit.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    toggle = page.get_by_label("Colours: automatic, light or dark")
    toggle.click()
    toggle.click()
    assert visit.of("getComputedStyle(document.body).backgroundColor") == "rgb(19, 21, 24)"
    page.get_by_label("Copy this command").nth(1).click()
    page.get_by_text("Copied").wait_for()
    assert visit.of("navigator.clipboard.readText()") == "archscout search --data fashion-mnist --budget 10m --seed 0"
    assert visit.complaints == []
    page.context.close()


def test_paper_shows_the_page_and_none_of_its_tools(browser: Browser, place: Callable[[str], Path]) -> None:
    visit = browser.visit(place("run"), width=720, color_scheme="dark")
    visit.page.emulate_media(media="print", color_scheme="dark")
    assert visit.of("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    hidden = "[...document.querySelectorAll('.contents, button, .tools')].every((one) => one.getBoundingClientRect().width === 0)"
    assert visit.of(hidden) and visit.of(UNDRAWN) == [] and visit.of(WIDE) <= 0
    assert len(visit.page.pdf()) > 50_000
    visit.page.context.close()


def test_a_page_without_its_script_shows_everything(browser: Browser, place: Callable[[str], Path]) -> None:
    visit = browser.visit(place("run"), java_script_enabled=False)
    page = visit.page
    assert page.locator("button").count() == 0
    drawings = page.locator(".canvas svg")
    assert drawings.count() > 1
    for number in range(drawings.count()):
        box = drawings.nth(number).bounding_box()
        assert box["width"] > 200 and box["height"] > 100
    page.context.close()
