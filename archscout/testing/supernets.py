"""What every supernet must keep, as checks that run over all spaces of the catalogue that have one, and over outsiders' spaces.

    from archscout.testing.supernets import CHECKS

    @pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
    def test_mine(check):
        check(MySpace(channels=4), image_task())  # or token_task(), for a space of language models

Hand in a space of small networks; a check raises AssertionError with what was wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from archscout.core.architecture import Architecture
from archscout.core.draw import legal, sample
from archscout.core.operations import OperationGraph
from archscout.core.problem import LANGUAGE_MODELLING, Task
from archscout.core.protocols import GraphSpace, NarrowedSpace, Space
from archscout.core.seeds import generator
from archscout.nn import gates as gating
from archscout.nn.dropping import factors
from archscout.nn.measure import counts
from archscout.nn.supernet import GraphSupernet, Supernet, supernet_of

_BATCH = 6
_STEP = 1e-7
"""Of finite differences, in float64: so small that no unit of a ReLU changes sides."""


def derives_what_it_opens(space: Space, task: Task) -> None:
    """The gates of an architecture are valid, at most one a row, and speak for that architecture alone."""
    net = _supernet(space, task)
    for architecture in _drawn(space, 10):
        gates = net.gates(architecture)
        assert gates.shape == net.gate_shape
        binary = bool(((gates == 0) | (gates == 1)).all())
        assert binary and bool((gates.sum(1) <= 1).all()), f"rows should be one-hot or nought, but {gates} came"
        assert not bool(gates[~net.valid].any()), "an entry that is no option should stay shut"
        found = net.derive(gates)
        assert found == architecture, f"the gates of {architecture} should speak for it, but for {found} they do"
        noisy = gates + 0.3 * torch.rand(net.gate_shape, generator=torch.Generator().manual_seed(0)) * net.valid
        assert net.derive(noisy) == architecture, "weaker gates beside them should change nothing"


def a_path_is_the_architecture(space: Space, task: Task) -> None:
    """One-hot gates, all terms or those on the path alone, and the extracted network give the same logits.

    Nor do shut gates add anything to the mixture of a few architectures.
    """
    net = _supernet(space, task).double()
    x, _ = _batch(task)
    drawn = _drawn(space, 2)
    mixture = torch.stack([net.gates(architecture).double() for architecture in drawn]).mean(0)
    assert torch.allclose(net(x, mixture), net(x, mixture, execute="all"), atol=1e-9), "shut gates should add nothing"
    for architecture in drawn:
        gates = net.gates(architecture).double()
        path = net(x, gates)
        assert torch.allclose(path, net(x, gates, execute="all"), atol=1e-9), "shut gates should add nothing"
        child = net.extract(architecture)
        assert torch.allclose(path, child(x), atol=1e-9), f"the network extracted for {architecture} should give its path's logits"
        assert {name for name, _ in child.named_parameters()} == set(net.active_parameters(architecture))
        counted = sum(parameter.numel() for parameter in child.parameters())
        assert net.cost(architecture)["params"] == counted, f"{counted} parameters are there"


def a_path_has_the_layers_of_the_space(space: Space, task: Task) -> None:
    """But for normalisations, the path has the layers that the space writes for the architecture, in their order.

    A `NarrowedSpace` says of which architectures that holds; it has to be right in both directions, and some have to be among ten.
    Of a space without graphs, path and network have equally many parameters and MACs.
    """
    net = _supernet(space, task)
    if not isinstance(net, GraphSupernet):
        for architecture in _drawn(space, 10):
            count = {name: value for name, value in counts(space, architecture, task).items() if name in ("params", "macs")}
            assert net.cost(architecture) == count, f"the path of {architecture} should cost {count}, as its network does"
        return
    assert isinstance(space, GraphSpace)
    compared = 0
    for architecture in _drawn(space, 5):
        wanted, found = _layers(space.operations(architecture, task).live()), _layers(net.path(architecture))
        if not isinstance(space, NarrowedSpace) or space.path_is_exact(architecture):
            compared += 1
            assert found == wanted, f"{architecture} should have the layers {wanted}, but its path has {found}"
        else:
            assert found != wanted, f"the path of {architecture} should differ from its network, as the space says"
    assert compared, "of ten architectures, some should have an exact path"


def off_the_path_nothing_moves(space: Space, task: Task) -> None:
    """A step of SGD with momentum and decay on one path leaves the weights of no other part touched, momentum included."""
    net = _supernet(space, task)
    x, y = _batch(task, torch.float32)
    first, second = _two_paths(net, space)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    _step(net, optimizer, x, y, second)
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    momentum = {name: optimizer.state[p]["momentum_buffer"].clone() for name, p in net.named_parameters() if p in optimizer.state}
    _step(net, optimizer, x, y, first)
    active = net.active_parameters(first)
    for name, parameter in net.named_parameters():
        if name in active:
            assert parameter.grad is not None, f"'{name}' lies on the path and should have a gradient"
        else:
            assert parameter.grad is None, f"'{name}' lies off the path and should have no gradient"
            assert torch.equal(before[name], parameter), f"'{name}' lies off the path and should not move"
            if name in momentum:
                assert torch.equal(momentum[name], optimizer.state[parameter]["momentum_buffer"])
    assert any(not torch.equal(before[name], parameter) for name, parameter in net.named_parameters()), "the path should move"


def gradients_follow_the_gates(space: Space, task: Task) -> None:
    """First and second derivatives agree with differences: those of the loss, and those of the squared norm of its gradient."""
    net = _supernet(space, task).double()
    x, y = _batch(task)
    draw = torch.Generator().manual_seed(1)
    gates = gating.softmax(torch.randn(net.gate_shape, generator=draw), net.valid).double().requires_grad_()
    direction = torch.randn(net.gate_shape, generator=draw).double() * net.valid
    weights = {name: parameter.detach().clone().requires_grad_() for name, parameter in net.named_parameters()}

    def loss(at: Tensor) -> Tensor:
        return _loss(net(x, at, weights=weights, execute="all"), y)

    def norm(at: Tensor) -> Tensor:
        found = torch.autograd.grad(loss(at), list(weights.values()), create_graph=True, allow_unused=True)
        return torch.stack([gradient.square().sum() for gradient in found if gradient is not None]).sum()

    for name, function, allowed in (("loss", loss, 1e-4), ("squared norm of its gradient", norm, 1e-3)):
        [gradient] = torch.autograd.grad(function(gates), gates)
        exact = float((gradient * direction).sum().detach())
        there, back = (float(function((gates + sign * _STEP * direction).detach()).detach()) for sign in (1, -1))
        differences = (there - back) / (2 * _STEP)
        assert abs(exact - differences) <= allowed * (abs(exact) + abs(differences) + 1e-3), (
            f"the derivative of the {name} along a direction of gates should be {differences}, but it is {exact}"
        )


def a_call_changes_nothing(space: Space, task: Task) -> None:
    """Calls in either mode leave weights, buffers and the global random state as they were, and repeat themselves."""
    net = _supernet(space, task)
    x, _ = _batch(task, torch.float32)
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    noise = torch.random.get_rng_state()
    mixture = gating.softmax(torch.zeros(net.gate_shape), net.valid)
    first, second = net(x, mixture), net(x, mixture, execute="all")
    assert torch.equal(first, net(x, mixture)) and torch.allclose(first, second, atol=1e-4)
    assert torch.equal(noise, torch.random.get_rng_state()), "the global random state should stay as it was"
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, state[name]), f"'{name}' should not change by a call"


def weights_follow_from_the_seed(space: Space, task: Task) -> None:
    """`reset` gives the weights of a fresh supernet of that seed; another seed gives others."""
    net, other = _supernet(space, task, 3), _supernet(space, task, 4)
    assert not all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
    other.reset(3)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def recalibration_is_that_of_a_network_alone(space: Space, task: Task) -> None:
    """Statistics collected for a path give the logits of the extracted network whose own were collected on the same batches.

    Recurrent networks keep no statistics: each step of a sequence has its own.
    """
    net = _supernet(space, task).double()
    if not isinstance(net, GraphSupernet):
        return
    architecture = _drawn(space, 1)[-1]
    batches = [_batch(task, seed=seed)[0] for seed in range(3)]
    child = net.extract(architecture)
    for layer in child.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
    with torch.no_grad():
        for x in batches:
            child(x)
    statistics = net.recalibrated(net.gates(architecture).double(), batches)
    found = net(batches[0], net.gates(architecture).double(), statistics=statistics)
    assert torch.allclose(found, child.eval()(batches[0]), atol=1e-9), "the recalibrated path and network should agree"


def dropped_paths_are_those_of_a_network_alone(space: Space, task: Task) -> None:
    """Drop-path on a path gives the logits of the extracted network with the same drops; factors of 1 are none at all.

    A supernet that has nothing to drop passes.
    """
    net = _supernet(space, task).double()
    if not isinstance(net, GraphSupernet) or not net.depths:
        return
    assert all(0 < depth <= 1 for depth in net.depths), f"depths lie above 0 and at most at 1, but {net.depths} came"
    x, _ = _batch(task)
    kept = factors([0.5] * len(net.depths), len(x), 0).double()
    columns = {net.graph.operations[position].name: column for column, position in enumerate(net.graph.paths)}
    differ = False
    for architecture in _drawn(space, 3):
        gates, child = net.gates(architecture).double(), net.extract(architecture)
        own = [columns[child.graph.operations[position].name] for position in child.graph.paths]
        path = net(x, gates, kept=kept)
        assert torch.allclose(path, child.learn(x, kept[:, own])[0], atol=1e-9), (
            f"{architecture} should drop what its network drops"
        )
        assert torch.allclose(path, net(x, gates, execute="all", kept=kept), atol=1e-9)
        assert torch.equal(net(x, gates), net(x, gates, kept=torch.ones_like(kept))), "factors of 1 should change nothing"
        differ |= not torch.allclose(path, net(x, gates), atol=1e-6)
    assert differ, "of four architectures, some should have paths to drop"


def memory_layout_does_not_matter(space: Space, task: Task) -> None:
    """Two steps of a mixture in float32: finite gradients, and equal losses, from images in either memory layout."""
    if task.kind == LANGUAGE_MODELLING:
        return
    losses = []
    for layout in (torch.contiguous_format, torch.channels_last):
        net = _supernet(space, task)
        x, y = _batch(task, torch.float32)
        logits = torch.zeros(net.gate_shape, requires_grad=True)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        for _ in range(2):
            optimizer.zero_grad()
            loss = _loss(net(x.contiguous(memory_format=layout), gating.softmax(logits, net.valid)), y)
            loss.backward()  # type: ignore[no-untyped-call]
            assert logits.grad is not None and bool(logits.grad.isfinite().all()), "the gradient of the gates should be finite"
            assert all(bool(p.grad.isfinite().all()) for p in net.parameters() if p.grad is not None)
            optimizer.step()
            losses.append(float(loss.detach()))
    assert abs(losses[1] - losses[3]) < 1e-3, f"the second step's loss should not depend on the layout, but {losses} came"


CHECKS: Mapping[str, Callable[[Space, Task], None]] = {
    check.__name__: check
    for check in (
        derives_what_it_opens,
        a_path_is_the_architecture,
        a_path_has_the_layers_of_the_space,
        off_the_path_nothing_moves,
        gradients_follow_the_gates,
        a_call_changes_nothing,
        weights_follow_from_the_seed,
        recalibration_is_that_of_a_network_alone,
        dropped_paths_are_those_of_a_network_alone,
        memory_layout_does_not_matter,
    )
}


def _supernet(space: Space, task: Task, seed: int = 0) -> Supernet:
    return supernet_of(space, task, seed=seed)


def _drawn(space: Space, count: int) -> list[Architecture]:
    rng = generator(0, "supernets", space.name)
    first = legal(space, [0] * len(space.decisions))  # often the architecture in which nothing leads anywhere
    return [*([] if first is None else [first]), *(sample(space, rng) for _ in range(count))]


def _two_paths(net: Supernet, space: Space) -> tuple[Architecture, Architecture]:
    """Two architectures, of which the second uses weights that the first does not; any two where all use all weights."""
    first, *others = _drawn(space, 20)
    for second in others:
        if net.active_parameters(second) - net.active_parameters(first):
            return first, second
    every = {name for name, _ in net.named_parameters()}
    assert net.active_parameters(first) == every, "two of 20 architectures should differ in the weights that they use, or use all"
    return first, others[0]


def _batch(task: Task, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    if task.kind == LANGUAGE_MODELLING:
        x, y = torch.randint(task.classes, (2, _BATCH, *task.shape), generator=draw)
        return x, y
    return torch.randn(_BATCH, *task.shape, generator=draw).to(dtype), torch.randint(task.classes, (_BATCH,), generator=draw)


def _loss(logits: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, -2), y.flatten())


def _step(net: Supernet, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, architecture: Architecture) -> None:
    optimizer.zero_grad(set_to_none=True)
    _loss(net(x, net.gates(architecture)), y).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _layers(graph: OperationGraph) -> list[tuple[object, ...]]:
    kinds = ("conv", "linear", "max_pool", "avg_pool")
    return [
        (found.kind, graph.input_shape(found), found.shape, found.kernel, found.stride, found.dilation, found.groups)
        for found in graph.operations
        if found.kind in kinds
    ]
