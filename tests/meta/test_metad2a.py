"""MetaD2A: what it learns from a made-up database, resuming, the model, bad input."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from archscout import catalogue
from archscout.analysis.ranks import correlation
from archscout.core.database import MetaDatabase, TaskName
from archscout.core.draw import sample
from archscout.core.errors import UserError
from archscout.core.seeds import generator
from archscout.core.vertices import of_vertices, vertex_encoding_of, vertices_of
from archscout.meta.metad2a import MetaD2A, correlations
from archscout.nn.checkpoint import under
from archscout.nn.metad2a import Generator, Model, Predictor, Sizes, new_networks
from archscout.nn.sets import drawn
from archscout.store.snapshots import pack, unpack
from archscout.testing.databases import MadeUp
from archscout.testing.meta import same_states

SPACE = catalogue.make("spaces", "nas201")
TASKS = 12
MADE = MadeUp(SPACE, width=5, images=6)
DATABASE, FEATURES = MADE.database(TASKS, 5), [MADE.features(task) for task in range(TASKS)]
SMALL = MetaD2A(code=8, hidden=8, per_class=3, epochs=2, batch=6)


def lectures(learner=SMALL, database=DATABASE, space=SPACE, features=FEATURES, *, seed=0, state=None):
    return list(learner.training(database, space, features, seed=seed, state=state))


def model_of(lecture):
    return Model.from_state(under("learned.", lecture.state))


@pytest.fixture(scope="module")
def model():
    return model_of(lectures()[-1])


def some_types(count, seed=0):
    rng = generator(seed, "some")
    return np.array([vertices_of(SPACE, sample(SPACE, rng)) for _ in range(count)])


def test_published_sizes_have_the_published_parameters():
    """The released code's networks have parts that it never calls, by which ours are smaller."""
    sizes = Sizes(512, hidden=512, graph="reference")
    predictor, writer = (sum(p.numel() for p in part.parameters()) for part in new_networks(sizes.encoding(SPACE), sizes, seed=0))
    unify_vertices, unused = 1024 * 512 + 512, 2 * (512 * 56 + 56)
    assert predictor + unify_vertices + unused == 4_020_361
    messages = 3 * 56 * (7 + 56) + 6 * 56 + (64 * 56 + 56) + 64 * 56
    encoder = 2 * messages + 2 * (112 * 56 + 56) + 2 * (56 * 56 + 56) + (512 * 56 + 56)
    assert writer + encoder == 304_200
    mobile = catalogue.make("spaces", "mobile")
    assert new_networks(vertex_encoding_of(mobile), sizes, seed=0)[0].graph.encoding.count == len(mobile.decisions) + 2


@pytest.mark.slow
def test_it_learns_which_architectures_suit_a_dataset():
    """On new tasks: the order of random cells, and cells that are better than random ones by more than their deviation."""
    made = MadeUp(SPACE)
    tasks, learner = 200, MetaD2A(code=32, per_class=4, epochs=16, batch=10)
    *_, last = learner.training(made.database(tasks, 10), SPACE, [made.features(task) for task in range(tasks)], seed=0)
    model, types = model_of(last), some_types(100)
    cells = [of_vertices(SPACE, row) for row in types.tolist()]
    ranked, blind, lifts = [], [], []
    for task in range(tasks, tasks + 16):
        rng, features = generator(0, "judged", task), made.features(task)
        true = np.array([made.accuracy(task, cell) for cell in cells])
        ranked.append(correlation(model.predict(features, types, rng=rng), true, "spearman"))
        blind.append(correlation(model.predict([0 * rows for rows in features], types, rng=rng), true, "spearman"))
        found = model.generate(features, 40, rng=rng)
        assert found.valid == found.drawn and len(found.types) == 40
        written = np.mean([made.accuracy(task, of_vertices(SPACE, row)) for row in found.types.tolist()])
        lifts.append((written - true.mean()) / true.std())
    assert np.mean(ranked) > 0.9
    assert abs(np.mean(blind)) < 0.35, "what does not depend on the task says nothing here"
    assert np.mean(lifts) > 1


@pytest.mark.parametrize("settings", [{}, {"teacher": "predictor", "pool": 20, "graph": "reference"}, {"held_out": 0.0}])
def test_a_training_goes_on_as_if_it_had_not_been_cut(settings):
    learner = replace(SMALL, **settings)
    whole = lectures(learner)
    assert [lecture.done for lecture in whole] == [1, 2, 3, 4] and {lecture.total for lecture in whole} == {4}
    for place in range(3):
        rest = lectures(learner, state=unpack(pack(whole[place].state)))
        assert [lecture.metrics for lecture in rest] == [lecture.metrics for lecture in whole[place + 1 :]]
        assert same_states(rest[-1].state, whole[-1].state)
    [again] = lectures(learner, state=unpack(pack(whole[-1].state)))
    assert again.done == again.total and same_states(again.state, whole[-1].state)


