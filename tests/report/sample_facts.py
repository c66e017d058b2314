"""A realistic report: ten minutes on Fashion-MNIST."""

import base64
import io

import numpy as np
from PIL import Image

from archscout.analysis.intervals import wilson
from archscout.core.operations import GraphBuilder, OperationGraph
from archscout.report.cells import cells
from archscout.report.drawing import blocks
from archscout.report.facts import (
    Answer,
    Calibration,
    Comparison,
    Contestant,
    Curve,
    Data,
    Errors,
    Mistake,
    Repeat,
    ReportFacts,
    Skipped,
    StageTime,
    Trace,
    Trial,
)

LABELS = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def mobile_graph(repeats: int = 4) -> OperationGraph:
    """Inverted residual blocks in three stages, each block reached by a skip."""
    builder = GraphBuilder((1, 28, 28))
    with builder.scope("stem"):
        x = builder.relu(builder.batch_norm(builder.conv(builder.input, 16, 3)))
    for stage, width in enumerate((24, 48, 96), 1):
        for block in range(1, repeats + 1):
            with builder.scope(f"stage{stage}"), builder.scope(f"block{block}"):
                stride = 2 if block == 1 and stage > 1 else 1
                y = builder.relu(builder.batch_norm(builder.conv(x, width * 3)))
                y = builder.conv(y, width * 3, 5 if stage == 2 else 3, stride=stride, groups=width * 3)
                y = builder.batch_norm(builder.conv(builder.relu(y), width))
                x = builder.add(x, y) if builder.shape(x) == builder.shape(y) else y
    with builder.scope("head"):
        return builder.finish(builder.linear(builder.global_pool(x), 10))


def _png(rng: np.random.Generator) -> str:
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (28, 28), dtype=np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _curve(name: str, role: str, stage: str, epochs: int, top: float, rng: np.random.Generator) -> Curve:
    x = np.arange(1, epochs + 1)
    loss = 0.18 + 0.9 * np.exp(-x / (epochs / 4)) + rng.normal(0, 0.008, epochs)
    valid = top - 0.16 * np.exp(-x / (epochs / 5)) + rng.normal(0, 0.003, epochs)
    return Curve(name, role, stage, tuple(map(float, x)), tuple(map(float, loss)), (None, *map(float, valid[1:])))


def _trials(rng: np.random.Generator) -> list[Trial]:
    found = []
    for _ in range(640):
        macs = float(10 ** rng.uniform(5.7, 7.3))
        score = 120 * np.log10(macs) + rng.normal(0, 30)
        params = int(macs / 60 * rng.uniform(0.5, 2))
        name = "mobile:" + ".".join(map(str, rng.integers(0, 4, 19)))
        found.append(Trial(name, "screen", "naswot", float(score), None, params=params, macs=int(macs), seconds=0.08))
    finalists = [("", "searched")] * 8 + [("ResNet-type", "baseline"), ("MobileNetV2-type", "baseline"), ("random", "random")]
    for rung, keep in ((2.0, 11), (6.0, 4)):
        for place, (name, role) in enumerate(finalists):
            if place < keep or role != "searched":
                params = int(40_000 + 14_000 * place)
                value = float(0.885 + 0.002 * rung + rng.normal(0, 0.006))
                architecture = f"mobile:{place}.2.1.1.0.3" if role == "searched" else f"handmade:{place}.1.4"
                found.append(
                    Trial(
                        architecture,
                        "compare",
                        "train",
                        value,
                        rung,
                        role,
                        name,
                        params,
                        params * 90,
                        0.4 + place * 0.13,
                        seconds=rung * 2.4,
                    )
                )
    found += [
        Trial("mobile:3.3.3.3.3.3", "screen", "naswot", failure="nan", message="the value is nan, but values must be finite")
    ] * 3
    found.append(Trial("mobile:3.2.3.3.3.1", "compare", "train", None, 2.0, failure="timeout", message="took longer than 30 s"))
    return found


def _trace(rng: np.random.Generator) -> Trace:
    values = 700 + 90 * (1 - np.exp(-np.arange(640) / 150)) + rng.normal(0, 20, 640)
    points = tuple((float(n), float(value)) for n, value in enumerate(values, 1))
    best = tuple((n, value) for n, value in points if value == values[: int(n)].max())
    levels = (("ResNet-type", "baseline", 772.0), ("random architecture", "random", 691.0))
    return Trace("naswot", points[::2], best, levels, 640)


def _calibration(judge: str, scale: float, rng: np.random.Generator) -> Calibration:
    roles = ("searched",) * 8 + ("baseline",) * 2 + ("random",)
    points = tuple(
        (f"{role} {place}", role, float(scale * (1 + place) * rng.uniform(0.8, 1.2)), float(0.88 + 0.003 * place))
        for place, role in enumerate(roles)
    )
    return Calibration(judge, points, 0.71, (0.42, 0.93))


