"""The steps of meta-training a network on few-shot episodes (`nn.course`, `nn.episode_recipe`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from archscout.core.problem import Task
from archscout.core.seeds import derive
from archscout.nn.adapting import Found, Tensors, accuracies, learnable, meta_gradients
from archscout.nn.course import Marks
from archscout.nn.episode_recipe import EpisodeRecipe
from archscout.nn.episodes import EpisodeSplit
from archscout.nn.threads import Threads


class EpisodeCourse:
    """One meta-training: the mean meta-gradient of a batch of episodes moves the weights."""

    checks_every_pass = False

    def __init__(self, network: nn.Module, task: Task, recipe: EpisodeRecipe, seed: int) -> None:
        self.network, self.recipe, self.seed = network, recipe, seed
        self.data: EpisodeSplit = task.splits["train"]
        self.valid: EpisodeSplit = task.splits["valid"]
        self.device = next(network.parameters()).device
        self.net = learnable(network)
        self.weights = dict(network.named_parameters())
        self.batch = recipe.batch_for(len(self.data))
        self.per_epoch = max(1, len(self.data) // self.batch)
        self.items = self.batch / 3  # an evaluation adapts too, and so costs as much as training, not a third of it
        self.optimizer = recipe.optimizer_of(list(network.parameters()))
        self.threads = Threads()

    def shared(self, lanes: int) -> AbstractContextManager[object]:
        """Every lane, a thread, takes episodes of a step."""
        self.threads = Threads(lanes)
        return self.threads

    def move(self, step: int, progress: float) -> Tensor:
        """One batch of episodes."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * self.recipe.rate(progress)
        seeds = [derive(self.seed, "training", step, number) for number in range(self.batch)]

        def some(seeds: Sequence[int]) -> Found:
            episodes = [self.data.episode(seed).to(self.device) for seed in seeds]
            return meta_gradients(self.net, self.weights, episodes, self.recipe.train_inner)

        return follow(self.optimizer, self.weights, self.threads.map(some, self.threads.shares(seeds)), self.recipe.clip)

    trial = move

    def marks(self) -> Marks:
        """The share of the queries of each validation episode that is classified right."""
        return accuracies(self.net, self.weights, self.valid, self.recipe.test_inner, self.threads)

    def checked(self, value: float) -> None:
        """A validation changes nothing."""

    def mended(self) -> bool:
        """There is nothing to go back to."""
        return False

    def end(self, value: float) -> bool:
        """The weights are those of the last step."""
        return False

    def tensors(self) -> dict[str, Tensor]:
        """Nothing more."""
        return {}

    def facts(self) -> dict[str, Any]:
        """Nothing more."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """There is nothing to take up."""


def follow(optimizer: torch.optim.Optimizer, weights: Tensors, found: Sequence[Found], clip: float) -> Tensor:
    """One step along the mean of the gradients of several episodes; gives the mean of their losses.

    A weight that is in no episode's network keeps no gradient, so that the optimizer leaves it alone, its momentum included.
    """
    losses = torch.cat([loss for _, loss in found])
    for name, weight in weights.items():
        shares = [gradients[name] for gradients, _ in found if name in gradients]
        weight.grad = sum(shares[1:], shares[0]) / len(losses) if shares else None
    if clip:
        nn.utils.clip_grad_value_(weights.values(), clip)
    optimizer.step()
    return losses.mean()
