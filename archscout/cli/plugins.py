"""`archscout plugins` and `archscout doctor`: what is there, and whether it works here."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from archscout import catalogue
from archscout.cli.options import Json
from archscout.core.errors import UnknownName, suggestion


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(plugins)
    app.command()(doctor)


def plugins(
    room: Annotated[
        str, typer.Argument(help="spaces, strategies, estimators, data, tables, meta, or recipes; all but the last where left out")
    ] = "",
    name: Annotated[str, typer.Argument(help="one of them, to see its settings; of a table, its columns")] = "",
    as_json: Json = False,
) -> None:
    """List the search spaces, strategies, estimators, data sets, tables and recipes, or show the settings of one."""
    if room == "recipes":
        _recipes(name, as_json)
        return
    if room and room not in catalogue.ROOMS:
        raise UnknownName(f"there are no plug-ins called '{room}'; {suggestion(room, [*catalogue.ROOMS, 'recipes'])}")
    if room == "tables":
        _tables(name, as_json)
        return
    if name:
        _describe(room, name, as_json)
        return
    rooms = [room] if room else list(catalogue.ROOMS)
    listed = {r: {n: catalogue.summary(r, n) for n in catalogue.names(r)} for r in rooms}
    if as_json:
        print(json.dumps(listed, indent=1))
        return
    for r, entries in listed.items():
        print(r)
        for n, line in entries.items():
            print(f"  {n:24}{line}")


def _describe(room: str, name: str, as_json: bool) -> None:
    from dataclasses import MISSING, fields

    made = catalogue.plugin(room, name)
    settings: dict[str, dict[str, Any]] = {}
    for field in fields(made):
        default = field.default if field.default is not MISSING else None
        settings[field.name] = {"type": catalogue.type_name(field), "default": default}
    if as_json:
        print(json.dumps({"name": name, "summary": catalogue.summary(room, name), "settings": settings}, indent=1, default=str))
        return
    print(f"{name}: {catalogue.summary(room, name)}")
    for key, facts in settings.items():
        print(f"  {key:20}{facts['type']:20}default {facts['default']}")
    owners = {
        "spaces": "space",
        "strategies": "strategy",
        "estimators": "estimator",
        "learners": "estimator",
        "data": "data",
        "meta": "meta",
    }
    if settings:
        print(f"change one with --set {owners[room]}.{next(iter(settings))}=VALUE")


def _tables(name: str, as_json: bool) -> None:
    """One table or all, imported ones too: what each says of itself."""
    from dataclasses import asdict

    from archscout.benchmarks._open import open_table, table_names

    facts = {n: open_table(n).facts for n in ([name] if name else table_names())}
    if as_json:
        print(json.dumps({"tables": {n: asdict(found) for n, found in facts.items()}}, indent=1))
        return
    for n, found in facts.items():
        print(f"{n}: {found.rows:,} rows of the space {found.space}")
        for what, columns in (("objective", found.columns), ("report", found.reports)):
            for column in columns:
                epochs = f"{column.epochs} epochs" if column.epochs else "epochs not stated"
                caveat = f" ({column.caveat})" if column.caveat else ""
                print(f"  {what:10}{column.name:26}{column.dataset:14}{column.metric:10}{column.split:6}{epochs}{caveat}")
        facts_of_rows = ", ".join([*found.metrics, *found.extras])
        print(
            *[f"  also      {facts_of_rows}"] * bool(facts_of_rows),
            f"  licence   {found.licence}",
            f"  source    {found.source}",
            sep="\n",
        )
        for caveat in found.caveats:
            print(f"  caveat    {caveat}")


def _recipes(name: str, as_json: bool) -> None:
    """One recipe of `archscout train` or all: where it is from, and what it sets."""
    from dataclasses import asdict

    from archscout.nn.recipes import RECIPES, published

    found = {n: asdict(published(n)) for n in ([name] if name else RECIPES)}
    if as_json:
        print(json.dumps({"recipes": found}, indent=1))
        return
    for n, facts in found.items():
        size = ", ".join(f"{value} {what}" for what, value in facts["size"].items())
        print(f"{n}: {facts['epochs']:g} epochs{f', {size}' if size else ''}")
        print(f"  source    {facts['source']}")
        if facts["augment"]:
            print(f"  augment   {facts['augment']}")
        for setting, value in facts["recipe"].items() if name else ():
            print(f"  {setting:18}{value}")
    print("change a setting with --set recipe.NAME=VALUE" if name else "archscout plugins recipes NAME shows what one sets")


def doctor(
    address: Annotated[str | None, typer.Option(help="a Ray cluster to look at too: auto, ray://HOST:PORT or HOST:PORT")] = None,
    as_json: Json = False,
) -> None:
    """Check this machine: versions, cores, memory, optional parts, a writable cache folder, one quick convolution."""
    from archscout.engine.machine import check_up

    checks = check_up(address)
    if as_json:
        print(json.dumps([check._asdict() for check in checks], indent=1))
    else:
        for check in checks:
            print(f"{'ok  ' if check.ok else 'MISS'} {check.name:22}{check.found}")
            if not check.ok and check.advice:
                print(f"     {'':22}{check.advice}")
    if not all(check.ok for check in checks if check.required):
        raise typer.Exit(1)
