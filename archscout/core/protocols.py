"""The contracts of archscout, and the optional capabilities of spaces and judges.

Plug-ins are frozen dataclasses: fields are the settings, the docstring is the help text.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from archscout.core.architecture import Architecture, Decision
from archscout.core.evidence import Episode, Estimate, Observation
from archscout.core.highway import HighwayNetwork
from archscout.core.moves import Learning, Lecture, Search
from archscout.core.operations import OperationGraph
from archscout.core.pictures import Pictures, TaskForm
from archscout.core.problem import Problem, Task, TaskKind
from archscout.core.signals import SignalTask
from archscout.core.tables import Column, Recorded, SealedFile, TableFacts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from archscout.core.database import MetaDatabase
    from archscout.core.encoding import TokenEncoding
    from archscout.core.topology import Topology
    from archscout.core.vertices import VertexEncoding
    from archscout.core.wiring import Wiring

Snapshot = Mapping[str, Any]


@runtime_checkable
class Space(Protocol):
    """What may be built."""

    @property
    def name(self) -> str:
        """The space's name, as in the text form of its architectures."""
        ...

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The numbered questions."""
        ...

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """The architecture with these answers, checked and normalised (choices without effect become 0)."""
        ...

    def build(self, architecture: Architecture, task: Task) -> nn.Module:
        """A freshly initialised network: images (B, C, H, W) -> logits (B, K); tokens (B, L) -> logits (B, L, K)."""
        ...


@runtime_checkable
class ServesKinds(Protocol):
    """A space or judge that states the kinds of task it serves; without it, image classification alone (`core.kinds`)."""

    @property
    def kinds(self) -> tuple[TaskKind, ...]:
        """The kinds of task it serves."""
        ...


@runtime_checkable
class GraphSpace(Protocol):
    """A space that states its networks as operation graphs, which are counted, drawn and scored without building modules."""

    def operations(self, architecture: Architecture, task: Task) -> OperationGraph:
        """The whole network as a graph of primitive operations."""
        ...


@runtime_checkable
class PicturedSpace(Protocol):
    """A space whose cell can be drawn, though its networks are no operation graphs."""

    def cell(self, architecture: Architecture) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """The nodes of the cell, each after those that it reads: what it is, and their positions. The last one is the output."""
        ...


@runtime_checkable
class AuxiliarySpace(Protocol):
    """A space whose networks can be given an auxiliary head: a second classifier, half-way, whose loss helps the training."""

    def with_auxiliary(self, architecture: Architecture, task: Task) -> OperationGraph:
        """The whole network as `operations` gives it, then the head; the mark `core.operations.AUXILIARY` is its logits.

        Raises UserError where the images are too small for the head.
        """
        ...


@runtime_checkable
class CountedSpace(Protocol):
    """A space without operation graphs that counts its networks by arithmetic; others are built on the meta device and run."""

    def counts(self, architecture: Architecture, task: Task) -> Mapping[str, int]:
        """`params`, and `macs` for one input of the task."""
        ...


@runtime_checkable
class PublishedSpace(Protocol):
    """A space whose architectures have a published text form."""

    def genotype(self, architecture: Architecture) -> str:
        """The published form."""
        ...

    def from_genotype(self, text: str) -> Architecture | None:
        """The architecture that a published form or name stands for, or None where `text` is not of this space."""
        ...


@runtime_checkable
class SignatureSpace(Protocol):
    """A space that knows which of its architectures compute the same function."""

    def signature(self, architecture: Architecture) -> str:
        """Equal for isomorphic architectures."""
        ...


@runtime_checkable
class TokenSpace(Protocol):
    """A space that is written as tokens in a way of its own; without it `core.encoding` writes a token per decision."""

    @property
    def encoding(self) -> TokenEncoding:
        """The length and the tokens."""
        ...

    def tokens(self, architecture: Architecture) -> tuple[int, ...]:
        """The tokens of an architecture."""
        ...

    def from_tokens(self, tokens: Sequence[int]) -> Architecture | None:
        """The architecture that legal tokens stand for, normalised; None where the space refuses it."""
        ...


@runtime_checkable
class VertexSpace(Protocol):
    """A space that is written as a graph of typed vertices in a way of its own; without it `core.vertices` writes a chain."""

    def vertex_encoding(self, graph: str) -> VertexEncoding:
        """The types and the edges. graph: "dataflow", or "reference" for the edges of MetaD2A's released code."""
        ...

    def vertices(self, architecture: Architecture) -> tuple[int, ...]:
        """The types of the vertices of an architecture."""
        ...

    def from_vertices(self, types: Sequence[int]) -> Architecture | None:
        """The architecture that legal types stand for, normalised; None where the space refuses it."""
        ...


