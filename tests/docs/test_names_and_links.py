"""Links of README.md and docs/ lead somewhere; the names in the text exist; the site builds."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer
from examples import PAGES, ROOT, name_of, prose, quoted

from archscout import catalogue
from archscout.cli.main import commands
from archscout.core.pictures import TaskForm
from archscout.explaining.settings import Study
from archscout.nn.episode_recipe import EpisodeRecipe
from archscout.nn.recipe import Recipe
from archscout.nn.text_recipe import TextRecipe

DECISIONS = sorted(ROOT.glob("docs/decisions/*.md"))
ROOMS = {
    "space": ("spaces",), "strategy": ("strategies",), "estimator": ("estimators", "learners"), "proxy": ("estimators",),
    "data": ("data",), "meta": ("meta",), "extractor": ("extractors",),
}  # fmt: skip
SUFFIXES = ("csv", "json", "npz", "py")
FORMS = {"recipe": (Recipe, TextRecipe, EpisodeRecipe), "form": (TaskForm,), "study": (Study,)}


@pytest.mark.parametrize("page", [*PAGES, *DECISIONS], ids=name_of)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"(https?|mailto):", link):
            continue
        where, _, anchor = link.partition("#")
        target = (page.parent / where).resolve() if where else page
        assert target.exists(), f"{name_of(page)} leads to '{link}', but there is no '{target}'"
        assert not anchor or anchor in headings(target), f"{name_of(page)} leads to '{link}', but '{where}' has no such heading"


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


@pytest.fixture(scope="module")
def command() -> Any:
    """All of archscout, as its parser knows it."""
    return typer.main.get_command(commands())


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_options_and_commands_in_the_text_exist(page: Path, command: Any) -> None:
    scripts = "".join(
        path.read_text("utf8") for path in [*ROOT.glob("benchmarks/*.py"), ROOT / "archscout/export/language_model.py"]
    )
    options = {*options_of(command), *re.findall(r'"(--[a-z-]+)"', scripts)}
    for text in quoted(page):
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", text):
            assert option in options, f"{name_of(page)} speaks of '{option}' in `{text}`, which no command has"
        if named := re.match(r"archscout ([a-z]+)(?: ([a-z]+))?", text):
            found = command.commands.get(named[1])
            assert found is not None, f"{name_of(page)} speaks of `{text}`, but there is no such command"
            if named[2] and hasattr(found, "commands"):
                assert named[2] in found.commands, f"{name_of(page)} speaks of `{text}`, but there is no such command"


def options_of(command: Any) -> Iterator[str]:
    """All options of a command and of those below it."""
    for part in command.params:
        yield from part.opts
    for below in getattr(command, "commands", {}).values():
        yield from options_of(below)


@pytest.fixture(scope="module")
def settings() -> dict[str, set[str]]:
    """By the owner that `--set` knows, the settings that there are."""
    made = {
        owner: [catalogue.plugin(room, name) for room in rooms for name in catalogue.names(room)] for owner, rooms in ROOMS.items()
    }
    return {owner: {field.name for one in those for field in fields(one)} for owner, those in {**made, **FORMS}.items()}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_settings_in_the_text_exist(page: Path, settings: dict[str, set[str]]) -> None:
    for text in quoted(page):
        for owner, setting in re.findall(rf"(?<![\w./])({'|'.join(settings)})\.([a-z_]+)\b", text):
            if setting not in SUFFIXES:
                assert setting in settings[owner], f"{name_of(page)} speaks of '{owner}.{setting}', which no plug-in has"


@pytest.mark.skipif(not (ROOT / "mkdocs.yml").exists(), reason="there is no site yet")
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--config-file",
        str(ROOT / "mkdocs.yml"),
        "--site-dir",
        str(tmp_path),
    ]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "index.html").is_file()
