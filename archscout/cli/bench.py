"""`archscout bench`: recorded benchmarks, one protocol for all methods, and the reproduced numbers on one page."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from archscout.cli.options import (
    DataDir,
    Dataset,
    Json,
    Settings,
    Signals,
    TableName,
    Workers,
    given,
    placing,
)  # fmt: skip
from archscout.core.errors import UserError

if TYPE_CHECKING:
    from archscout.comparison.search import Verdict
    from archscout.core.protocols import Table
    from archscout.core.tables import Recorded
    from archscout.engine.budget import Budget
    from archscout.engine.placement import Placement


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    bench = typer.Typer(help="Recorded benchmarks: correlate, search, report, import.", no_args_is_help=True, rich_markup_mode=None)
    for command in (correlate, search, report):
        bench.command()(command)
    bench.command("import")(import_)
    app.add_typer(bench, name="bench")


def correlate(
    table: TableName,
    dataset: Dataset,
    estimator: Annotated[str, typer.Option(help="judges, such as naswot or naswot,synflow (archscout plugins estimators)")] = "",
    data: Annotated[str | None, typer.Option(help="the images that judges look at: a name or a path")] = None,
    data_dir: DataDir = None,
    sample: Annotated[int, typer.Option(help="architectures to draw", min=2)] = 1000,
    seed: Annotated[int, typer.Option(help="of the draw, the initial weights and the intervals")] = 0,
    epochs: Annotated[int | None, typer.Option(help="of the recorded training; by default the table's first column")] = None,
    against: Annotated[Literal["valid", "test"], typer.Option(help="the column that a search sees, or the test column")] = "valid",
    scores: Annotated[Path | None, typer.Option(help="use this score file instead of judging")] = None,
    out: Annotated[Path | None, typer.Option(help="keep the scores in this .npz; the same command goes on from it")] = None,
    workers: Workers = 0,
    minutes: Annotated[float | None, typer.Option(help="judge for so long and use what is there", min=0)] = None,
    signals: Signals = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Rank correlation of judges with the recorded values, beside that of parameters and MACs."""
    from archscout.benchmarks import verdict
    from archscout.cli import questions
    from archscout.comparison.correlate import correlations, draw, lines
    from archscout.comparison.scoring import Question, scores_of
    from archscout.core.problem import Problem
    from archscout.core.scores import check_space, read_scores
    from archscout.engine.placement import Placement

    if bool(estimator) == (scores is not None):
        raise UserError("give the judges with --estimator, or their saved scores with --scores")
    words = given(settings, signals)
    chosen = questions.table_of(table)
    recorded = verdict.reveal(chosen, dataset, epochs) if against == "test" else chosen.objective(dataset, epochs)
    space = questions.space_of(chosen.facts.space, words)
    saved = None
    if scores is not None:
        saved = read_scores(scores)
        check_space(saved, space.name, scores)
    drawn = draw(chosen, space, recorded, sample, dataset=dataset, against=against, seed=seed, scored=saved)
    task = questions.task_of(space, data, data_dir, words)
    if saved is None:
        judges = questions.judges_of(questions.names_in(estimator), words, table=table, dataset=dataset, epochs=epochs)
        judges = questions.fitted(judges, Problem(space, task), seed)
        question = Question(Problem(space, task), judges, drawn.architectures, seed)
        saved = scores_of(question, out, what="correlate", placement=Placement(workers=workers), minutes=minutes)
    rows = correlations(drawn, saved, task, seed=seed)
    if as_json:
        print(json.dumps(rows if len(rows) > 1 else rows[0], indent=1))
    else:
        print("\n".join(lines(rows)))


