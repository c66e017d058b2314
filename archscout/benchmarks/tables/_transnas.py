"""The columns that both tables of TransNAS-Bench-101 have (Duan et al. 2021, arXiv 2105.11871): four of its seven tasks."""

from __future__ import annotations

from archscout.core.tables import Column, TableFacts

_CAVEAT = "the only value, so it is both objective and report; the copy does not say on which split it was measured"
_METRICS = {"class_object": "accuracy", "class_scene": "accuracy", "autoencoder": "ssim", "normal": "ssim"}
COLUMNS = tuple(Column(task, task, metric, "test", 0, caveat=_CAVEAT) for task, metric in _METRICS.items())


def facts(space: str, rows: int, *caveats: str) -> TableFacts:
    """What a table of these columns says of itself."""
    return TableFacts(
        space=space,
        rows=rows,
        columns=COLUMNS,
        reports=COLUMNS,
        licence="benchmark MIT (yawen-d/TransNASBench); the copy carries no licence file",
        source="leeyeehoo/GenNAS-Zero",
        caveats=("four of the seven tasks, one value each: objective and report are the same", *caveats),
    )
