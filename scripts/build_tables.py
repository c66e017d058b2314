"""Make archscout/benchmarks/tables/*.npz and their checksums.json from the published numbers.

    python3 -m venv /tmp/v && /tmp/v/bin/pip install numpy pyarrow
    PYTHONPATH=. /tmp/v/bin/python scripts/build_tables.py ../shared/data

Only numbers that a search may see go into NAME.npz; test values that are no objective go into NAME.test.npz. Every value is stored
as the source has it, and read back and compared before the script ends. Equal sources give equal bytes (with the same zlib).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet

from archscout.benchmarks import _npz
from archscout.benchmarks.tables import _recorded, nlp_rnn
from archscout.core.problem import IMAGE_CLASSIFICATION, Task
from archscout.core.protocols import Space
from archscout.spaces.macro import Macro
from archscout.spaces.nas101 import EDGES, Nas101
from archscout.spaces.nas201 import Nas201
from archscout.spaces.nlp_rnn import NlpRnn
from archscout.spaces.transnas_cell import TransnasCell
from archscout.spaces.transnas_macro import TransnasMacro

Arrays = dict[str, np.ndarray]
MOST_BYTES = 25_000_000
NAS101_TEST_IMAGES = 9_984
CIFAR10 = Task("cifar10", IMAGE_CLASSIFICATION, (3, 32, 32), 10, "")


def read(path: Path) -> Arrays:
    """The columns of a parquet file."""
    table = parquet.read_table(path)
    return {name: table[name].to_numpy() for name in table.column_names}


def choices(space: Space, texts: Any) -> np.ndarray:
    """(N, D) option numbers of published texts."""
    found = np.array([space.from_genotype(str(text)).choices for text in texts])  # type: ignore[attr-defined]
    assert found.max() < 256
    return found.astype(np.uint8)


def nas201(source: Path) -> tuple[Arrays, Arrays]:
    """Accuracies, counts, isomorphism classes, latencies, subsets; test accuracies."""
    table, space = read(source / "nasbench201.parquet"), Nas201()
    latency = np.load(source / "nasbench201_latency.npz")
    subsets = np.load(source / "nasbench201_gennas_subsets.npz")
    rows = choices(space, table["arch"])
    assert (table["index"] == np.arange(len(rows))).all()
    assert all(space.at(index).choices == tuple(row) for index, row in enumerate(rows.tolist()))
    params, macs = np.round(table["params_m"] * 1e6).astype(np.int32), exact_macs(space, rows, table["macs_m"])
    shown = {"choices": rows, "params": params, "macs": macs, "iso_rep": table["iso_rep"]}
    columns = [(short, long, epochs) for short, long in (("c10", "cifar10"), ("c100", "cifar100")) for epochs in (200, 12)]
    for short, long, epochs in columns:
        shown[f"{long}_valid_{epochs}"] = table[f"{short}_valid_{epochs}"]
    shown |= {f"gennas_subset_{number}": subsets[f"set{number}"] for number in range(3)}
    shown |= {f"latency_{device}": latency[device] for device in latency.files}
    return shown, {f"{long}_test_{epochs}": table[f"{short}_test_{epochs}"] for short, long, epochs in columns}


def exact_macs(space: Nas201, rows: np.ndarray, millions: np.ndarray) -> np.ndarray:
    """The multiply-adds as whole numbers; the source rounds them to 32-bit floats."""
    none, small, large = (space.operations(space.architecture([op, *[0] * 5]), CIFAR10).macs for op in (0, 2, 3))
    macs = none + (rows == 2).sum(1) * (small - none) + (rows == 3).sum(1) * (large - none)
    assert (np.float32(macs / 1e6) == millions).all()
    return macs.astype(np.int32)


def nas101(source: Path) -> tuple[Arrays, Arrays]:
    """Cells, counts, the first run, ImageNet and the sample; the second runs."""
    table, space = np.load(source / "nasbench101.npz"), Nas101()
    hashes = table["md5"][:, :8].copy().view(">u8").ravel().astype(np.uint64)
    assert (hashes[:-1] < hashes[1:]).all(), "16 digits must tell all hashes apart"
    accuracy = table["test_acc"].astype(np.float64)
    images = np.round(accuracy * NAS101_TEST_IMAGES)
    known = ~np.isnan(accuracy)
    assert (np.float32(images[known] / NAS101_TEST_IMAGES) == table["test_acc"][known]).all()
    edges, operations = cells(table["n_vertices"], table["adj_bits"], table["ops"])
    for row in (0, 1, 2, len(edges) - 1):
        bits = [int(edges[row]) >> bit & 1 for bit in range(len(EDGES))]
        signature = space.signature(space.architecture([*bits, *map(int, operations[row])]))
        assert signature == table["md5"][row].tobytes().hex()
    shown = {
        "hash": hashes, "edges": edges, "ops": operations, "params": table["params"], "macs": table["macs"],
        "cifar10_test_108": np.float32(100 * images / NAS101_TEST_IMAGES),
        "imagenet_top1": spread(table["imagenet_index"], table["imagenet_top1"], len(edges)),
        "gennas500": table["gennas500_index"],
    }  # fmt: skip
    second = np.float32(100 * np.round(table["run2_acc"].astype(float) * NAS101_TEST_IMAGES) / NAS101_TEST_IMAGES)
    return shown, {"cifar10_test_108_second": spread(table["run2_index"], second, len(edges))}


def cells(vertices: np.ndarray, bits: np.ndarray, operations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges and operations as the space's choices: the output is vertex 6, absent vertices have neither edges nor operation."""
    edges = np.zeros_like(bits)
    output = vertices.astype(int) - 1
    for source_bit, (x, y) in enumerate(EDGES):
        set_here = bits >> source_bit & 1
        for last in np.unique(output):
            moved = EDGES.index((x, 6)) if y == last else source_bit
            edges |= np.where(output == last, set_here << moved, 0).astype(bits.dtype)
    return edges, np.where(operations == 255, 0, operations).astype(np.uint8)