@runtime_checkable
class CellSpace(Protocol):
    """A space whose networks repeat cells, which can be looked at as graphs of their own."""

    @property
    def wiring(self) -> Wiring:
        """How a cell may be connected."""
        ...

    def topologies(self, architecture: Architecture) -> Mapping[str, Topology]:
        """The cells by name: `normal` and `reduce`, or the one `cell`."""
        ...

    def of_topologies(self, cells: Mapping[str, Topology]) -> Architecture:
        """The architecture of such cells. Raises UserError where the space does not hold it."""
        ...


@runtime_checkable
class DrawnSpace(Protocol):
    """A space with its own way to draw and mutate; without it `core.draw` treats all decisions alike."""

    def sample(self, rng: Any) -> Architecture:
        """A random architecture."""
        ...

    def mutate(self, architecture: Architecture, rng: Any) -> Architecture:
        """A legal architecture that differs from the given one."""
        ...


@runtime_checkable
class PartialSpace(Protocol):
    """A space that refuses some tuples of choices: `architecture` raises UserError for them."""

    def smallest(self) -> Architecture:
        """The legal architecture of fewest parameters and MACs."""
        ...


@runtime_checkable
class ListedSpace(Protocol):
    """A space that goes through its architectures itself, since most tuples of choices are none."""

    def every(self) -> Iterator[Architecture]:
        """All architectures, each once. Raises UserError where they are too many."""
        ...


@runtime_checkable
class SharedSpace(Protocol):
    """A space that can be folded into one network, of which every architecture is a part (`nn.supernet`).

    Which part is said by gates, a matrix (G, O): a row per question of the network, a column per option. Rows need not be the
    space's decisions: in DARTS an architecture chooses two inputs of a node, and the network has a row for every possible input.
    """

    @property
    def gates(self) -> tuple[Decision, ...]:
        """The rows and their options; an option that has no term in the network stands for nothing at all."""
        ...

    def supernet(self, task: Task) -> OperationGraph | HighwayNetwork:
        """The folded network: a graph whose `mix` operations read gates, or a recurrent network, which has gates for every edge."""
        ...

    def opened(self, architecture: Architecture) -> tuple[tuple[int, int], ...]:
        """The (row, column) gates of an architecture, at most one a row."""
        ...

    def derived(self, weights: NDArray[np.float64]) -> Architecture:
        """The architecture that weights (G, O), not negative, speak for; `derived(one at opened(a), else 0)` is a."""
        ...

    def sized(self, channels: int = 0, depth: int = 0) -> Space:
        """The same space with networks of the width and depth of a supernet; 0 for those with which it is usually searched.

        The rows of gates stay; what has no meaning in the space is ignored.
        """
        ...


@runtime_checkable
class SplitSpace(Protocol):
    """A `SharedSpace` whose supernet can let a part of the channels go by the operations (PC-DARTS, arXiv 1907.05737)."""

    def partial_supernet(self, task: Task, partial: int) -> OperationGraph:
        """The folded network in which the operations of an edge see one of `partial` channels; with 1, `supernet`.

        Raises UserError where it has too few channels for that.
        """
        ...


@runtime_checkable
class ScaledSpace(Protocol):
    """A space whose networks all have one size, a setting, which a plan may choose so that they can be trained in time."""

    def fitted(self, task: Task, limits: Mapping[str, float]) -> Space:
        """The same space with networks as large as `limits` (`params`, `macs`, `work`) allow, at most as large as they are here."""
        ...


