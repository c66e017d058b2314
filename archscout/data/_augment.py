"""Which augmentation a data set gets, and why."""

from __future__ import annotations

import re
from collections.abc import Sequence

from archscout.core.errors import DataError, suggestion
from archscout.data._contents import FlipRule
from archscout.nn.batches import Augmentation

_SIDED = re.compile(r"(^|[^a-z])(left|right|leftwards?|rightwards?)([^a-z]|$)")
_PIXELS = re.compile(r"(\d{1,4})(?:/([1-9]\d{0,3}))?")
_NUMBER = re.compile(r"[-+]?\d+([.]0)?")


def flip_by_names(classes: Sequence[str]) -> FlipRule:
    """Whether mirrored images keep their labels, judged by the class names: characters, numbers, left and right do not."""
    for name in classes:
        if len(name) == 1 or _NUMBER.fullmatch(name):
            return FlipRule(False, f"the class '{name}' may be a character, which a mirror changes")
        if _SIDED.search(re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()):
            return FlipRule(False, f"the class '{name}' names a side, which a mirror changes")
    return FlipRule(True, "no class name is a character, a number or a side")


def augmentation_of(text: str, height: int, width: int, rule: FlipRule) -> tuple[Augmentation, str]:
    """The augmentation that a setting means for images of this size, and a sentence that states it.

    text: "auto" (shift by a sixteenth of the shorter side, mirror where `rule` allows it, no cutout), "none", or a list such as
    "shift=2,flip,cutout=8"; "auto" in the list starts from the automatic choice and "noflip" switches mirroring off. Pixels may
    be given as a part of the shorter side, "shift=1/8".
    Raises DataError.
    """
    side = min(height, width)
    values: dict[str, int] = {"shift": 0, "flip": 0, "cutout": 0}
    words = [word.strip() for word in text.split(",") if word.strip()]
    asked_flip = False
    for word in words:
        name, _, number = word.partition("=")
        if word == "auto":
            values |= {"shift": max(1, round(side / 16)), "flip": int(rule.keeps_labels)}
        elif word in ("flip", "noflip"):
            values["flip"], asked_flip = int(word == "flip"), True
        elif name in ("shift", "cutout") and (pixels := _pixels(number, side)) is not None:
            values[name] = pixels
        elif word != "none" or len(words) > 1:
            tail = f"at most {side // 2} pixels" if name in ("shift", "cutout") else suggestion(name, [*values, "none", "auto"])
            raise DataError(f"augmentation is 'auto', 'none' or a list such as 'shift=2,flip,cutout=8', but '{word}' came; {tail}")
    if not words:
        raise DataError("augmentation is 'auto', 'none' or a list such as 'shift=2,flip,cutout=8', but nothing came")
    made = Augmentation(values["shift"], bool(values["flip"]), values["cutout"])
    return made, _stated(made, rule, asked_flip, text == "none")


def _pixels(text: str, side: int) -> int | None:
    """A number of pixels, or a part of the side such as 1/8; None for other text and for more than half of the side."""
    match = _PIXELS.fullmatch(text)
    if match is None:
        return None
    pixels = round(side * int(match[1]) / int(match[2])) if match[2] else int(match[1])
    return pixels if pixels <= side // 2 else None


def _stated(made: Augmentation, rule: FlipRule, asked_flip: bool, none: bool) -> str:
    if none:
        return "Training images are not augmented, as asked for."
    parts = []
    if made.shift:
        parts.append(f"moved by up to {made.shift} pixel{'s' * (made.shift > 1)}")
    if made.flip:
        parts.append("mirrored left to right half of the time")
    if made.cutout:
        parts.append(f"covered by a square of {made.cutout} pixels")
    varied = f"Training images are {', '.join(parts)}" if parts else "Training images are not augmented"
    if asked_flip:
        tail = "mirroring is as asked for" + ("" if rule.keeps_labels or not made.flip else f", although {rule.reason}")
    else:
        tail = f"mirroring is {'used' if made.flip else 'not used'}"
        if made.flip == rule.keeps_labels:
            tail += f", because {rule.reason}"
    return f"{varied}; {tail}."