def spread(rows: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """A column with these values at these rows, else NaN."""
    column = np.full(count, np.nan, np.float32)
    column[rows] = values
    return column


def macro(source: Path) -> tuple[Arrays, Arrays]:
    """The first run; the others and the mean of all."""
    table = read(source / "nasbench_macro.parquet")
    runs = [table[f"test_acc_{run}"] for run in range(3)]
    mean = np.mean([run.astype(np.float64) for run in runs], 0)
    shown = {"choices": choices(Macro(), table["arch"]), "params": table["params"].astype(np.int32)}
    shown |= {"macs": table["flops"].astype(np.int32), "cifar10_test_run0": runs[0]}
    return shown, {"cifar10_test_run1": runs[1], "cifar10_test_run2": runs[2], "cifar10_test_mean": mean.astype(np.float32)}


def transnas(source: Path, kind: str, space: Space) -> tuple[Arrays, Arrays]:
    """Four tasks, one value each."""
    table = read(source / f"transnas101_{kind}.parquet")
    values = {task: table[task] for task in ("class_object", "class_scene", "autoencoder", "normal")}
    return {"choices": choices(space, table["arch"]), **values}, {}


def nlp(source: Path) -> tuple[Arrays, Arrays]:
    """Recipes, validation losses, costs; test losses."""
    table = read(source / "nasbench_nlp_ptb.parquet")
    texts = [str(recipe).encode() for recipe in table["recipe"]]
    finished = table["status"] == "OK"
    shown = {
        "choices": choices(NlpRnn(), table["recipe"]),
        "recipes": np.frombuffer(b"".join(texts), np.uint8),
        "recipe_offsets": np.cumsum([0, *map(len, texts)], dtype=np.int32),
        "recipe_id": table["recipe_id"].astype(np.int32), "status": table["status"].astype(str),
        "params": table["num_params"].astype(np.int32), "epochs_run": table["epochs_run"].astype(np.uint8),
        "best_epoch": table["best_epoch"].astype(np.uint8), "wall_seconds": table["wall_s"],
    }  # fmt: skip
    shown |= {f"ptb_valid_{epochs}": table[f"val_e{epochs}"] for epochs in nlp_rnn.EPOCHS}
    shown["ptb_valid_best"] = np.where(finished, table["val_best"], np.float32(np.nan))
    best = np.where(finished, table["test_at_best"], np.float32(np.nan))
    return shown, {"ptb_test_50": table["test_e50"], "ptb_test_best": best}


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> str:
    """The file's checksum, once it has proved to hold the arrays."""
    found = _npz.write(path, arrays)
    for name, array in arrays.items():
        copy = _npz.read(path, name)
        assert copy.dtype == array.dtype and copy.tobytes() == np.ascontiguousarray(array).tobytes(), f"{path}: {name}"
    print(f"{path.name:24}{path.stat().st_size:>12,}  {found[:16]}")
    return found


def main() -> int:
    """Write all files; 1 if they are too large."""
    source, sums = Path(sys.argv[1]), {}
    made = {
        "nas201": nas201(source), "nas101": nas101(source), "macro": macro(source), "nlp_rnn": nlp(source),
        "transnas_cell": transnas(source, "cell", TransnasCell()), "transnas_macro": transnas(source, "macro", TransnasMacro()),
    }  # fmt: skip
    for name, parts in made.items():
        for ending, arrays in zip((".npz", _npz.TEST_SUFFIX), parts, strict=True):
            if arrays:
                sums[f"{name}{ending}"] = write(_recorded.FOLDER / f"{name}{ending}", arrays)
    (_recorded.FOLDER / "checksums.json").write_text(json.dumps(sums, indent=1, sort_keys=True) + "\n", "utf8")
    total = sum((_recorded.FOLDER / file).stat().st_size for file in sums)
    print(f"{'together':24}{total:>12,}")
    return int(total > MOST_BYTES)


if __name__ == "__main__":
    raise SystemExit(main())
