"""The steps of training a language model: windows in order, with the hidden state carried on (`nn.course`, `nn.text_recipe`)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from archscout.core.problem import Task
from archscout.core.seeds import derive, seeded
from archscout.nn.checkpoint import under
from archscout.nn.course import Marks
from archscout.nn.language import outputs_and_logits
from archscout.nn.marks import marks_of
from archscout.nn.recurrent import Outputs, State, WeightDropped
from archscout.nn.text_recipe import TextRecipe
from archscout.nn.tokens import TokenSplit, TokenStream

_MOST_MENDINGS = 5


class TextCourse:
    """One training of a language model.

    The weights of the best validation are kept. They are the result, and where a training that lost itself in numbers that are none
    goes on from, at most five times.
    """

    def __init__(self, network: nn.Module, task: Task, recipe: TextRecipe, seed: int) -> None:
        self.network, self.recipe, self.seed = network, recipe, seed
        data: TokenSplit = task.splits["train"]
        self.valid: TokenSplit = task.splits["valid"]
        self.stream = TokenStream(data, recipe.batch_for(len(data)), seed=seed, varied=recipe.varied)
        self.length = data.length
        if recipe.frequencies:
            begin_with_frequencies(network, data)
        self.batch, self.per_epoch, self.items = self.stream.columns, self.stream.per_pass, float(self.stream.columns)
        self.checks_every_pass = recipe.nonmono > 0
        self.optimizer = recipe.optimizer_of(network)
        self.device = next(network.parameters()).device
        self.caller = _Caller(network)
        self.droppable = network.recurrent_weights() if recipe.weight_drop and isinstance(network, WeightDropped) else {}
        self.states: list[State] | None = None
        self.averaged: nn.Module | None = None
        self.averaged_steps, self.mendings = 0, 0
        self.checks: list[float] = []
        self.best: dict[str, Tensor] | None = None

    def shared(self, lanes: int) -> AbstractContextManager[object]:
        """Steps are not shared: threads inside operations do, and masks stay a function of the step."""
        return nullcontext()

    def move(self, step: int, progress: float) -> Tensor:
        """One window of every column."""
        x, y, begins = self.stream.at(step)
        if begins:
            self.states = None
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * self.recipe.rate(progress) * x.shape[1] / self.length
        self.network.train()
        with seeded(derive(self.seed, "noise", step)):
            loss = self._descend(x.to(self.device), y.to(self.device))
        if self.averaged is not None:
            self.averaged_steps += 1
            _average(self.averaged, self.network, 1 / self.averaged_steps)
        return loss

    trial = move

    def _descend(self, x: Tensor, y: Tensor) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        logits, outputs = self._called(x)
        loss = F.cross_entropy(logits.float().flatten(0, 1), y.flatten())
        penalised = loss
        if outputs is not None:
            raw, dropped, ends = outputs
            self.states = [tuple(state.detach() for state in layer) for layer in ends]
            if self.recipe.alpha:
                penalised = penalised + self.recipe.alpha * dropped.square().mean()
            if self.recipe.beta and x.shape[1] > 1:
                penalised = penalised + self.recipe.beta * (raw[:, 1:] - raw[:, :-1]).square().mean()
        penalised.backward()  # type: ignore[no-untyped-call]
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.optimizer.step()
        return loss.detach()

    def _called(self, x: Tensor) -> tuple[Tensor, Outputs | None]:
        """The network on a window, with some of its recurrent weights dropped where the recipe wants it."""
        if not self.droppable:
            return outputs_and_logits(self.network, x, self.states, self.recipe.precision)
        weights = dict(self.network.named_parameters())
        thinned = {}
        for name, part in self.droppable.items():
            dropped = F.dropout(weights[name], self.recipe.weight_drop)
            thinned[f"network.{name}"] = torch.where(part.to(self.device), dropped, weights[name])
        found: tuple[Tensor, Outputs | None] = functional_call(self.caller, thinned, (x, self.states, self.recipe.precision))
        return found

    def marks(self) -> Marks:
        """The mean log-likelihood of the tokens of each validation window."""
        return marks_of(self.averaged or self.network, self.valid, self.recipe)

    def checked(self, value: float) -> None:
        """Keep the best weights; begin to average where the recipe's `nonmono` says so."""
        if self.best is None or value > max(self.checks):
            self.best = {name: tensor.clone() for name, tensor in (self.averaged or self.network).state_dict().items()}
        if self.averaged is None and stalls(self.checks, value, self.recipe.nonmono):
            self.averaged, self.averaged_steps = copy.deepcopy(self.network), 0
        self.checks.append(value)

    def mended(self) -> bool:
        """Back to the weights of the best validation, with an optimizer and a hidden state without memory."""
        self.mendings += 1
        if self.best is None or self.mendings > _MOST_MENDINGS:
            return False
        self.network.load_state_dict(self.best)
        if self.averaged is not None:
            self.averaged.load_state_dict(self.best)
            self.averaged_steps = 0
        self.optimizer = self.recipe.optimizer_of(self.network)
        self.states = None
        return True

    def end(self, value: float) -> bool:
        """The weights of the best validation; else the averaged ones."""
        if self.best is not None and not value >= max(self.checks):
            self.network.load_state_dict(self.best)
            self.averaged = None
            return True
        if self.averaged is not None:
            self.network.load_state_dict(self.averaged.state_dict())
            self.averaged = None
        return False

    def tensors(self) -> dict[str, Tensor]:
        """The average, the best weights, the hidden state."""
        found = {f"states.{layer}.{n}": t for layer, state in enumerate(self.states or []) for n, t in enumerate(state)}
        if self.averaged is not None:
            found |= {f"average.{name}": tensor for name, tensor in self.averaged.state_dict().items()}
        return found | {f"best.{name}": tensor for name, tensor in (self.best or {}).items()}

    def facts(self) -> dict[str, Any]:
        """The validations so far, and the counts."""
        return {"checks": self.checks, "averaged_steps": self.averaged_steps, "mendings": self.mendings}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Take up what `tensors` and `facts` said."""
        self.checks, self.averaged_steps, self.mendings = list(facts["checks"]), facts["averaged_steps"], facts["mendings"]
        average, best = under("average.", tensors), under("best.", tensors)
        if average:
            self.averaged = copy.deepcopy(self.network)
            self.averaged.load_state_dict(average)
        self.best = {name: tensor.to(self.device) for name, tensor in best.items()} or None
        layers: dict[int, dict[int, Tensor]] = {}
        for name, tensor in under("states.", tensors).items():
            layer, number = map(int, name.split("."))
            layers.setdefault(layer, {})[number] = tensor.to(self.device)
        self.states = [tuple(layers[n][k] for k in sorted(layers[n])) for n in sorted(layers)] or None


@torch.no_grad()
def begin_with_frequencies(network: nn.Module, data: TokenSplit) -> None:
    """Set the decoder's bias, in a network that calls it `bias`, to the logarithms of the tokens' frequencies (each plus one)."""
    bias = dict(network.named_parameters()).get("bias")
    if bias is not None and bias.ndim == 1:
        counts = torch.from_numpy(np.bincount(data.ids, minlength=len(bias)) + 1).double()
        bias.copy_((counts / counts.sum()).log())


class _Caller(nn.Module):
    """A network's outputs and logits as a module's forward, which is what `functional_call` calls."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor, states: Sequence[State] | None, precision: str) -> tuple[Tensor, Outputs | None]:
        """As `outputs_and_logits`."""
        return outputs_and_logits(self.network, tokens, states, precision)


def stalls(checks: Sequence[float], value: float, nonmono: int) -> bool:
    """Whether a validation is worse than the best of those more than `nonmono` validations ago; never where `nonmono` is 0."""
    return nonmono > 0 and len(checks) > nonmono and value < max(checks[:-nonmono])


@torch.no_grad()
def _average(averaged: nn.Module, network: nn.Module, share: float) -> None:
    """Move the average by this share of the way to the network's weights."""
    for mean, value in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
        mean.lerp_(value, share) if mean.is_floating_point() else mean.copy_(value)
