"""Makes the commands of the documentation small: words are added at the end, where they go before earlier ones of the same option.

No word of a command is taken away, so that an option, plug-in or setting that was renamed fails in the page that names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

BY_COMMAND = {
    "search": "--budget 6 --epochs 0.2 --workers 1 --formats=",
    "train": "--epochs 0.1 --formats=",
    "score --all": "--per-class --minutes 0.1 --workers 1",
    "bench correlate": "--sample 6 --workers 1",
    "bench search": "--queries 4 --seeds 2",
    "meta build": "--tasks 4 --records 8 --epochs 0.5 --workers 1 --families shapes,glyphs",
    "meta train signal-tasks": "--labelled 4 --workers 1",
    "meta train at-nas": "--minutes 0.05",
    "explain --landscape": "--landscape 3 --image-size 8 --epochs 1",
    "explain --deep": "--minutes 0.05 --image-size 8 --epochs 1",
    "explain --strategy": "--queries 4 --seeds 2 --image-size 8",
    "tasks distance": "--epochs 6 --seeds 1",
    "tasks add": "--epochs 6 --seeds 1",
}
"""Words for a command."""
EPISODES = (
    "iterations=3 warm_up=0.4 every=1 population=3 parents=1 crossed=1 mutated=1 tasks=2 final_tasks=2 batch=2 paths=1 channels=2"
)
SETTINGS = {
    "space": {
        "nas201": "channels=4 cells=1",
        "darts": "channels=4 layers=3",
        "nao-cell": "channels=4 layers=1",
        "few-shot": "channels=4 nodes=2",
        "rnn": "size=8",
    },
    "strategy": {
        "assisted-evolution": "candidates=3 population=2",
        "darts": "epochs=0.5 batch=8 channels=2 depth=3",
        "lpt": "epochs=0.2 batch=8 channels=2 depth=3 tester_channels=2",
        "mdenas": "epochs=1 batch=8 channels=2 depth=1",
        "nasi": "steps=2 batch=8 channels=2 depth=1",
        "nao-ws": "epochs=1 batch=8 pool=8 rounds=2 new=4 items=16 fits=2 channels=4 depth=1",
        "nao": "initial=3 new=1 epochs=2",
        "fuse": "turns=2 rounds=1 seeds=1 channels=2",
        "metad2a": "generate=5",
        "at-nas": EPISODES,
    },
    "estimator": {
        "naswot": "batch=16",
        "signal-regression": "preset=full steps=2 resolution=8",
        "weight-sharing": "minutes=0 epochs=1 batch=8 images=16 channels=2",
        "nao": "epochs=2 labelled=12",
    },
    "data": {"text": "window=10"},
    "form": {"meta build": "side=8 train=32 valid=16 fewest=2 most=4"},
    "study": {
        "explain --landscape": "train_images=40 valid_images=20 images=16 noise_grid=3 batches=2 batch=8",
        "explain --deep": "train_images=40 valid_images=20 images=16 noise_grid=3 batches=2 batch=8 grid=3",
    },
    "meta": {"signal-tasks": "population=3 steps=2", "metad2a": "epochs=2 hidden=8 code=8", "at-nas": EPISODES},
}
"""Settings for plug-ins, by the owner that `--set` knows."""
BUILD = ("search", "train", "score --all", "bench correlate", "meta train signal-tasks", "meta train at-nas")
"""Commands that build networks of a space whose settings they take."""
PUBLISHED = {"DARTS_V2": "darts", "NAO_A": "nao-cell", "NAO_B": "nao-cell", "NAO": "rnn"}
"""The spaces of architectures that are named as published."""
TEXTS = ("story.txt", "book.txt", "warandpeace", "wikitext2")
LARGE = {"cifar10": "cifar10.npz"}
"""Data sets whose files have one size, and what stands for them."""


def smaller(words: Sequence[str], wanted: bool = True) -> list[str]:
    """A command of archscout, its words without the first, as it ends within seconds.

    wanted: whether the run is used later on; a search of which nothing is wanted trains nothing.
    """
    named = _command(words)
    less = ["--screen-only"] if named == "search" and not wanted and "--verify" not in words else []
    if less and _value(words, "--data") in TEXTS and "--strategy" not in words:
        less += ["--estimator", "params"]
    return [*words, *BY_COMMAND.get(named, "").split(), *less, *_data(words, named), *_settings(words, named)]


def _command(words: Sequence[str]) -> str:
    """Its key in the tables above."""
    many = 3 if list(words[:2]) == ["meta", "train"] else 2 if words[0] in ("bench", "meta", "tasks") else 1
    kinds = {"score": ("--all",), "explain": ("--landscape", "--deep", "--strategy")}
    return " ".join([*words[:many], *(kind for kind in kinds.get(words[0], ()) if kind in words)])


def _data(words: Sequence[str], named: str) -> list[str]:
    """Small images in place of large ones."""
    data = _value(words, "--data")
    sized = named in ("search", "train") and data not in TEXTS and not _few(words) and "at-nas" not in words
    return [*(["--data", LARGE[data]] if data in LARGE else []), *(["--image-size", "8"] if sized else [])]


def _settings(words: Sequence[str], named: str) -> Iterator[str]:
    """Those of everything that the command names."""
    written = [word.partition(":")[0] for word in words if ":" in word]
    spaces = [_value(words, "--space"), _value(words, "--table"), *written, *(PUBLISHED.get(word, "") for word in words)]
    if "--space" not in words:
        spaces += ["rnn"] if named == "search" and _value(words, "--data") in TEXTS else []
        spaces += ["few-shot"] if _few(words) or named == "meta train at-nas" else []
    owners = {
        "space": spaces if named in BUILD else [],
        "strategy": [_value(words, "--strategy"), "at-nas" if named == "search" and _few(words) else ""],
        "estimator": [*_value(words, "--estimator").split(","), "signal-regression" if "signal-tasks" in words else ""],
        "form": [named],
        "study": [named],
        "data": ["text"] if _value(words, "--data") in TEXTS else [],
        "meta": words[2:3] if named.startswith("meta train") else [],
    }
    for owner, names in owners.items():
        for setting in _of(SETTINGS[owner], names):
            yield from ("--set", f"{owner}.{setting}")


def _few(words: Sequence[str]) -> bool:
    return _value(words, "--task") == "few-shot"


def _of(table: dict[str, str], names: Iterable[str]) -> Iterator[str]:
    for name in dict.fromkeys(names):
        yield from table.get(name, "").split()


def _value(words: Sequence[str], option: str) -> str:
    """What a command says of an option; nothing where it does not name it."""
    return words[words.index(option) + 1] if option in words else ""
