"""The controller of NAO: an encoder, a predictor and a decoder of token sequences, trained together.

Luo, Tian, Qin, Chen and Liu 2018 (arXiv 1808.07233); `learners/nao.py` has the equations. Sequences are those of
`core.encoding`, (N, L) tokens; S = L / `step` is how many steps the encoder makes, H its width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.core.architecture import Architecture
from archscout.core.checks import check_least
from archscout.core.draw import sample
from archscout.core.encoding import TokenEncoding, encoding_of, tokens_of
from archscout.core.errors import UserError
from archscout.core.protocols import Space
from archscout.core.seeds import derive, generator, seeded

Tokens = NDArray[np.int64]
Floats = NDArray[np.float64]
Direction = Literal["gradient", "random"]

_EPSILON = 1e-12
_LEAST_HELD_OUT = 20
"""Sequences that are held out, below which they say nothing and none are."""
_CHECKED_EVERY = 5


@dataclass(frozen=True)
class ControllerSettings:
    """How a controller is built and trained.

    embedding, hidden: of tokens, and of the recurrent layers. layers, width: of the predictor. dropout: in the predictor.
    reads: what the predictor reads of a memory, all its "states" one after another, or their "mean" as published; "auto" for states
    where tokens are options of decisions (`TokenEncoding.by_decision`), and else the mean.
    trade_off: weight of the prediction, that of the reconstruction is 1 less it. ranking: weight of a pair-wise loss beside them.
    targets: values as "ranks", or "min-max" as published, for which the lowest hundredth is clipped.
    rate, decay: of Adam. clip: the largest norm of a gradient. epochs: passes at the most. patience: passes without a better loss
    of what is held out before it ends; 0 trains all epochs. held_out: share that is held out, where that is 20 or more. batch:
    sequences a step, a fifth of all at the most.
    members: controllers that are trained, each from another start, and whose predictions are averaged.
    augment: exchange parts whose order means nothing. pseudo: unlabelled architectures that a second training takes with
    the labels that the first one gives them (SemiNAS).
    """

    embedding: int = 48
    hidden: int = 96
    layers: int = 3
    width: int = 200
    dropout: float = 0.1
    reads: Literal["auto", "states", "mean"] = "auto"
    trade_off: float = 0.8
    ranking: float = 0.0
    targets: Literal["ranks", "min-max"] = "ranks"
    rate: float = 2e-3
    decay: float = 1e-4
    clip: float = 5.0
    epochs: int = 60
    patience: int = 0
    held_out: float = 0.1
    batch: int = 100
    members: int = 1
    augment: bool = True
    pseudo: int = 0

    def __post_init__(self) -> None:
        check_least(self, embedding=1, hidden=1, width=1, epochs=1, batch=1, members=1)
        if self.layers < 0 or self.patience < 0 or self.pseudo < 0 or self.ranking < 0:
            raise ValueError("layers, patience, pseudo and ranking are not negative")
        if not (0 <= self.dropout < 1 and 0 <= self.trade_off <= 1 and 0 <= self.held_out < 1):
            raise ValueError("dropout and held_out are in [0, 1), trade_off is in [0, 1]")
        if self.reads not in ("auto", "states", "mean"):
            raise ValueError(f"reads is auto, states or mean, but '{self.reads}' came")
        if self.targets not in ("ranks", "min-max"):
            raise ValueError(f"targets is ranks or min-max, but '{self.targets}' came")
        if not (self.rate > 0 and self.clip > 0 and self.decay >= 0):
            raise ValueError("rate and clip are above 0, and decay is not negative")


class Controller(nn.Module):
    """Encoder, predictor and decoder of the sequences of an encoding."""

    mask: Tensor
    transitions: Tensor | None

    def __init__(self, encoding: TokenEncoding, settings: ControllerSettings) -> None:
        super().__init__()
        self.encoding = encoding
        hidden, read = settings.hidden, settings.embedding * encoding.step
        self.sharpness = hidden**0.5
        self.embedding = nn.Embedding(encoding.vocabulary, settings.embedding)
        self.encoder = nn.LSTM(read, hidden, batch_first=True)
        layers: list[nn.Module] = []
        self.whole = settings.reads == "states" or (settings.reads == "auto" and encoding.by_decision)
        width = hidden * (encoding.length // encoding.step if self.whole else 1)
        for _ in range(settings.layers):
            layers += [nn.Linear(width, settings.width), nn.ReLU(), nn.Dropout(settings.dropout)]
            width = settings.width
        self.predictor = nn.Sequential(*layers, nn.Linear(width, 1))
        self.spoken = nn.Embedding(encoding.vocabulary, hidden)
        self.decoder = nn.LSTM(hidden, hidden, batch_first=True)
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.attended = nn.Linear(2 * hidden, hidden, bias=False)
        self.written = nn.Linear(hidden, encoding.vocabulary)
        self.register_buffer("mask", torch.from_numpy(encoding.mask()), persistent=False)
        transitions = encoding.transitions()
        self.register_buffer("transitions", None if transitions is None else torch.from_numpy(transitions), persistent=False)

    def encode(self, tokens: Tensor) -> Tensor:
        """The memory (N, S, H) of sequences (N, L): the states of the encoder, each of length 1."""
        steps = self.embedding(tokens).flatten(2).reshape(len(tokens), -1, self.encoder.input_size)
        states, _ = self.encoder(steps)
        return F.normalize(states, dim=-1, eps=_EPSILON)

    def predict(self, memory: Tensor) -> Tensor:
        """The predicted worth (N,), 0 to 1, of memories."""
        read = memory.flatten(1) if self.whole else self._embedded(memory)
        return torch.sigmoid(self.predictor(self.sharpness * read).squeeze(-1))

    def decode(self, memory: Tensor, tokens: Tensor) -> Tensor:
        """Logits (N, L, V) of every token after those before it in `tokens`; minus infinity for illegal ones."""
        begun = F.pad(tokens[:, :-1], (1, 0))
        states, _ = self.decoder(self.spoken(begun), self._first(memory))
        return self._logits(states, memory, begun)

    @torch.no_grad()
    def write(self, memory: Tensor) -> Tensor:
        """The sequences (N, L) that memories stand for: at every place the likeliest legal token."""
        state = self._first(memory)
        token = torch.zeros(len(memory), 1, dtype=torch.long, device=memory.device)
        written = []
        for place in range(self.encoding.length):
            states, state = self.decoder(self.spoken(token), state)
            token = self._logits(states, memory, token, place).argmax(-1)
            written.append(token)
        return torch.cat(written, 1)

    def climbed(self, memory: Tensor, step: Tensor, direction: Tensor) -> Tensor:
        """Memories moved by `step` (N,) along directions (N, S, H), their rows of length 1 again."""
        return F.normalize(memory + step[:, None, None] * direction, dim=-1, eps=_EPSILON)

    def gradient(self, memory: Tensor) -> Tensor:
        """Of the prediction by the memory (N, S, H); the recurrent layers are not differentiated."""
        with torch.enable_grad():
            start = memory.detach().requires_grad_()
            return torch.autograd.grad(self.predict(start).sum(), start)[0]

    def _embedded(self, memory: Tensor) -> Tensor:
        return F.normalize(memory.mean(1), dim=-1, eps=_EPSILON)

    def _first(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        embedded = self._embedded(memory)[None]
        return embedded, embedded

    def _logits(self, states: Tensor, memory: Tensor, before: Tensor, place: int | None = None) -> Tensor:
        scores = self.sharpness * self.query(states) @ memory.transpose(1, 2)
        context = torch.softmax(scores, -1) @ memory
        logits: Tensor = self.written(torch.tanh(self.attended(torch.cat([context, states], -1))))
        legal = self.mask if place is None else self.mask[place]
        if self.transitions is not None:
            legal = legal & self.transitions[before]
        return logits.masked_fill(~legal, float("-inf"))


def restored(encoding: TokenEncoding, settings: ControllerSettings, weights: Mapping[str, Tensor]) -> Controller:
    """The controller with these weights, in evaluation mode. Global random states stay as they are."""
    with seeded(0):
        controller = Controller(encoding, settings)
    controller.load_state_dict(weights)
    return controller.eval()


@dataclass(frozen=True)
class Fit:
    """What a training came to: shares of 0..1, NaN where nothing was held out.

    epochs: passes over the data. reconstructed: training sequences that are written again without a mistake. pairs, held_out_pairs:
    of sequences, that are predicted in the right order, among those trained on and those held out. held_out_tokens: right ones.
    """

    epochs: int
    reconstructed: float
    pairs: float
    held_out_pairs: float
    held_out_tokens: float


class Trained:
    """Controllers of one encoding, which predict together.

    They predict the order of architectures, not their values: what they were told was brought to 0..1 first.
    """

    def __init__(self, members: Sequence[Controller], fits: Sequence[Fit]) -> None:
        self.members, self.fits = list(members), list(fits)

    @property
    def encoding(self) -> TokenEncoding:
        """Of the sequences."""
        return self.members[0].encoding

    @torch.no_grad()
    def predict(self, tokens: Tokens) -> Floats:
        """The mean prediction (N,) of sequences (N, L)."""
        given = torch.from_numpy(tokens)
        with _judging(self.members):
            told = [member.predict(member.encode(given)) for member in self.members]
        return torch.stack(told).mean(0).double().numpy()

    @torch.no_grad()
    def climb(
        self, tokens: Tokens, steps: Sequence[float], direction: Direction = "gradient", *, relative: bool, seed: int
    ) -> Tokens:
        """The sequences (members * steps * N, L) found by a step of every length from every one of `tokens`, step by step.

        direction: of the prediction's gradient; or a random one of the same length, row by row. relative: the mean row of a
        gradient is brought to length 1 first.
        """
        given = torch.from_numpy(tokens)
        found = []
        with _judging(self.members):
            for number, member in enumerate(self.members):
                memory = member.encode(given)
                gradient = member.gradient(memory)
                rows = gradient.norm(dim=-1, keepdim=True)
                if relative:
                    rows = rows / rows.mean(1, keepdim=True).clamp_min(_EPSILON)
                if direction == "random":
                    draws = generator(derive(seed, "directions"), number).standard_normal(gradient.shape)
                    gradient = torch.from_numpy(draws).to(memory)
                way = F.normalize(gradient, dim=-1, eps=_EPSILON) * rows
                lengths = torch.tensor(steps, dtype=memory.dtype).repeat_interleave(len(tokens))
                many = [part.repeat(len(steps), 1, 1) for part in (memory, way)]
                found.append(member.write(member.climbed(many[0], lengths, many[1])))
        return torch.cat(found).numpy()

    def rebuilt(self, tokens: Tokens) -> Tokens:
        """The sequences as the first controller writes them again."""
        with torch.no_grad(), _judging(self.members):
            member = self.members[0]
            return member.write(member.encode(torch.from_numpy(tokens))).numpy()


def learned(
    space: Space,
    architectures: Sequence[Architecture],
    values: Sequence[float],
    settings: ControllerSettings,
    seed: int,
    *,
    start: Sequence[Controller] = (),
) -> Trained:
    """Controllers that have learned what these architectures of a space are worth (finite values, higher is better).

    start: controllers from whose weights to go on; they may have been trained on what is held out now. Raises UserError where there
    are fewer than two architectures.
    """
    if len(architectures) < 2:
        raise UserError(f"a controller learns from two judged architectures or more, but {len(architectures)} came; judge more")
    encoding, tokens = encoding_of(space), written(space, architectures)
    targets = targets_of(np.asarray(values, np.float64), settings.targets)
    found = train(encoding, tokens, targets, settings, seed, start=start)
    if not settings.pseudo:
        return found
    rng = generator(seed, "pseudo")
    others = written(space, [sample(space, rng) for _ in range(settings.pseudo)])
    whole, told = np.concatenate([tokens, others]), np.concatenate([targets, found.predict(others)])
    counted = np.ones(len(whole))
    counted[: len(tokens)] = max(1.0, len(others) / len(tokens))
    return train(encoding, whole, told, settings, seed, start=found.members, weights=counted, unjudged=len(others))


def written(space: Space, architectures: Sequence[Architecture]) -> Tokens:
    """The sequences (N, L) of architectures."""
    return np.array([tokens_of(space, architecture) for architecture in architectures], np.int64)


def targets_of(values: Floats, kind: Literal["ranks", "min-max"]) -> Floats:
    """Values (N,) brought to 0..1: their mean rank, or their place between least and most. All equal ones become 0.5."""
    if kind == "ranks":
        from scipy.stats import rankdata

        ranks = rankdata(values) - 1
        return ranks / (len(values) - 1) if len(values) > 1 and np.ptp(values) > _EPSILON else np.full(len(values), 0.5)
    low, high = np.quantile(values, 0.01), values.max()
    if high - low < _EPSILON:
        low = values.min()
    return np.clip((values - low) / (high - low), 0, 1) if high - low > _EPSILON else np.full(len(values), 0.5)


def train(
    encoding: TokenEncoding,
    tokens: Tokens,
    targets: Floats,
    settings: ControllerSettings,
    seed: int,
    *,
    start: Sequence[Controller] = (),
    weights: Floats | None = None,
    unjudged: int = 0,
) -> Trained:
    """Controllers trained on sequences (N, L) and targets (N,) in 0..1.

    start: controllers from whose weights to go on, one a member. weights: (N,) how much the prediction of a sequence counts; what
    is 0 is reconstructed only. unjudged: so many of the last have targets that nobody measured: they are not held out, and no fit
    is told of them. Equal arguments give equal weights, on one thread; what is held out follows from seed and judged ones alone.
    """
    judged = len(tokens) - unjudged
    members, fits = [], []
    for number in range(settings.members):
        with seeded(derive(seed, "controller", number)):
            controller = Controller(encoding, settings)
            if start:
                controller.load_state_dict(start[number].state_dict())
            fits.append(_trained(controller, tokens, targets, settings, derive(seed, "training", number), weights, judged))
        members.append(controller.eval())
    return Trained(members, fits)


def _trained(
    controller: Controller, tokens: Tokens, targets: Floats, settings: ControllerSettings, seed: int, weights: Floats | None,
    judged: int,
) -> Fit:  # fmt: skip
    rng = generator(seed, "batches")
    order = rng.permutation(judged)
    held = int(settings.held_out * judged)
    held = held if held >= _LEAST_HELD_OUT else 0
    aside, learned_from = order[:held], order[held:]
    kept = np.concatenate([learned_from, np.arange(judged, len(tokens))])
    size = max(1, min(settings.batch, ceil(len(kept) / 5)))
    parameters = list(controller.parameters())
    optimizer = torch.optim.Adam(parameters, settings.rate, weight_decay=settings.decay, fused=True)
    wanted = torch.from_numpy(targets).float()
    counted = torch.ones(len(tokens)) if weights is None else torch.from_numpy(weights).float()
    best, best_state, since, epoch = float("inf"), None, 0, 0
    for epoch in range(1, settings.epochs + 1):
        controller.train()
        shuffled = rng.permutation(kept)
        sequences = tokens[shuffled]
        if settings.augment:
            sequences = controller.encoding.swapped(sequences, rng)
        given, places = torch.from_numpy(np.ascontiguousarray(sequences)), torch.from_numpy(shuffled)
        for first in range(0, len(kept), size):
            part = slice(first, first + size)
            loss = _loss(controller, given[part], wanted[places[part]], counted[places[part]], settings)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, settings.clip)
            optimizer.step()
        if not (held and settings.patience) or epoch % _CHECKED_EVERY:
            continue
        controller.eval()
        with torch.no_grad():
            value = float(_loss(controller, torch.from_numpy(tokens[aside]), wanted[aside], counted[aside], settings))
        if value < best:
            best, since = value, 0
            best_state = {name: tensor.clone() for name, tensor in controller.state_dict().items()}
        else:
            since += _CHECKED_EVERY
            if since >= settings.patience:
                break
    if best_state is not None:
        controller.load_state_dict(best_state)
    return _fit(controller.eval(), tokens[learned_from], targets[learned_from], tokens[aside], targets[aside], epoch)


def _loss(controller: Controller, tokens: Tensor, wanted: Tensor, counted: Tensor, settings: ControllerSettings) -> Tensor:
    memory = controller.encode(tokens)
    told = controller.predict(memory)
    wrong = (counted * (told - wanted) ** 2).sum() / counted.sum().clamp_min(_EPSILON)
    logits = controller.decode(memory, tokens)
    unclear = F.cross_entropy(logits.flatten(0, 1), tokens.flatten())
    loss = settings.trade_off * wrong + (1 - settings.trade_off) * unclear
    if settings.ranking:
        gaps, right = told[:, None] - told[None, :], wanted[:, None] - wanted[None, :]
        both = (counted[:, None] * counted[None, :]) * (right > 0)
        unsure = F.softplus(-10 * gaps)
        loss = loss + settings.ranking * (both * unsure).sum() / both.sum().clamp_min(_EPSILON)
    return loss


@torch.no_grad()
def _fit(controller: Controller, tokens: Tokens, targets: Floats, aside: Tokens, aside_targets: Floats, epochs: int) -> Fit:
    def told(some: Tokens) -> tuple[Floats, Tokens]:
        memory = controller.encode(torch.from_numpy(some))
        return controller.predict(memory).double().numpy(), controller.write(memory).numpy()

    values, rebuilt = told(tokens)
    reconstructed = float((rebuilt == tokens).all(1).mean())
    if not len(aside):
        return Fit(epochs, reconstructed, ordered_pairs(values, targets), float("nan"), float("nan"))
    others, written = told(aside)
    return Fit(
        epochs,
        reconstructed,
        ordered_pairs(values, targets),
        ordered_pairs(others, aside_targets),
        float((written == aside).mean()),
    )


def ordered_pairs(told: Floats, wanted: Floats) -> float:
    """The share of pairs with different `wanted` (N,) that `told` orders alike; NaN where there are none. Ties count a half."""
    from scipy.stats import kendalltau

    if len(wanted) < 2 or np.ptp(wanted) == 0:
        return float("nan")
    if np.ptp(told) == 0:
        return 0.5
    # Kendall's tau-b divides right less wrong pairs by the root of untied ones by `told` times those by `wanted`; here, by these.
    tau = kendalltau(told, wanted).statistic
    return float(1 + tau * sqrt(_untied(told) / _untied(wanted))) / 2


def _untied(values: Floats) -> int:
    """How many pairs are different."""
    counts = np.unique(values, return_counts=True)[1]
    return int(len(values) * (len(values) - 1) - (counts * (counts - 1)).sum()) // 2


@contextmanager
def _judging(members: Sequence[Controller]) -> Iterator[None]:
    """In evaluation mode, as trained controllers are."""
    modes = [member.training for member in members]
    try:
        for member in members:
            member.eval()
        yield
    finally:
        for member, mode in zip(members, modes, strict=True):
            member.train(mode)
