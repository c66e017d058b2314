"""A weighted sum of other judges, for instance `naswot - 0.2*log(macs)`.

Terms are joined by + and -; a term is a judge, perhaps with settings, perhaps in `log(...)`, perhaps times a number:
`2*naswot(batch=64) + log(params)/3 - 10`. Names with a hyphen may be written either way (`my-judge`, `my_judge`); a minus between
terms stands apart by spaces. Values keep the judges' direction, higher is better: `latency` is minus the milliseconds, so
`naswot + 0.5*latency` prefers fast networks, while `macs` grows with the cost, so its weight is negative where cost is a burden.

log(x) is the natural logarithm; of a negative value it is -log(-x), which keeps the order (minus five milliseconds -> -log 5).
Meant for judges whose values have one sign.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import lru_cache
from math import log
from typing import Any

from archscout import catalogue
from archscout.core.architecture import Architecture
from archscout.core.errors import NotFinite
from archscout.core.evidence import Estimate
from archscout.core.kinds import kinds_of
from archscout.core.problem import TASK_KINDS, Problem, TaskKind
from archscout.core.protocols import Estimator


@dataclass(frozen=True)
class Blend:
    """A weighted sum of judges.

    terms: the sum as text.
    """

    terms: str = "naswot - 0.2*log(macs)"

    def __post_init__(self) -> None:
        _parts(self.terms)  # a wrong text fails here, not at the first architecture

    @property
    def kinds(self) -> tuple[TaskKind, ...]:
        """Those that all its judges serve."""
        judges = [part.judge for part in _parts(self.terms) if part.judge is not None]
        return tuple(kind for kind in TASK_KINDS.values() if all(kind in kinds_of(judge) for judge in judges))

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The sum. The cost is that of all judges; metrics are theirs and, under its name, the plain value of each.

        Raises what a judge raises, and NotFinite for the logarithm of nought.
        """
        total, cost = 0.0, 0.0
        metrics: dict[str, float] = {}
        found: dict[str, Estimate] = {}  # a judge that occurs twice is asked once
        for part in _parts(self.terms):
            if part.judge is None:
                total += part.weight
                continue
            key = repr(part.judge)
            if key not in found:
                estimate = found[key] = part.judge.estimate(problem, architecture, seed=seed)
                cost += estimate.cost_seconds
                metrics.update({part.name: estimate.value, **estimate.metrics})
            value = found[key].value
            total += part.weight * (_log(value, part.name) if part.logarithm else value)
        return Estimate(total, cost, metrics)


@dataclass(frozen=True)
class _Part:
    """weight * judge, weight * log(judge), or for no judge a number."""

    weight: float
    judge: Estimator | None = None
    name: str = ""
    logarithm: bool = False


def _log(value: float, name: str) -> float:
    if value == 0:
        raise NotFinite(f"the logarithm of '{name}' is wanted, but its value is 0")
    return log(value) if value > 0 else -log(-value)


@lru_cache(maxsize=64)
def _parts(terms: str) -> tuple[_Part, ...]:
    """The parts of a sum. Raises ValueError for a text of another form, UnknownName for an unknown judge or setting."""
    text = re.sub(r"(?<=[a-z0-9])-(?=[a-z])", "_", terms)
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise _misread(terms) from error
    return tuple(_sum(tree, 1.0, terms))


def _sum(node: ast.expr, weight: float, terms: str) -> list[_Part]:
    match node:
        case ast.BinOp(left, ast.Add() | ast.Sub() as sign, right):
            return _sum(left, weight, terms) + _sum(right, weight if isinstance(sign, ast.Add) else -weight, terms)
        case ast.UnaryOp(ast.USub(), operand):
            return _sum(operand, -weight, terms)
        case ast.BinOp(left, ast.Mult(), right) if (factor := _number(left)) is not None:
            return _sum(right, weight * factor, terms)
        case ast.BinOp(left, ast.Mult(), right) if (factor := _number(right)) is not None:
            return _sum(left, weight * factor, terms)
        case ast.BinOp(left, ast.Div(), right) if factor := _number(right):
            return _sum(left, weight / factor, terms)
        case ast.Constant(int() | float() as value) if not isinstance(value, bool):
            return [_Part(weight * value)]
        case ast.Call(ast.Name("log"), [inner], []):
            name, judge = _judge(inner, terms)
            return [_Part(weight, judge, name, logarithm=True)]
    name, judge = _judge(node, terms)
    return [_Part(weight, judge, name)]


def _judge(node: ast.expr, terms: str) -> tuple[str, Estimator]:
    settings: dict[str, Any] = {}
    if isinstance(node, ast.Call) and not node.args:
        try:
            settings = {keyword.arg or "**": ast.literal_eval(keyword.value) for keyword in node.keywords}
        except ValueError as error:
            raise _misread(terms) from error
        node = node.func
    if not isinstance(node, ast.Name):
        raise _misread(terms)
    name = node.id.replace("_", "-")
    return name, catalogue.make("estimators", name, **settings)


def _number(node: ast.expr) -> float | None:
    match node:
        case ast.Constant(int() | float() as value) if not isinstance(value, bool):
            return float(value)
        case ast.UnaryOp(ast.USub(), operand) if (positive := _number(operand)) is not None:
            return -positive
    return None


def _misread(terms: str) -> ValueError:
    return ValueError(f"terms read like 'naswot - 0.2*log(macs)', but '{terms}' came")