def test_global_states_stay():
    before = torch.get_rng_state(), torch.get_num_threads()
    lectures()
    assert torch.equal(torch.get_rng_state(), before[0]) and torch.get_num_threads() == before[1]


def test_between_lectures_others_have_their_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for _ in SMALL.training(DATABASE, SPACE, FEATURES, seed=0):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_model_is_what_its_state_says(model):
    again, types = Model.from_state(unpack(pack(model.state()))), some_types(7)
    assert (again.predict(FEATURES[0], types, rng=generator(0)) == model.predict(FEATURES[0], types, rng=generator(0))).all()
    one, other = (each.generate(FEATURES[0], 9, rng=generator(0)) for each in (model, again))
    assert (one.types == other.types).all() and (again.space, again.sizes) == ("nas201", model.sizes)
    assert again.distance(FEATURES[3]) == model.distance(FEATURES[3])


def test_a_prediction_is_the_mean_over_draws_of_the_dataset(model):
    types, rng = some_types(4), generator(5)
    with torch.no_grad():
        codes = [model.predictor.dataset(drawn([FEATURES[0]], 3, rng)) for _ in range(6)]
        graphs = model.predictor.graph(torch.from_numpy(types))
        plain = sum(model.predictor(code.expand(4, -1), graphs) for code in codes) / 6
    found = model.predict(FEATURES[0], types, rng=generator(5), draws=6)
    assert found == pytest.approx(plain.double().numpy() * model.spread + model.mean, abs=1e-5)
    mine = DATABASE.accuracy
    assert mine.min() < model.mean < mine.max() and 0 < model.spread < np.ptp(mine)


def test_generation_is_bounded_and_counts(model):
    found = model.generate(FEATURES[0], 50, rng=generator(0))
    assert len(found.types) == 50 == len(np.unique(found.types, axis=0)) and found.distinct >= 50
    assert all(of_vertices(SPACE, row) is not None for row in found.types.tolist())
    few = model.generate(FEATURES[0], 10**6, rng=generator(0), most_tries=300)
    assert few.drawn == 300 == few.valid and len(few.types) == few.distinct <= 300
    none = model.generate(FEATURES[0], 5, rng=generator(0), most_tries=300, accept=lambda types: False)
    assert (none.drawn, none.valid, none.distinct) == (300, 0, 0) and none.types.shape == (0, 8)
    half = model.generate(FEATURES[0], 5, rng=generator(0), accept=lambda types: types[1] == 2)
    assert len(half.types) == 5 and (half.types[:, 1] == 2).all() and half.valid < half.drawn


def test_distances_grow_away_from_what_was_learned_from(model):
    known = [model.distance(features) for features in FEATURES]
    assert np.mean(np.array(known) < 1) >= 0.9
    far = [rows + 100 * generator(0).standard_normal(5).astype(np.float32) for rows in FEATURES[0]]
    assert model.distance(far) > 3 * max(known)


def test_the_noise_of_training_is_there_and_small():
    sizes = Sizes(5, 8, 8)
    _, writer = new_networks(sizes.encoding(SPACE), sizes, seed=0)
    codes, owner, types = torch.randn(2, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1]), some_types(2)
    plain, noisy, other = (writer(codes, owner, torch.from_numpy(types), rng).types for rng in (None, generator(0), generator(1)))
    assert not torch.equal(plain, noisy) and not torch.equal(noisy, other)
    assert torch.allclose(plain, noisy, atol=0.1)
    mean, log_variance = writer.mean(codes), writer.log_variance(codes)
    normal = torch.distributions.Normal
    wanted = torch.distributions.kl_divergence(normal(mean, (log_variance / 2).exp()), normal(0.0, 1.0)).sum(1)
    assert torch.allclose(writer(codes, owner, torch.from_numpy(types)).divergence, wanted, atol=1e-5)


def test_correlations_within_tasks_are_not_those_of_all():
    told, wanted = [np.array([3.0, 2, 1]), np.array([30.0, 20, 10])], [np.array([1.0, 2, 3]), np.array([30.0, 40, 50])]
    found = correlations(told, wanted)
    assert found["spearman"] == -1 and found["pearson"] > 0.5
    assert correlations([np.ones(2)], [np.ones(2)]) == {}