@placing(workers=1)
def search(
    strategy: Annotated[str, typer.Option(help="the search strategy (archscout plugins strategies)")],
    table: TableName,
    dataset: Dataset,
    queries: Annotated[int | None, typer.Option(help="look-ups that one run may make", min=1)] = None,
    budget: Annotated[str | None, typer.Option(help="instead: recorded training time of one run, such as 2h")] = None,
    seeds: Annotated[int, typer.Option(help="runs of each strategy", min=1)] = 20,
    seed: Annotated[int, typer.Option(help="of the first run; the others follow")] = 0,
    estimator: Annotated[str, typer.Option(help="judge of the search: tabular, another, or a score file .npz")] = "tabular",
    proxy: Annotated[str | None, typer.Option(help="the cheap judge of assisted strategies: a name or a score file")] = None,
    epochs: Annotated[int | None, typer.Option(help="of the column that the search sees")] = None,
    final_epochs: Annotated[int | None, typer.Option(help="of the columns that decide; by default the table's first")] = None,
    data: Annotated[str | None, typer.Option(help="the images, for judges that look at some")] = None,
    data_dir: DataDir = None,
    *,
    placement: Placement,
    out: Annotated[Path | None, typer.Option(help="folder for the page, its figures and all runs")] = None,
    signals: Signals = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Run a strategy on a table beside random search and regularised evolution, at equal charged budget."""
    placement.check()

    from archscout.cli import questions
    from archscout.comparison.curves import write_outcome
    from archscout.comparison.search import Contest, hold, lines
    from archscout.core.problem import Problem

    words = given(settings, signals, ("strategy", "estimator", "proxy", "space", "data"))
    chosen = questions.table_of(table)
    made = questions.strategy_of(strategy, words)
    space = questions.space_of(chosen.facts.space, words)
    judges = {"main": questions.judge_of(estimator, words, table=table, dataset=dataset, epochs=epochs)}
    if proxy is not None:
        judges["proxy"] = questions.judge_of(proxy, words, "proxy")
    elif strategy == "assisted-evolution":
        raise UserError("'assisted-evolution' needs a second, cheap judge; name it with --proxy, such as --proxy scores.npz")
    searched = chosen.objective(dataset, epochs)
    valid, test = _verdicts(chosen, dataset, final_epochs, searched if estimator == "tabular" else None)
    task = questions.task_of(space, data, data_dir, words)
    judges = questions.fitted(judges, Problem(space, task), seed)
    limit = _budget(searched, table, queries, budget)
    contest = Contest(chosen, dataset, Problem(space, task), judges, valid, test, limit, range(seed, seed + seeds))
    with placement.quickest() as crew:
        found, outcomes = hold(contest, made, strategy, crew)
    page = None
    if out is not None:
        page = write_outcome(out, contest, found, outcomes, shlex.join(["archscout", *sys.argv[1:]]))
    if as_json:
        print(json.dumps(found | {"page": None if page is None else str(page)}, indent=1))
    else:
        print("\n".join([*lines(found), *([] if page is None else [f"page in {page}"])]))


def _verdicts(table: Table, dataset: str, epochs: int | None, searched: Recorded | None) -> tuple[Verdict, Verdict]:
    """The validation and the test column that decide, among the rows that can be searched."""
    import numpy as np

    from archscout.benchmarks import verdict
    from archscout.comparison.search import Verdict

    valid, test = table.objective(dataset, epochs), verdict.reveal(table, dataset, epochs)
    searchable = np.ones(table.facts.rows, bool) if searched is None else np.isfinite(searched.scores)
    if searched is not None and searched.seconds is not None:
        searchable &= np.isfinite(searched.seconds)
    return Verdict(valid, searchable), Verdict(test, searchable)


def _budget(recorded: Recorded, table: str, queries: int | None, budget: str | None) -> Budget:
    """Of one run. Raises UserError where it cannot be charged."""
    from archscout.engine.budget import Budget, parse_budget

    if (queries is None) == (budget is None):
        raise UserError("give the budget of a run with --queries, or with --budget where the table has recorded seconds")
    if budget is None:
        return Budget(evaluations=queries, judges=("main",))
    seconds, _ = parse_budget(budget)
    if seconds is None:
        raise UserError(f"--budget takes a time such as 2h, but '{budget}' came; count look-ups with --queries")
    if recorded.seconds is None:
        raise UserError(f"'{table}' has no recorded seconds of training to charge; use --queries")
    return Budget(seconds=seconds, clock="charged")


def report(
    results: Annotated[Path, typer.Option(help="the folder of CSV files")] = Path("results"),
    out: Annotated[Path | None, typer.Option(help="the page to write; by default RESULTS/report.html")] = None,
    as_json: Json = False,
) -> None:
    """One page with every reproduced number beside the published one, and the command that makes it."""
    from archscout.comparison.results import read_claims, render
    from archscout.store.files import write_atomic

    files = sorted(results.glob("*.csv")) if results.is_dir() else []
    if not files:
        raise UserError(f"there are no CSV files in '{results}'; name the folder that holds them with --results")
    read = [(path.stem, read_claims(path)) for path in files]
    page = out or results / "report.html"
    if not page.parent.is_dir():
        raise UserError(f"there is no folder '{page.parent}' for the page; make it, or choose another with --out")
    write_atomic(page, render(read))
    count = sum(len(claims) for _, claims in read)
    print(json.dumps({"report": str(page), "files": len(read), "claims": count}, indent=1) if as_json else page)


def import_(
    file: Annotated[Path, typer.Argument(help="a CSV with the header architecture,value, or an .npz with such arrays")],
    table: Annotated[str, typer.Option(help="the table to complete, or the name of a new one")],
    dataset: Annotated[str, typer.Option(help="what was trained on")],
    metric: Annotated[str, typer.Option(help="such as accuracy; 'seconds' of training are charged to searches")] = "accuracy",
    split: Annotated[
        Literal["valid", "test"], typer.Option(help="valid: a search may see it; test: only the verdict does")
    ] = "valid",
    epochs: Annotated[int, typer.Option(help="of the training; 0 where unknown", min=0)] = 0,
    space: Annotated[str, typer.Option(help="of a new table; without it the architectures are names only")] = "",
    lower_is_better: Annotated[bool, typer.Option("--lower-is-better", help="for losses and errors")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a column that was imported before")] = False,
    as_json: Json = False,
) -> None:
    """Add recorded values of your own to a table, or make a new table of them."""
    from archscout.benchmarks._import import Asked, import_values
    from archscout.benchmarks._imported import tables_folder

    asked = Asked(table, dataset, metric, split, epochs, space, not lower_is_better, overwrite)
    made, column, count = import_values(file, asked)
    facts = {"table": made.name, "column": column.name, "split": column.split, "values": count, "rows": made.facts.rows}
    if as_json:
        print(json.dumps({**facts, "folder": str(tables_folder())}, indent=1))
    else:
        print(f"{count:,} of {made.facts.rows:,} rows of '{made.name}' have a value in '{column.name}' ({column.split})")
        print(f"kept in {tables_folder()}")