def sample() -> ReportFacts:
    """The whole page."""
    rng = np.random.default_rng(0)
    confusion = np.diag([872, 985, 880, 925, 878, 983, 764, 968, 986, 962])
    for i in range(10):
        rest = 1000 - confusion[i, i]
        weights = np.full(10, 0.05)
        weights[[0, 2, 4, 6]] += 3 if i in (0, 2, 4, 6) else 0
        weights[[5, 7, 9]] += 3 if i in (5, 7, 9) else 0
        weights[i] = 0
        confusion[i] += rng.multinomial(rest, weights / weights.sum())
    correct = int(np.trace(confusion))
    graph = mobile_graph()
    names = (
        ("searched no. 1", "searched", "mobile:0.2.1.1.0.3", 0.9262),
        ("ResNet-type", "baseline", "handmade:0.2.4", 0.9171),
        ("searched no. 2", "searched", "mobile:1.2.1.1.0.3", 0.9163),
        ("MobileNetV2-type", "baseline", "handmade:1.3.1", 0.9089),
        ("random architecture", "random", "mobile:2.0.1.3.3.1", 0.8988),
    )
    contestants = tuple(
        Contestant(
            name,
            role,
            text,
            78_000 + 9_000 * place,
            7_100_000 + 800_000 * place,
            0.8 + place * 0.2,
            value,
            wilson(round(value * 5000), 5000),
            epochs=6.0,
            chosen=place == 0,
        )
        for place, (name, role, text, value) in enumerate(names)
    )
    counts = {"train": dict.fromkeys(LABELS, 5500), "valid": dict.fromkeys(LABELS, 500), "test": dict.fromkeys(LABELS, 1000)}
    mistakes = tuple(Mistake(_png(rng), "Shirt", "Coat", float(0.99 - 0.01 * i)) for i in range(12))
    return ReportFacts(
        run="2026-11-23-fashion-mnist-0",
        task="fashion-mnist",
        created="23 November 2026, 13:10",
        budget="10m",
        seconds=597.4,
        stopped="the plan was carried out",
        seeds=1,
        limits={"params": 500_000.0},
        answer=Answer(
            "searched no. 1",
            "searched",
            "mobile:0.2.1.1.0.3",
            graph.params,
            graph.macs,
            test_value=correct / 10_000,
            test_interval=wilson(correct, 10_000),
            test_correct=correct,
            test_count=10_000,
            valid_value=0.9262,
            valid_count=5000,
            latency_ms=0.81,
            latency_p95_ms=1.02,
            epochs=18.4,
            train_seconds=281.0,
            weights_bytes=graph.params * 4 + 9_000,
            files={
                "weights": "model.safetensors",
                "PyTorch program": "model.pt2",
                "ONNX": "model.onnx",
                "architecture": "architecture.json",
                "class names": "labels.json",
                "preprocessing": "preprocessing.json",
                "all results": "results.csv",
            },
        ),
        comparison=Comparison(
            True,
            0.0091,
            (0.0017, 0.0164),
            "searched no. 1",
            "ResNet-type",
            "validation",
            5000,
            "6 epochs each",
            contestants=contestants,
        ),
        network=blocks(graph),
        cells=cells(graph),
        trace=_trace(np.random.default_rng(1)),
        calibrations=tuple(
            _calibration(judge, scale, np.random.default_rng(2)) for judge, scale in (("parameters", 8e3), ("naswot", 90.0))
        ),
        trials=tuple(_trials(rng)),
        errors=Errors(LABELS, tuple(tuple(map(int, row)) for row in confusion), mistakes),
        curves=(
            _curve("searched no. 1", "searched", "finish", 18, 0.93, rng),
            *(_curve(name, role, "compare", 6, value, rng) for name, role, _, value in names),
        ),
        data=Data(
            "fashion-mnist",
            (1, 28, 28),
            "3f9ab2c41d7e8800",
            counts,
            "Zalando Research, github.com/zalandoresearch/fashion-mnist",
            "MIT",
            "kept at 28 × 28",
            "shift by up to 2 pixels, mirrored half of the time",
            (Skipped("train/Bag/0017.png", "truncated file"),),
            ("5,000 images drawn from train class by class with seed 0 as validation.",),
        ),
        stages=(
            StageTime("plan", 6.1, what="timed one build and one step"),
            StageTime("screen", 118.0, 640, 3, "regularized-evolution by naswot"),
            StageTime("compare", 171.3, 18, 1, "successive halving, 2 then 6 epochs"),
            StageTime("finish", 281.0, 1, 0, "18.4 epochs"),
            StageTime("export and report", 12.0),
        ),
        plan=("One training step of a network of 7 M MACs takes 21 ms here.", "About 640 networks can be screened in two minutes."),
        repeat=Repeat(
            (
                ("archscout search --data fashion-mnist --budget 10m --seed 0", "The whole search"),
                ("archscout predict RUN --data IMAGES", "Use the network on new images"),
            ),
            0,
            {"archscout": "0.1.0", "python": "3.11.9", "torch": "2.13.0"},
            {"processor": "AMD EPYC 7B13", "cores": "2"},
            {"space": "mobile"},
        ),
        notes=("model.onnx was written with operator set 20.",),
    )
