"""How thoroughly networks are looked at; no torch is loaded here."""

from __future__ import annotations

from dataclasses import dataclass

from archscout.core.errors import UserError


@dataclass(frozen=True)
class Study:
    """How networks are trained and looked at.

    epochs: of each training; 0 for networks as they are drawn. seeds: trainings of each, from different starts.
    train_images, valid_images: that are used at most.
    grid: points of a surface along each direction, from -reach to reach; 0 for none. pairs: of directions. images: of a surface.
    noise_grid: the same for the noise of gradients; 0 for none. batches, batch: minibatches of so many images at each point.
    """

    epochs: int = 5
    seeds: int = 1
    train_images: int = 2048
    valid_images: int = 1024
    grid: int = 9
    reach: float = 1.0
    pairs: int = 1
    images: int = 512
    noise_grid: int = 5
    batches: int = 10
    batch: int = 64

    def __post_init__(self) -> None:
        least = {
            "epochs": 0, "seeds": 1, "train_images": 20, "valid_images": 20, "pairs": 1, "images": 1, "batches": 2, "batch": 1,
        }  # fmt: skip
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise UserError(f"the study's {name} is at least {bound}, but {getattr(self, name)} came")
        for name in ("grid", "noise_grid"):
            if getattr(self, name) != 0 and (getattr(self, name) < 3 or getattr(self, name) % 2 == 0):
                raise UserError(
                    f"the study's {name} is odd and at least 3, so that the network itself is its middle, or 0 for none, "
                    f"but {getattr(self, name)} came"
                )
        if not 0 < self.reach < 100:
            raise UserError(f"the study's reach is above 0, but {self.reach} came")

    def axis(self) -> list[float]:
        """The points of a surface along a direction."""
        return _points(self.grid, self.reach)

    def noise_axis(self) -> list[float]:
        """The same of the noise."""
        return _points(self.noise_grid, self.reach)


def _points(count: int, reach: float) -> list[float]:
    middle = count // 2
    return [reach * (place - middle) / max(middle, 1) for place in range(count)]
