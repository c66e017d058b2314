"""Reads README.md and docs/: fenced blocks, the commands in them, and what stands between back-quotes in the text.

The rule that the pages keep to: a block without a language (or of sh) holds commands, one a line; a line goes on after a backslash,
`&&` joins commands, and what follows two spaces is said about a command and no part of it. RUN is the run folder that the page made
last. A block of python runs as it is, unless its first line names a file (`# my_space.py`), which is then written and used by a
command. Anything else has another language: text, or bash for scripts that need other machines, whose words must exist too.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(page for page in ROOT.glob("docs/**/*.md") if page.parent.name != "decisions")]
COMMANDS, PYTHON = ("", "sh"), "python"
_FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block. line: where its text begins in the page, from 1."""

    line: int
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The name of the file that a block of Python is, by its first line."""
        named = re.match(r"# (\w+\.py)\n", self.text)
        return named[1] if named else None

    def commands(self) -> Iterator[tuple[int, list[str]]]:
        """Every command, as its line and its words."""
        line = self.line
        for whole in re.split(r"(?<!\\)\n", self.text):
            said = re.sub(r"\s*\\\n\s*", " ", whole).split("  ")[0]
            for command in said.split(" && "):
                if words := shlex.split(command, comments=True):
                    yield line, words
            line += whole.count("\n") + 1


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text("utf8")
    return [Block(text[: found.start(2)].count("\n") + 1, found[1], found[2]) for found in _FENCE.finditer(text)]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text("utf8"))


def quoted(page: Path) -> list[str]:
    """What stands between back-quotes in the text."""
    return re.findall(r"`([^`]+)`", prose(page))


def elsewhere(page: Path) -> list[str]:
    """Commands of archscout that need other machines: in scripts (blocks of bash) and indented lines."""
    scripts = [block.text for block in blocks(page) if block.language == "bash"]
    lines = "\n".join([*scripts, *re.findall(r"^    .+", prose(page), re.MULTILINE)])
    return re.findall(r"(?<![\w/.-])archscout [a-z]+ [^#\n]*", re.sub(r"\s*\\\n\s*", " ", lines))


def name_of(page: Path) -> str:
    """A page, for messages and names of tests."""
    return page.relative_to(ROOT).as_posix()