@runtime_checkable
class NarrowedSpace(Protocol):
    """A `SharedSpace` where some paths of the supernet have layers of other sizes than the networks that they stand for."""

    def path_is_exact(self, architecture: Architecture) -> bool:
        """Whether the architecture's path has the layers of its network, normalisations apart."""
        ...


@runtime_checkable
class Estimator(Protocol):
    """How good is it? A pure function of (settings, problem, architecture, seed)."""

    def estimate(self, problem: Problem, architecture: Architecture, *, seed: int) -> Estimate:
        """The judgement; raises where there is none (the driver makes a typed failure of it)."""
        ...


@runtime_checkable
class RefusingEstimator(Protocol):
    """A judge that knows beforehand of which architectures it can say nothing, so that they cost no part of the budget."""

    def refusal(self, problem: Problem, architecture: Architecture) -> str | None:
        """Why there is no judgement of this architecture (one clause), or None where there is one."""
        ...


@runtime_checkable
class KeepingEstimator(Protocol):
    """A judge that leaves a file of each judgement, such as trained weights, in a folder of the run.

    On another machine `keep` is a folder there, and the file is brought back to where it belongs.
    """

    @property
    def keep(self) -> str:
        """The folder; empty where nothing is kept."""
        ...

    def kept(self, problem: Problem, architecture: Architecture, seed: int) -> Path:
        """The file of a judgement; its name does not depend on the folder."""
        ...


@runtime_checkable
class SignalJudge(Protocol):
    """A judge that has networks regress signals, which a report can show."""

    @property
    def signals(self) -> str:
        """The name of a shipped signal task, or the text of another one."""
        ...

    def shown(self, task: Task, device: str) -> tuple[SignalTask, Sequence[Tensor]]:
        """The signals, and for a task of images the targets (B, C, H, W) of each stage; none for other tasks."""
        ...


@runtime_checkable
class Table(Protocol):
    """A recorded benchmark: rows are architectures of one space. Test values are not here but in `benchmarks.verdict`."""

    @property
    def name(self) -> str:
        """The table's name."""
        ...

    @property
    def facts(self) -> TableFacts:
        """What it says of itself; reads no numbers."""
        ...

    def objective(self, dataset: str, epochs: int | None = None) -> Recorded:
        """The column that a search may see. Raises UnknownName, naming what there is."""
        ...

    def row(self, space: Space, architecture: Architecture) -> int | None:
        """The row of an architecture of the table's space, or None where the table does not hold it."""
        ...

    def architecture(self, space: Space, row: int) -> Architecture:
        """The architecture of a row."""
        ...

    def metrics(self, row: int) -> Mapping[str, float]:
        """The recorded facts of a row that `facts.metrics` names."""
        ...

    def extra(self, name: str) -> NDArray[Any]:
        """One of the arrays that `facts.extras` names. Raises UnknownName."""
        ...


@runtime_checkable
class KeyedTable(Protocol):
    """A table whose benchmark has keys of its own for architectures, such as hashes."""

    def row_of_key(self, key: str) -> int | None:
        """The row of a key, or None where `key` is none."""
        ...


@runtime_checkable
class SealedTable(Protocol):
    """A table that keeps test values in files of their own; without it the reports are objectives, seen by searches too."""

    def sealed(self, column: Column) -> tuple[SealedFile, ...]:
        """Where a column of `facts.reports` lies, undamaged; a row has the value of the first file that has one."""
        ...


@runtime_checkable
class Learner(Protocol):
    """Learns a judge from evidence about one problem (the evidence may be empty)."""

    def fit(self, problem: Problem, history: Sequence[Observation], *, seed: int) -> Estimator:
        """A fitted judge."""
        ...


@runtime_checkable
class LongLearner(Protocol):
    """A learner that takes its time, and says how far it is."""

    def fitting(
        self, problem: Problem, history: Sequence[Observation], *, seed: int
    ) -> Generator[tuple[int, int], None, Estimator]:
        """As `fit`; yields how many steps are done, and of how many."""
        ...


