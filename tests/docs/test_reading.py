"""How examples are read and made small: nothing that a page names is lost on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from examples import COMMANDS, PAGES, Block, blocks, elsewhere, name_of, prose, quoted
from shrinking import smaller

PAGE = """Text with `--one`.

```
make demo      # and why
archscout search --data ./images \\
    --space my_space.py   a search
archscout runs && archscout show RUN
```

```python
# my_space.py
x = 1
```

```text
archscout is no command here
```

    archscout resume runs/big          on the cluster

```bash
srun archscout search --data images \\
    --workers 9 # many
```
"""


def test_commands_of_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    first, second, third, _ = blocks(page)
    assert list(first.commands()) == [
        (4, ["make", "demo"]), (5, ["archscout", "search", "--data", "./images", "--space", "my_space.py"]),
        (7, ["archscout", "runs"]), (7, ["archscout", "show", "RUN"]),
    ]  # fmt: skip
    assert (second.line, second.language, second.file, first.file) == (11, "python", "my_space.py", None)
    assert third.language not in COMMANDS
    assert quoted(page) == ["--one"] and "search" not in prose(page)
    assert [text.split() for text in elsewhere(page)] == [
        "archscout search --data images --workers 9".split(), "archscout resume runs/big on the cluster".split(),
    ]  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_word_of_a_command_is_lost_and_no_fence_is_left(page: Path) -> None:
    assert "```" not in prose(page), "a fence has no end, or one that is not alone on its line"
    for block in blocks(page):
        for _, words in block.commands() if block.language in COMMANDS else ():
            for wanted in (True, False):
                assert smaller(words[1:], wanted)[: len(words) - 1] == words[1:]


def test_what_is_wanted_of_a_search() -> None:
    assert "--screen-only" in smaller(["search", "--data", "./images"], wanted=False)
    assert "--screen-only" not in smaller(["search", "--data", "./images"])
    assert "--screen-only" not in smaller(["search", "--data", "./images", "--verify"], wanted=False)
    few = smaller(["search", "--data", "./characters", "--task", "few-shot"])
    assert "strategy.iterations=3" in few and "space.channels=4" in few and "--image-size" not in few
    assert smaller(["score", "DARTS_V2", "--data", "cifar10"])[-2:] == ["--data", "cifar10.npz"]


def test_a_block_that_is_no_file_has_no_name() -> None:
    assert Block(1, "python", "x = 1  # my.py\n").file is None
