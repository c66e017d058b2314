"""Every example of README.md and docs/ runs: commands and Python in the order of the page, in one folder, on small data."""

from __future__ import annotations

import itertools
import re
import shutil
import time
import tomllib
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from commandline import Command
from examples import COMMANDS, PAGES, PYTHON, ROOT, Block, blocks, name_of
from shrinking import smaller

from archscout.store.contents import DATABASE

LANGUAGES = {*COMMANDS, PYTHON, "text", "json", "toml", "yaml", "csv", "bash", "dockerfile"}
SMALL = 'budget="6", epochs=0.2, image_size="8", workers=1, formats=""'
"""What stands for a budget in Python."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name_of)
def test_the_examples_of_a_page_run(
    page: Path, archscout: Command, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(world, tmp_path / "here")
    monkeypatch.chdir(folder)
    own = {f"ARCHSCOUT_{what}": str(tmp_path / what.lower()) for what in ("MODELS", "SIGNALS", "TABLES", "TASKS")}
    own["ARCHSCOUT_DATA"] = str(folder / "data")
    for name, value in {**own, "ARCHSCOUT_CACHE": str(archscout.cache)}.items():
        monkeypatch.setenv(name, value)
    names: dict[str, Any] = {"__name__": "__main__"}
    complaints, unused = [], {}
    following = [words for block in blocks(page) if block.language in COMMANDS for _, words in block.commands()]
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{name_of(page)}:{block.line}: there is no rule for a block of '{block.language}'"
        if block.language == PYTHON and block.file:
            (folder / block.file).write_text(block.text)
            unused[block.file] = block.line
        elif block.language == PYTHON:
            complaints += _python(page, block, names)
        for line, words in block.commands() if block.language in COMMANDS else ():
            following = following[1:]
            unused = {file: where for file, where in unused.items() if file not in words}
            if found := _ran(archscout, words, following, folder, own):
                complaints.append(f"{name_of(page)}:{line}: {found}")
    complaints += [f"{name_of(page)}:{line}: no command uses '{file}'" for file, line in unused.items()]
    assert not complaints, "\n\n".join([f"{len(complaints)} examples do not run:", *complaints])


def _ran(archscout: Command, words: Sequence[str], following: Sequence[Sequence[str]], folder: Path, own: Mapping[str, str]) -> str:
    """What is wrong with a command; nothing where it does what it should. following: the page's later commands."""
    program, *rest = words
    if program != "archscout":
        return _mentioned(words)
    called = smaller(
        [str(_last_run(folder).relative_to(folder)) if word == "RUN" else word for word in rest], _is_wanted(words, following)
    )
    begun = time.monotonic()
    done = archscout(*called, code=None, cwd=folder, env=own)
    print(f"{time.monotonic() - begun:6.1f} s  {' '.join(called)}")
    return "" if done.code == 0 else f"{' '.join(words)}\nran as: {' '.join(called)}\nexit code {done.code}\n{done.out}\n{done.err}"


def _is_wanted(words: Sequence[str], following: Sequence[Sequence[str]]) -> bool:
    """Whether RUN is spoken of before the next search, or the folder of this one ever."""
    if "--out" in words and any(words[words.index("--out") + 1] in later for later in following):
        return True
    before = itertools.takewhile(lambda words: words[:2] != ["archscout", "search"], following)
    return any("RUN" in words for words in before)


def _last_run(folder: Path) -> Path:
    """What RUN stands for: the folder of the search that was last written to."""
    return max(folder.glob(f"**/{DATABASE}"), key=lambda path: path.stat().st_mtime_ns).parent


def _mentioned(words: Sequence[str]) -> str:
    """What is wrong with a line that is not run here: each names something of this repository, which must be there."""
    match list(words):
        case ["make", target]:
            there = re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        case ["pip", "install", package]:
            extra = re.fullmatch(r"archscout(?:\[(\w+)\])?", package)
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
            there = extra and (extra[1] is None or extra[1] in extras)
        case ["python", script, *_]:
            there = (ROOT / script).is_file()
        case _:
            there = None
    return (
        ""
        if there
        else f"'{' '.join(words)}' is no command of archscout and no make target, extra or script; name one, or say ```text"
    )


def _python(page: Path, block: Block, names: dict[str, Any]) -> list[str]:
    """What is wrong with a block of Python, which sees the names of the page's earlier blocks."""
    begun = time.monotonic()
    code = "\n" * (block.line - 1) + re.sub(r'budget="[^"]*"', SMALL, block.text)
    try:
        exec(compile(code, name_of(page), "exec"), names)
    except Exception:
        return [f"{name_of(page)}:{block.line}: {traceback.format_exc()}"]
    print(f"{time.monotonic() - begun:6.1f} s  Python of line {block.line}")
    return []