@runtime_checkable
class MetaLearner(Protocol):
    """Learns, from labelled architectures of several problems, how a judge should be set."""

    @property
    def judge(self) -> str:
        """The name of the estimator whose settings it learns."""
        ...

    @property
    def trials(self) -> int:
        """How many settings it tries."""
        ...

    def learn(self, episodes: Sequence[Episode], *, seed: int) -> Learning:
        """The learning itself, a generator as a search is."""
        ...

    def place_of(self, name: str) -> Path:
        """The file that what was learned would be kept in under a name. Raises UserError for a name that cannot be used."""
        ...

    def keep_lesson(self, settings: Mapping[str, Any], name: str) -> Path:
        """Keep what was learned under a name, in place of what was there; gives the file."""
        ...


@runtime_checkable
class DatabaseLearner(Protocol):
    """Learns networks from a database of tasks, architectures and accuracies, with which others then judge or search."""

    def training(
        self,
        database: MetaDatabase,
        space: Space,
        features: Sequence[Sequence[NDArray[np.float32]]],
        *,
        seed: int,
        state: Snapshot | None = None,
    ) -> Generator[Lecture, None, None]:
        """The training; the last lecture's state holds what was learned.

        features: of each task of the database, for each of its classes, those of its images (n, F). state: of a lecture, from which
        it goes on.
        """
        ...


@runtime_checkable
class EpisodeLearner(Protocol):
    """Learns networks from the episodes of a few-shot task, with which others then adapt to new tasks."""

    def episodes_training(
        self, problem: Problem, *, seed: int, seconds: float | None = None, state: Snapshot | None = None
    ) -> Generator[Lecture, None, None]:
        """The training; the last lecture's state holds what was learned.

        seconds: about so long, measured at the beginning; else as long as the settings say. state: of a lecture, from which it goes
        on, as long as was measured then.
        """
        ...


@runtime_checkable
class Family(Protocol):
    """Image classification tasks of one sort, as many as wanted, from which methods that learn across tasks learn."""

    def draw(self, number: int, form: TaskForm, *, seed: int, data_dir: Path | None = None) -> Pictures:
        """The task of a number; the same for the same arguments.

        data_dir: where published sets lie (also $ARCHSCOUT_DATA). Raises DataError where they cannot be had.
        """
        ...


@runtime_checkable
class SourcedFamily(Protocol):
    """A family that draws from data sets, and says from which."""

    def sources(self, data_dir: Path | None = None) -> Mapping[str, NDArray[np.uint64]]:
        """The name of each, and the sketch of its images (`core.sketch`). Raises DataError where it cannot be had."""
        ...


@runtime_checkable
class Extractor(Protocol):
    """Turns images into features, by which data sets are compared and described."""

    @property
    def width(self) -> int:
        """F, the features of an image."""
        ...

    @property
    def digest(self) -> str:
        """Names the weights; features of different ones cannot be compared."""
        ...

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Images (N, H, W, C) of one data set -> (N, F). Raises UserError or RunError where there are no weights."""
        ...


@runtime_checkable
class Strategy(Protocol):
    """What next? A generator that yields moves and receives what has landed."""

    def search(self, problem: Problem, *, seed: int, state: Snapshot | None = None) -> Search:
        """The search itself; its return value is the answer, or None for the best observation."""
        ...


@runtime_checkable
class RemarkingStrategy(Protocol):
    """A strategy that has something to say of its own answer."""

    def remarks(self, metrics: Mapping[str, float]) -> Sequence[str]:
        """Sentences for the report, from the numbers of its last `Progress`."""
        ...


@runtime_checkable
class LoopOwner(Protocol):
    """A strategy that works by itself, on a supernet of the space or with a model of its own, in place of asking a judge."""

    @property
    def owns_loop(self) -> bool:
        """Whether it does, with these settings."""
        ...

    def paced(self, problem: Problem, seconds: float, *, seed: int) -> Mapping[str, Any]:
        """The settings with which it comes to its end within about `seconds` here; takes a few steps to find out."""
        ...

    def memory(self, problem: Problem) -> int:
        """About how many bytes a step takes at its peak, the weights left out; 0 where that is not worth a word."""
        ...
