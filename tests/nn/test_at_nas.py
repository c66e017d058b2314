"""AT-NAS: its training, its evolution, its adaptation to a new task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from archscout import catalogue
from archscout.core.draw import mutate, sample
from archscout.core.errors import NotFinite, UserError
from archscout.core.problem import Problem
from archscout.core.seeds import generator
from archscout.nn import at_nas
from archscout.nn.at_nas import AcrossTasks, MetaNetwork, MetaTraining, adapt, crossed, evolved, folded, paced
from archscout.nn.episode_course import EpisodeCourse
from archscout.nn.episode_recipe import EpisodeRecipe
from archscout.nn.episodes import EpisodeSplit
from archscout.nn.recipe import new_network
from archscout.nn.threads import Threads
from archscout.testing.tasks import episode_task

SPACE = catalogue.make("spaces", "few-shot", channels=4, nodes=2)
PROBLEM = Problem(SPACE, episode_task())
SHORT = AcrossTasks(
    iterations=6, warm_up=0.5, focus=0.0, population=6, parents=2, crossed=2, mutated=1, every=1, tasks=2, final_tasks=2, batch=2,
    paths=2,
)  # fmt: skip


@pytest.mark.parametrize("method", ["fomaml", "anil"])
def test_a_single_path_is_meta_trained_as_a_network_alone(method: str) -> None:
    """With a population of one and no warm-up, the weights go exactly the way of a plain meta-training of that path."""
    recipe = EpisodeRecipe(method=method, batch=2, inner_rate=0.2, inner_steps=2, statistics="batch")
    settings = replace(
        SHORT, method=method, inner_rate=0.2, inner_steps=2, warm_up=0.0, population=1, parents=1, crossed=0, mutated=0, paths=1,
        every=100, statistics="batch",
    )  # fmt: skip
    training = MetaTraining(PROBLEM, settings, 3)
    [architecture] = training.population
    network = new_network(SPACE, architecture, PROBLEM.task, seed=0)
    network.load_state_dict(training.network.net.extract(architecture).state_dict())
    course = EpisodeCourse(network, PROBLEM.task, recipe, 3)
    for step in range(settings.iterations):
        training.learn()
        course.move(step, step / settings.iterations)
    weights = training.network.plain()
    for name, weight in network.named_parameters():
        assert torch.allclose(weight, weights[name], atol=1e-6), name


def test_the_last_iterations_are_the_fittest_paths_alone() -> None:
    settings = replace(SHORT, iterations=9, warm_up=0.2, focus=0.5)
    training = MetaTraining(PROBLEM, settings, 0)
    while training.step < settings.together:
        training.learn()
        if training.breeds():
            training.breed()
    assert not training.finished and training.generation > 0
    resumed = MetaTraining(PROBLEM, settings, 0)
    resumed.restore(training.state())
    before = {name: weight.clone() for name, weight in training.network.plain().items()}
    assert settings.rate_at(settings.together - 1) < settings.rate_at(settings.together) == 1
    training.learn()
    moved = {name for name, weight in training.network.plain().items() if not torch.equal(weight, before[name])}
    assert moved == training.network.path(training.population[0]).names
    population, generation = list(training.population), training.generation
    while not training.done:
        training.learn()
        assert not training.breeds()
    assert training.finish() == population[0] and training.population == population == training.ranked()
    assert training.generation == generation, "the answer is judged once"
    while not resumed.done:
        resumed.learn()
    assert resumed.population == population
    assert all(torch.equal(weight, resumed.network.plain()[name]) for name, weight in training.network.plain().items())


def test_weights_that_no_path_touches_stay() -> None:
    settings = replace(SHORT, warm_up=0.0, population=1, parents=1, crossed=0, mutated=0)
    training = MetaTraining(PROBLEM, settings, 0)
    before = {name: weight.clone() for name, weight in training.network.plain().items()}
    training.learn()
    training.learn()
    moved = {name for name, weight in training.network.plain().items() if not torch.equal(weight, before[name])}
    assert moved == training.network.path(training.population[0]).names


def test_the_warm_up_draws_from_the_whole_space_and_then_from_the_population() -> None:
    training = MetaTraining(PROBLEM, replace(SHORT, evolve=True), 0)
    early = {training._drawn(step, number) for step in range(20) for number in range(4)}
    assert len(early) > 40
    training.step = 3
    assert training.warm and {training._drawn(step, number) for step in range(20) for number in range(4)} == set(
        training.population
    )
    never = MetaTraining(PROBLEM, replace(SHORT, evolve=False), 0)
    never.step = 5
    assert not never.warm and not never.breeds()


def test_children_are_legal_and_from_where_they_should_be() -> None:
    space, rng = catalogue.make("spaces", "few-shot"), np.random.default_rng(0)
    one, other = sample(space, rng), sample(space, rng)
    seen = set()
    for _ in range(2000):
        child = crossed(space, one, other, rng)
        assert child == space.architecture(child.choices)
        nodes = [slice(first, first + 3) for first in range(0, 24, 3)]  # sources, lower, higher
        mine = [child.choices[node] == one.choices[node] for node in nodes]
        theirs = [child.choices[node] == other.choices[node] for node in nodes]
        assert all(a or b for a, b in zip(mine, theirs, strict=True)), "a node comes whole from one of the parents"
        seen.add(child)
        changed = mutate(space, child, rng)
        assert changed != child and changed == space.architecture(changed.choices)
    assert len(seen) == 2**8, "every mixture of nodes is possible"


def test_a_generation_keeps_the_best_and_has_no_twins() -> None:
    rng = generator(0, "parents")
    parents = [sample(SPACE, rng) for _ in range(3)]
    settings = AcrossTasks(population=20, parents=3, crossed=8, mutated=5)
    found = evolved(SPACE, parents, settings, rng)
    assert found[:3] == parents and len(set(found)) == len(found) == 20


def test_the_fittest_never_gets_worse_on_the_same_tasks_and_weights() -> None:
    training, best = MetaTraining(PROBLEM, replace(SHORT, population=4, crossed=1), 0), -1.0
    for generation in range(3):
        training.generation = 0  # the same episodes for every generation
        training.judge(4)
        fittest = max(training.fitness[architecture] for architecture in training.population)
        assert fittest >= best
        best = fittest
        rng = generator(1, generation)
        training.population = evolved(SPACE, training.ranked()[:2], training.settings, rng)


def test_all_of_a_generation_meet_the_same_episodes() -> None:
    training = MetaTraining(PROBLEM, SHORT, 0)
    training.judge(3)
    first = dict(training.fitness)
    training.judge(3, list(reversed(training.population)))
    assert training.fitness == first
    training.generation += 1
    training.judge(3)
    assert training.fitness != first


def test_what_is_known_of_fitness_is_of_the_last_generation() -> None:
    """A snapshot holds the population alone, so whoever goes on from it must know no more and no less."""
    training = MetaTraining(PROBLEM, SHORT, 0)
    training.breed()
    parents = set(training.population)
    training.breed()
    assert set(training.fitness) == parents


@pytest.mark.parametrize("fitness", ["pre", "gain"])
def test_other_fitness(fitness: str) -> None:
    training = MetaTraining(PROBLEM, SHORT, 0)
    training.judge(4)
    post = dict(training.fitness)
    training.settings = replace(SHORT, fitness="pre")
    training.judge(4)
    pre = dict(training.fitness)
    training.settings = replace(SHORT, fitness=fitness)
    training.judge(4)
    for architecture, value in training.fitness.items():
        wanted = pre[architecture] if fitness == "pre" else post[architecture] - pre[architecture]
        assert value == pytest.approx(wanted)


def test_threads_change_nothing() -> None:
    one = MetaTraining(PROBLEM, SHORT, 0)
    with Threads(3) as threads:
        several = MetaTraining(PROBLEM, SHORT, 0, threads)
        for training in (one, several):
            for _ in range(3):
                training.learn()
            training.breed()
    assert one.population == several.population and one.fitness == several.fitness
    for name, weight in one.network.plain().items():
        assert torch.equal(weight, several.network.plain()[name]), name


def test_it_learns_to_adapt() -> None:
    """After some steps the paths tell classes apart that were never seen, better than before."""
    task = episode_task(5, 1, 3, side=14, classes=(60, 20))
    settings = AcrossTasks(
        iterations=60, focus=0.0, evolve=False, population=3, parents=1, crossed=0, mutated=0, batch=8, paths=2, tasks=40,
        method="anil", inner_rate=0.4, inner_steps=5, learning_rate=3e-3,
    )  # fmt: skip
    training = MetaTraining(Problem(replace(SPACE, channels=8), task), settings, 0)
    training.judge(24)
    before = np.mean(list(training.fitness.values()))
    while not training.done:
        training.learn()
    training.judge(24)
    after = np.mean(list(training.fitness.values()))
    assert after > before + 0.08, (before, after)


def test_a_loss_that_is_no_number_is_told_of() -> None:
    training = MetaTraining(PROBLEM, replace(SHORT, method="fomaml", inner_rate=1e30, inner_steps=3), 0)
    with pytest.raises(NotFinite, match=r"a smaller inner_rate than 1e\+30"):
        training.learn()


@pytest.mark.parametrize("shots", [1, 3])
def test_the_support_alone_makes_episodes(shots: int) -> None:
    """With several shots each is left out in turn; with one, shifted copies are asked for."""
    split = EpisodeSplit(PROBLEM.task.splits["train"].pool, 3, min(shots, 2), 1, 4)
    one = split.episode(0)
    found = list(folded(one.support, one.support_labels, 0))
    if shots == 1:
        assert len(found) == 4
        for fold in found:
            assert torch.equal(fold.support, one.support) and not torch.equal(fold.queries, one.support)
            assert fold.query_labels.tolist() == one.support_labels.tolist()
    else:
        assert len(found) == 2
        for fold in found:
            assert len(fold.queries) == 3 and fold.query_labels.tolist() == [0, 1, 2]
            every = torch.cat([fold.support, fold.queries]).flatten(1)
            assert {tuple(row) for row in every.tolist()} == {tuple(row) for row in one.support.flatten(1).tolist()}


def test_adapting_looks_at_nothing_but_the_support_and_ends_alike() -> None:
    training = MetaTraining(PROBLEM, SHORT, 0)
    one = PROBLEM.task.splits["valid"].episode(1)
    inner = training.settings.test_inner
    first, again = (
        adapt(training.network, SPACE, training.population, one.support, one.support_labels, inner, seed=5, rounds=1, size=3)
        for _ in range(2)
    )
    assert first.architecture == again.architecture and 0 <= first.score <= 1
    net = training.network.path(first.architecture)
    for name in net.names:
        assert torch.equal(first.weights[name], again.weights[name])
    logits = net(first.weights, one.support)
    assert (logits.argmax(1) == one.support_labels).float().mean() > 0.6, "it fits the support"


@pytest.mark.parametrize(("gained", "lost", "leaves"), [(4, 0, True), (3, 0, False), (12, 4, True), (10, 4, False), (0, 0, False)])
def test_the_fittest_path_is_left_only_for_one_that_is_clearly_better(
    monkeypatch: pytest.MonkeyPatch, gained: int, lost: int, leaves: bool
) -> None:
    training = MetaTraining(PROBLEM, SHORT, 0)
    fittest, other = training.population[0], training.population[2]
    right = torch.zeros(20, dtype=torch.bool)
    rows = {fittest: right.clone(), other: right.clone()}
    rows[fittest][:lost], rows[other][lost : lost + gained] = True, True
    paths = {id(training.network.path(one)): row for one, row in rows.items()}
    monkeypatch.setattr(at_nas, "right_answers", lambda net, *rest: [paths.get(id(net), right)])
    episode = PROBLEM.task.splits["valid"].episode(1)
    given = (training.network, SPACE, training.population, episode.support, episode.support_labels, training.settings.test_inner)
    found = adapt(*given, seed=0, rounds=1, size=3)
    assert found.architecture == (other if leaves else fittest)
    assert found.score == (gained if leaves else lost) / 20


@pytest.mark.parametrize(("iterations", "focus"), [(6, 0.0), (6, 0.5), (2, 0.0), (1, 0.5)])
def test_paced(iterations: int, focus: float) -> None:
    settings = replace(SHORT, iterations=iterations, focus=focus)
    with Threads() as threads:
        found, step = paced(PROBLEM, settings, 30.0, 0, threads)
    assert 0 < step * found["iterations"] < 30 and found["tasks"] == SHORT.tasks and found["iterations"] > 6
    with Threads() as threads:
        found, _ = paced(PROBLEM, settings, 1e-6, 0, threads)
    assert found["iterations"] == 1


def test_a_step_of_one_path_is_timed_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = iter((0.04, 0.01))
    monkeypatch.setattr(at_nas, "seconds_of", lambda work: (work(0), next(kinds))[1])
    _, step = paced(PROBLEM, replace(SHORT, focus=0.5), 30.0, 0, Threads())
    assert step == pytest.approx(0.025)


def test_bad_settings() -> None:
    with pytest.raises(UserError, match="at most the population, 20, but 15, 6 and 6 came"):
        AcrossTasks(parents=15)
    with pytest.raises(UserError, match="together at most 1"):
        AcrossTasks(warm_up=0.7, focus=0.4)
    with pytest.raises(UserError, match="fitness is post, pre or gain"):
        AcrossTasks(fitness="best")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="has no supernet"):
        MetaNetwork(Problem(catalogue.make("spaces", "handmade-few-shot"), PROBLEM.task), 0)


def test_an_episode_follows_from_its_seed() -> None:
    split = PROBLEM.task.splits["train"]
    one, same, other = split.episode(4), split.episode(4), split.episode(5)
    assert torch.equal(one.support, same.support) and not torch.equal(one.support, other.support)
    assert one.support_labels.tolist() == [0, 1, 2] and one.query_labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert split.number(1).support.equal(split.number(1).support) and len(split) == split.count


def test_the_order_of_the_classes_is_fresh() -> None:
    """Else a classifier could know classes by heart."""
    pool = PROBLEM.task.splits["train"].pool
    split = EpisodeSplit(pool, 3, 1, 1, 10)
    means = {}
    for seed in range(200):
        for image, label in zip(split.episode(seed).support, range(3), strict=True):
            means.setdefault(label, []).append(float(image.mean()))
    assert np.std([np.mean(found) for found in means.values()]) < 0.1


def test_quarters_make_classes() -> None:
    pool = PROBLEM.task.splits["train"].pool
    plain, turned = (EpisodeSplit(pool, 3, 1, 1, 10, quarters) for quarters in (False, True))
    assert turned.classes == 4 * plain.classes == 48
    known = {tuple(np.rot90(image[..., 0], k).flatten()) for image in pool.images for k in range(4)}
    one = turned.episode(2)
    pixels = ((one.support * pool.std[0] + pool.mean[0]) * 255).round().numpy()
    assert all(tuple(image[0].flatten()) in known for image in pixels)


@pytest.mark.parametrize(
    ("ways", "shots", "queries", "message"),
    [
        (13, 1, 1, "13-way episodes need as many classes, but there are 12"),
        (3, 3, 2, "3 shots and 2 queries need 5 images of every class, but one has 4"),
    ],
)
def test_too_few(ways: int, shots: int, queries: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        EpisodeSplit(PROBLEM.task.splits["train"].pool, ways, shots, queries, 4)
