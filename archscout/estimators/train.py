"""Real training, for any number of epochs; the value is the accuracy on the validation split.

The network is built and initialised from the seed, trained by `nn.train.fit`, and evaluated. Nothing is shared between
architectures, so the value is a function of (settings, problem, architecture, seed), to the last bit at one thread of a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import blake2b
from pathlib import Path
from time import perf_counter

from archscout.core.architecture import Architecture
from archscout.core.errors import UnknownName, UserError, suggestion
from archscout.core.evidence import Estimate
from archscout.core.problem import Problem
from archscout.core.seeds import derive
from archscout.nn.measure import counts
from archscout.nn.train import Recipe, fit, new_network

_MOST_SHARE = 4.0


@dataclass(frozen=True)
class Train:
    """Trains the network and measures its validation accuracy; the fidelity is the number of epochs.

    epochs: passes over the training images; may be a fraction. recipe: how (a `Recipe`, or its fields that differ).
    work: where more than 0, the epochs are those of a network of this work (`OperationGraph.work`), and every other one gets as
    many as cost the same, up to four times as many.
    keep: a folder in which the trained weights are kept (`kept` says where); a training that was cut goes on from there, and an
    estimate whose weights lie there is not computed again. It has no influence on the value. Empty: nothing is kept.
    """

    epochs: float = 1.0
    recipe: Recipe = field(default_factory=Recipe)
    keep: str = ""
    work: float = 0.0

    def __post_init__(self) -> None:
        if not self.epochs > 0:
            raise UserError(f"a training takes more than 0 epochs, but {self.epochs} came; give for instance epochs=0.5")
        if isinstance(self.recipe, Mapping):
            known = [known.name for known in fields(Recipe)]
            for name in self.recipe:
                if name not in known:
                    raise UnknownName(f"a recipe has no '{name}'; {suggestion(name, known)}")
            object.__setattr__(self, "recipe", Recipe(**self.recipe))

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The validation accuracy (0..1). Raises NotFinite where the loss is no number."""
        start = perf_counter()
        auxiliary = self.recipe.auxiliary > 0
        network = new_network(problem.space, architecture, problem.task, seed=seed, auxiliary=auxiliary).to(problem.device)
        checkpoint = self.kept(problem, architecture, seed) if self.keep else None
        epochs = self.epochs * self._share(problem, architecture)
        result = fit(network, problem.task, self.recipe, seed=derive(seed, "fit"), epochs=epochs, checkpoint=checkpoint)
        metrics = {
            "valid_correct": float(result.valid_correct.sum()),
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
