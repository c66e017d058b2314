"""Architectures as sequences of tokens, which networks read and write (NAO: Luo et al. 2018, arXiv 1808.07233).

A `TokenSpace` has an encoding of its own. All other spaces write one token per decision, in order. Decisions that share a name of
an option, directly or through others, share their tokens: a group of them has a token for each name, numbered in order of first
appearance. So `rnn` of 11 nodes, for one, has the published numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archscout.core.architecture import Architecture
from archscout.core.draw import legal
from archscout.core.protocols import Space, TokenSpace

Swap = tuple[int, int, int]
"""(first start, second start, length) of two spans of tokens that may change places."""


@dataclass(frozen=True)
class TokenEncoding:
    """How the architectures of a space are written as sequences of a fixed length L of tokens; 0 begins one and is never in it.

    vocabulary: number of tokens V, 0 included.
    allowed: for each of the L positions, the tokens that may stand there, ascending.
    step: how many tokens an encoder reads at a time (divides L).
    follows: tokens after which only some may stand directly (token -> those); others restrict nothing.
    swaps: groups of pairs of spans that may change places without changing the architecture; augmentation swaps one pair of each.
    by_decision: whether every token is the option of one decision, always of the same at its position.
    """

    vocabulary: int
    allowed: tuple[tuple[int, ...], ...]
    step: int = 1
    follows: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    swaps: tuple[tuple[Swap, ...], ...] = ()
    by_decision: bool = False

    def __post_init__(self) -> None:
        if not self.allowed or self.step < 1 or self.length % self.step:
            raise ValueError(f"step divides the length, which is at least 1, but {self.step} and {self.length} came")
        for tokens in (*self.allowed, *self.follows.values()):
            if list(tokens) != sorted(set(tokens)) or not tokens or tokens[0] < 1 or tokens[-1] >= self.vocabulary:
                raise ValueError(f"tokens are 1 to {self.vocabulary - 1}, ascending, at least one a position, but {tokens} came")
        for first, second, length in (swap for group in self.swaps for swap in group):
            if not 0 <= first < first + length <= second <= self.length - length:
                raise ValueError(f"spans that change places lie apart, but {length} tokens from {first} and from {second} came")

    @property
    def length(self) -> int:
        """L."""
        return len(self.allowed)

    def mask(self) -> NDArray[np.bool_]:
        """Which token may stand at which position, (L, V)."""
        found = np.zeros((self.length, self.vocabulary), dtype=np.bool_)
        for position, tokens in enumerate(self.allowed):
            found[position, list(tokens)] = True
        return found

    def transitions(self) -> NDArray[np.bool_] | None:
        """Which token (column) may stand directly after which (row), (V, V); None where nothing is restricted."""
        if not self.follows:
            return None
        found = np.ones((self.vocabulary, self.vocabulary), dtype=np.bool_)
        for token, after in self.follows.items():
            found[token] = False
            found[token, list(after)] = True
        return found

    def is_legal(self, tokens: Sequence[int]) -> bool:
        """Whether there are L tokens, each of which may stand where it does. A space may refuse the architecture all the same."""
        if len(tokens) != self.length or not all(token in may for token, may in zip(tokens, self.allowed, strict=True)):
            return False
        return all(after in self.follows.get(token, (after,)) for token, after in pairwise(tokens))

    def swapped(self, tokens: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Sequences (N, L) of the same architectures: one random pair of every group changes places, with a chance of one half."""
        found = tokens.copy()
        for group in self.swaps:
            chosen = rng.integers(2 * len(group), size=len(tokens))
            for number, (first, second, length) in enumerate(group):
                [rows] = np.nonzero(chosen == number)
                one, other = slice(first, first + length), slice(second, second + length)
                found[rows, one], found[rows, other] = found[rows, other], found[rows, one]
        return found


def encoding_of(space: Space) -> TokenEncoding:
    """How the architectures of a space are written."""
    return _written(space).encoding


def tokens_of(space: Space, architecture: Architecture) -> tuple[int, ...]:
    """The L tokens of an architecture of this space."""
    return _written(space).tokens(architecture)


def architecture_of(space: Space, tokens: Sequence[int]) -> Architecture | None:
    """The architecture, normalised, that L tokens stand for; None where the space refuses it.

    Raises ValueError for tokens that are not legal by the encoding.
    """
    written, tokens = _written(space), tuple(map(int, tokens))
    if not written.encoding.is_legal(tokens):
        raise ValueError(f"sequences of '{space.name}' have other tokens, see encoding_of(space), than those that came: {tokens}")
    return written.from_tokens(tokens)


class _Numbered(NamedTuple):
    """The encoding of decisions; for each, the token of every option, and the option of every token."""

    encoding: TokenEncoding
    tokens: tuple[tuple[int, ...], ...]
    options: tuple[Mapping[int, int], ...]


@dataclass(frozen=True)
class _ByDecision:
    """The tokens of a space that has none of its own."""

    space: Space
    numbered: _Numbered

    @property
    def encoding(self) -> TokenEncoding:
        return self.numbered.encoding

    def tokens(self, architecture: Architecture) -> tuple[int, ...]:
        return tuple(tokens[choice] for tokens, choice in zip(self.numbered.tokens, architecture.choices, strict=True))

    def from_tokens(self, tokens: Sequence[int]) -> Architecture | None:
        return legal(self.space, [options[token] for options, token in zip(self.numbered.options, tokens, strict=True)])


def _written(space: Space) -> TokenSpace:
    if isinstance(space, TokenSpace):
        return space
    return _ByDecision(space, _numbered(tuple(decision.options for decision in space.decisions)))


@lru_cache(maxsize=32)
def _numbered(decisions: tuple[tuple[str, ...], ...]) -> _Numbered:
    groups: list[dict[str, None]] = []
    for options in decisions:
        met = [group for group in groups if not group.keys().isdisjoint(options)]
        if not met:
            met = [{}]
            groups += met
        # Options that several groups share make one of them, in the place of the first.
        for other in met[1:]:
            met[0].update(other)
            groups = [group for group in groups if group is not other]
        met[0].update(dict.fromkeys(options))
    numbered = enumerate(((group, name) for group, names in enumerate(groups) for name in names), 1)
    numbers = {name: (group, token) for token, (group, name) in numbered}
    tokens = tuple(tuple(numbers[name][1] for name in options) for options in decisions)
    kinds = [numbers[options[0]][0] for options in decisions]
    encoding = TokenEncoding(1 + len(numbers), tuple(tuple(sorted(row)) for row in tokens), _period(kinds), by_decision=True)
    return _Numbered(encoding, tokens, tuple({token: option for option, token in enumerate(row)} for row in tokens))


def _period(kinds: Sequence[int]) -> int:
    """After how many decisions their kinds repeat, to the end; 1 where they do not."""
    length = len(kinds)
    repeating = (step for step in range(1, length) if length % step == 0 and list(kinds) == list(kinds[:step]) * (length // step))
    return next(repeating, 1)
