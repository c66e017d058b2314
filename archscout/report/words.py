"""Numbers and durations as a person writes them."""

from __future__ import annotations

from math import floor, log10


def percent(value: float, digits: int = 1) -> str:
    """0.9234 -> '92.3 %'; the space does not break."""
    return f"{value * 100:.{digits}f}\u00a0%"


def points(value: float) -> str:
    """A difference of fractions in percentage points with its sign: 0.012 -> '+1.2'."""
    shown = f"{value * 100:+.1f}"
    return "0.0" if shown in ("+0.0", "-0.0") else shown.replace("-", "\u2212")


def short(value: float) -> str:
    """1234567 -> '1.23 M'; three figures."""
    for scale, letter in ((1e9, "\u00a0G"), (1e6, "\u00a0M"), (1e3, "\u00a0k")):
        if abs(value) >= scale * 0.9995:
            return f"{_three(value / scale)}{letter}"
    return _three(value)


def _three(value: float) -> str:
    if value == 0:
        return "0"
    digits = max(0, 2 - floor(log10(abs(value)) + 1e-9))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def duration(seconds: float) -> str:
    """75.2 -> '1 min 15 s'."""
    if seconds < 10:
        return f"{seconds:.1f}\u00a0s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}\u00a0s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}\u00a0min" + (f" {rest}\u00a0s" if rest else "")
    hours, minutes = divmod(minutes, 60)
    return f"{hours}\u00a0h" + (f" {minutes}\u00a0min" if minutes else "")


def took(seconds: float) -> str:
    """What a single judgement took, however little: 0.000095 -> '95 µs', 0.0123 -> '12.3 ms', 75.2 -> '1 min 15 s'."""
    if seconds >= 1:
        return duration(seconds)
    return milliseconds(seconds * 1e3) if seconds >= 1e-3 or seconds == 0 else f"{_three(seconds * 1e6)}\u00a0µs"


def milliseconds(value: float) -> str:
    """1.234 -> '1.23 ms'."""
    return f"{_three(value)}\u00a0ms"


def bytes_of(size: float) -> str:
    """1234567 -> '1.23 MB' (powers of ten)."""
    for scale, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= scale:
            return f"{_three(size / scale)}\u00a0{unit}"
    return f"{size:.0f}\u00a0B"


def count(number: float, one: str, many: str | None = None) -> str:
    """'1 image', '1,204 images', '2.5 epochs'."""
    shown = f"{number:,.0f}" if float(number).is_integer() else f"{number:,.3g}"
    return f"{shown}\u00a0{one if number == 1 else many or one + 's'}"
