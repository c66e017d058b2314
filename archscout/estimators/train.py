"""Real training, for any number of epochs; the value is that on the validation split: accuracy, or minus the log of the perplexity.

The network is built and initialised from the seed, trained by `nn.train.fit`, and evaluated. Nothing is shared between
architectures, so the value is a function of (settings, problem, architecture, seed), to the last bit at one thread of a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from hashlib import blake2b
from pathlib import Path
from time import perf_counter
from typing import Any, cast

from archscout.core.architecture import Architecture
from archscout.core.errors import UnknownName, UserError, suggestion
from archscout.core.evidence import Estimate
from archscout.core.problem import FEW_SHOT, IMAGE_CLASSIFICATION, LANGUAGE_MODELLING, Problem, TaskKind
from archscout.core.seeds import derive
from archscout.nn.course import AnyRecipe
from archscout.nn.language import standard_error
from archscout.nn.measure import counts
from archscout.nn.train import EpisodeRecipe, Recipe, TextRecipe, TrainResult, default_recipe, fit, new_network

_MOST_SHARE = 4.0


@dataclass(frozen=True)
class Train:
    """Trains the network and measures its value on the validation split; the fidelity is the number of epochs.

    The value is the accuracy, or for a text the mean log-likelihood of a token, which is minus the log of the perplexity. Of
    few-shot episodes, on which networks are meta-trained, it is the accuracy after adapting to each.
    epochs: passes over the training split; may be a fraction. recipe: how (a `Recipe`, `TextRecipe` or `EpisodeRecipe`, or its
    fields that differ); none for the default of the task's kind.
    work: where more than 0, the epochs are those of a network of this work (`OperationGraph.work`), and every other one gets as
    many as cost the same, up to four times as many.
    keep: a folder in which the trained weights are kept (`kept` says where); a training that was cut goes on from there, and an
    estimate whose weights lie there is not computed again. It has no influence on the value. Empty: nothing is kept.
    """

    epochs: float = 1.0
    recipe: AnyRecipe | None = None
    keep: str = ""
    work: float = 0.0

    def __post_init__(self) -> None:
        if not self.epochs > 0:
            raise UserError(f"a training takes more than 0 epochs, but {self.epochs} came; give for instance epochs=0.5")
        if isinstance(cast(Any, self.recipe), Mapping):  # as the command line and the store give it
            object.__setattr__(self, "recipe", _recipe_of(cast(Any, self.recipe)))

    @property
    def kinds(self) -> tuple[TaskKind, ...]:
        """All."""
        return (IMAGE_CLASSIFICATION, LANGUAGE_MODELLING, FEW_SHOT)

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The value on the validation split. Raises NotFinite where the loss is no number, UserError for another kind's recipe."""
        start = perf_counter()
        recipe = self.recipe or default_recipe(problem.task.kind)
        auxiliary = isinstance(recipe, Recipe) and recipe.auxiliary > 0
        network = new_network(problem.space, architecture, problem.task, seed=seed, auxiliary=auxiliary).to(problem.device)
        checkpoint = self.kept(problem, architecture, seed) if self.keep else None
        epochs = self.epochs * self._share(problem, architecture)
        result = fit(network, problem.task, recipe, seed=derive(seed, "fit"), epochs=epochs, checkpoint=checkpoint)
        metrics = {
            **_measured(problem.task.kind, result),
            "train_loss": result.history[-1].train_loss,
            "epochs": result.epochs_done,
            "steps": float(result.steps),
            "seconds": result.seconds,
        }
        return Estimate(result.valid_value, perf_counter() - start, metrics)

    def _share(self, problem: Problem, architecture: Architecture) -> float:
        """How many times the epochs this network gets."""
        if not self.work:
            return 1.0
        return min(_MOST_SHARE, self.work / counts(problem.space, architecture, problem.task)["work"])

    def kept(self, problem: Problem, architecture: Architecture, seed: int) -> Path:
        """Where the weights of this estimate are kept; `nn.checkpoint.weights` reads them."""
        settings = asdict(replace(self, keep=""))
        text = repr((sorted(settings.items(), key=str), problem.task.fingerprint, str(architecture), seed))
        return Path(self.keep) / f"{architecture.space}-{blake2b(text.encode(), digest_size=8).hexdigest()}.safetensors"


def _recipe_of(settings: Mapping[str, object]) -> AnyRecipe:
    """The first of the recipes of images, texts and episodes that has all these settings. Raises UnknownName."""
    makes: tuple[type[AnyRecipe], ...] = (Recipe, TextRecipe, EpisodeRecipe)
    known = [{field.name for field in fields(made)} for made in makes]
    for made, names in zip(makes, known, strict=True):
        if names >= set(settings):
            return made(**settings)  # type: ignore[arg-type]
    name = next((name for name in settings if not any(name in names for names in known)), next(iter(settings)))
    raise UnknownName(f"a recipe has no '{name}'; {suggestion(name, set().union(*known))}")


def _measured(kind: TaskKind, result: TrainResult) -> dict[str, float]:
    """What else the validation says: the images that were right, or the perplexity, and the standard error of the value."""
    if kind == IMAGE_CLASSIFICATION:
        return {"valid_correct": float(result.valid_marks.sum())}
    found = {"perplexity": kind.measured(result.valid_value)} if kind == LANGUAGE_MODELLING else {}
    return {**found, "valid_error": standard_error(result.valid_marks)}