def test_the_generator_learns_from_the_good_ones_of_each_task():
    from archscout.meta.metad2a import _Course

    many = MADE.database(4, 30)
    course = _Course(replace(SMALL, top=0.1, teacher="records"), many, SPACE, FEATURES[:4], 0)
    course.best = course.predictor.state_dict()
    course._turn()
    for task, targets in enumerate(course.targets):
        mine = {
            vertices_of(SPACE, one): value
            for one, place, value in zip(many.architectures, many.task, many.accuracy, strict=True)
            if place == task
        }
        best = sorted(mine, key=mine.__getitem__)[-3:]
        assert set(map(tuple, targets.tolist())) <= set(best) and len(targets) in (2, 3)
    few = _Course(replace(SMALL, top=0.1, teacher="records"), DATABASE, SPACE, FEATURES, 0)
    few.best = few.predictor.state_dict()
    few._turn()
    assert sum(map(len, few.targets)) == 6


IMPOSSIBLE = {
    "code": 6, "epochs": 0, "held_out": 1.0, "top": 0, "graph": "none", "teacher": "me", "rate": 0, "ranking": -1, "clip": 0,
}  # fmt: skip


@pytest.mark.parametrize("settings", [{name: value} for name, value in IMPOSSIBLE.items()])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError):
        MetaD2A(**settings)


def empty():
    none = np.zeros(0)
    return MetaDatabase("nas201", (TaskName("made-up", 0, 0),), none.astype(np.int32), np.zeros((0, 6), np.uint8), none, none)


@pytest.mark.parametrize(
    ("database", "space", "features", "words"),
    [
        (empty(), SPACE, FEATURES[:1], "empty"),
        (DATABASE, catalogue.make("spaces", "mobile"), FEATURES, "of 'nas201', but the space is 'mobile'"),
        (DATABASE.of_tasks([0]), SPACE, FEATURES[:1], "two tasks or more"),
        (DATABASE, SPACE, FEATURES[:3], "features of 12 tasks are needed, but those of 3"),
        (DATABASE, SPACE, [*FEATURES[:11], [rows[:, :4] for rows in FEATURES[11]]], r"made-up/11@0 needs 5 features an image"),
        (DATABASE, SPACE, [*FEATURES[:11], FEATURES[11][:1]], "two classes or more"),
        (DATABASE, SPACE, [*FEATURES[:11], [rows[:0] for rows in FEATURES[11]]], "class 0 has none"),
        (DATABASE, SPACE, [*FEATURES[:11], [rows * np.nan for rows in FEATURES[11]]], "finite"),
        (DATABASE, SPACE, [[], *FEATURES[1:]], "features are"),
    ],
)
def test_what_cannot_be_learned_from_is_told_of(database, space, features, words):
    with pytest.raises(UserError, match=words):
        lectures(database=database, space=space, features=features)


def test_a_task_without_a_record_is_told_of():
    lonely = replace(DATABASE, tasks=(*DATABASE.tasks, TaskName("made-up", 99, 0)))
    with pytest.raises(UserError, match="made-up/99@0 has none"):
        lectures(database=lonely, features=[*FEATURES, FEATURES[0]])


def test_a_training_of_another_database_is_told_of():
    state = lectures()[0].state
    with pytest.raises(UserError, match="another database"):
        lectures(database=MADE.database(TASKS, 4), state=state)


def test_models_of_other_versions_and_spaces_are_told_of(model):
    state = model.state()
    facts = json.loads(state["facts"])
    for broken in (
        {**state, "facts": json.dumps({**facts, "format": 99})},
        {**state, "facts": json.dumps({**facts, "sizes": {**facts["sizes"], "hidden": 9}})},
        {name: value for name, value in state.items() if name != "facts"},
        {**state, "facts": "{"},
        {name: value for name, value in state.items() if not name.startswith("generator.")},
    ):
        with pytest.raises(UserError, match="train it again"):
            Model.from_state(broken)
    model.check_space(SPACE)
    with pytest.raises(UserError, match="train one for it"):
        model.check_space(catalogue.make("spaces", "mobile"))
    with pytest.raises(UserError, match="needs 5 features"):
        model.predict([np.ones((4, 6), np.float32)] * 2, some_types(2), rng=generator(0))


@pytest.mark.parametrize("graph", ["fixed", "dataflow", "reference"])
def test_other_spaces_are_learned_as_chains(graph):
    space = catalogue.make("spaces", "mobile")
    made = MadeUp(space, width=5, images=6)
    features = [made.features(task) for task in range(3)]
    last = lectures(replace(SMALL, graph=graph, epochs=1), made.database(3, 3), space, features)[-1]
    model = model_of(last)
    assert isinstance(model.predictor, Predictor) and isinstance(model.generator, Generator)
    found = model.generate(features[0], 3, rng=generator(0), most_tries=200, accept=lambda row: of_vertices(space, row) is not None)
    assert found.drawn <= 256 and all(of_vertices(space, row) is not None for row in found.types.tolist())
