"""What was found, as a page and for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from archscout.analysis.cells import Explained, Variant, multiple, sentence
from archscout.comparison.page import Cell, Section, page
from archscout.core.wiring import Patterns
from archscout.explaining.pictures import (
    cell_picture,
    contour_picture,
    heat_picture,
    histograms,
    pattern_picture,
    side_by_side,
)
from archscout.report.plots import Dot, Line, curves, scatter
from archscout.report.words import percent, short
from archscout.store.files import checked_folder, write_atomic, write_json

_WHY = (
    "Searches favour wide and shallow cells, which converge fast and have smoother losses and less noisy gradients; they need not "
    "generalise better than other cells of the space (Shu, Wang and Cai 2020, arXiv 1909.09569)."
)


def write_page(folder: Path, text: str, facts: Mapping[str, Any], command: str) -> Path:
    """Write explain.html and explain.json; gives the page's path."""
    folder = checked_folder(folder)
    write_json(folder / "explain.json", {**facts, "command": command})
    write_atomic(folder / "explain.html", text)
    return folder / "explain.html"


def render(
    facts: Mapping[str, Any], found: Explained | None, variants: Sequence[Variant], study: Mapping[str, Any] | None, command: str
) -> str:  # fmt: skip
    """The page of an architecture."""
    sections: list[Section] = []
    if found is not None:
        sections += [_cells(found), _unusual(found)]
        if variants:
            sections.append(_variants(found, variants))
    if study is not None:
        sections += [section for make in (_trained, _convergence, _landscapes, _noise) if (section := make(study)) is not None]
    sections.append(Section("How to repeat it", pre=command))
    lead = _WHY if found is not None else "The loss around a network, and the noise of its gradients."
    return page("explain", str(facts["subject"])[:80], lead, sections, "Made by archscout explain.")


def render_bias(facts: Mapping[str, Any], patterns: Patterns, command: str) -> str:
    """The page of a strategy."""
    sections = []
    for name, cell in facts["cells"].items():
        pictures = []
        for place, part in enumerate(("width", "depth")):
            values = cell[part]["values"]
            found = {value: values.count(value) / len(values) for value in map(float, set(values))}
            pictures.append((f"{part} of the cell '{name}'", histograms(part, patterns.shares(place), found)))
        head = [Cell("Cell"), Cell("Found", "n"), Cell("95 % interval", "n"), Cell("Random cells", "n")]
        rows = [_bias_row(part, cell[part]) for part in ("width", "depth", "percentile")]
        common = cell["common_pattern"]
        rows.append(
            [Cell("common pattern"), Cell(percent(common["share"]), "n"), Cell("", "n"), Cell(percent(common["random"]), "n")]
        )
        sections.append(
            Section(
                f"The cell '{name}'", "", side_by_side(pictures), [("searched", "found"), ("random", "random cells")], head, rows
            )
        )
    sections.append(
        Section(
            "What was found",
            head=[Cell("Seed", "n"), Cell("Architecture")],
            rows=[[Cell(str(one["seed"]), "n"), Cell(one["architecture"], code=True)] for one in facts["found"]],
        )
    )
    sections.append(Section("How to repeat it", pre=command))
    where = facts["compared_with"]
    lead = (
        f"{len(facts['found'])} runs in '{facts['space']}', beside {where['cells']:,} {where['what']}"
        f"{'' if where['exact'] else ' (a sample)'}. Random cells have a mean percentile of 50."
    )
    return page("explain", facts["strategy"], lead, sections, "Made by archscout explain.")


def lines(
    facts: Mapping[str, Any], found: Explained | None, variants: Sequence[Variant], study: Mapping[str, Any] | None
) -> list[str]:  # fmt: skip
    """For a terminal."""
    text = [
        f"{facts['subject']}" + (f" ({facts['architecture']})" if facts["architecture"] not in (None, facts["subject"]) else "")
    ]
    if found is not None:
        for name, cell in found.cells.items():
            text.append(f"  {sentence(name, cell, found.patterns)}{'' if found.patterns.exact else ' (a sample)'}")
            path = " -> ".join(map(str, (*cell.longest_path, *(["out"] if cell.joined else []))))
            free = facts[name]["param_free_share"]
            text.append(
                f"  {'':8}longest path {path}; {facts[name]['skip_edges']} skips; {free:.0%} of the edges without parameters"
            )
        for variant in variants:
            shown = ", ".join(f"{name} {multiple(cell.width)} and {cell.depth}" for name, cell in variant.cells.items())
            dead = sum(len(cell.dead) for cell in variant.cells.values())
            text.append(
                f"  {variant.name:22}{shown}{f'; {dead} dead nodes' if dead else ''}  {variant.architecture or ''}".rstrip()
            )
    for network in study["networks"] if study is not None else ():
        text.append(f"  {network['name']:22}{_network_line(network)}")
    for name, value in ((study or {}).get("correlations") or {}).items():
        if name != "networks":
            low, high = map(_text, value["interval"])
            text.append(f"  {name}: Spearman's rho {_text(value['spearman'])}, 95 % {low} to {high}")
    return text


def _network_line(network: Mapping[str, Any]) -> str:
    parts = [f"{network['params']:,} params"]
    if network.get("final_loss") is not None:
        parts.append(f"loss {network['final_loss']:.3f}, error {percent(network['final_error'])}")
    if (land := network.get("landscape")) is not None:
        parts.append(f"basin {percent(land['basin_area'])}, variation {land['variation']:.2f}, minima {land['minima']:.3g}")
    if (noise := network.get("noise")) is not None:
        parts.append(f"gradient variance {_text(noise['centre_variance'])} here, {_text(noise['mean_variance'])} around")
    return "; ".join(parts)


def _cells(found: Explained) -> Section:
    pictures = Markup("").join(
        Markup('<p class="legend" style="margin:14px 0 4px">{}</p>{}').format(name, cell_picture(cell, name))
        for name, cell in found.cells.items()
    )
    head = [
        Cell("Cell"), Cell("Width", "n"), Cell("Depth", "n"), Cell("Effective", "n"), Cell("Without skips", "n"),
        Cell("Dead nodes", "n"), Cell("Skips", "n"), Cell("Parameter-free edges", "n"), Cell("Common pattern"),
    ]  # fmt: skip
    rows = []
    for name, cell in found.cells.items():
        free = sum(cell.is_free(operation) for operation, _, _ in cell.edges)
        rows.append([
            Cell(name), Cell(multiple(cell.width), "n"), Cell(str(cell.depth), "n"),
            Cell(f"{multiple(cell.effective_width)}, {cell.effective_depth}", "n"), Cell(str(cell.operative_depth), "n"),
            Cell(", ".join(map(str, cell.dead)) or "none", "n"), Cell(str(sum(cell.is_skip(op) for op, _, _ in cell.edges)), "n"),
            Cell(f"{free} of {len(cell.edges)}", "n"), Cell("yes" if cell.is_common_pattern else "no"),
        ])  # fmt: skip
    sub = (
        "Columns are levels: how many edges a node is away from the inputs. Width adds up the share of each node's edges that come "
        "from inputs, in channels c of a node; depth counts the edges of the longest path."
    )
    return Section("The cells", sub, pictures, head=head, rows=rows)


def _unusual(found: Explained) -> Section:
    said = " ".join(f"{sentence(name, cell, found.patterns)}." for name, cell in found.cells.items())
    note = "" if found.patterns.exact else " They are a sample."
    return Section("How unusual is that?", f"{said}{note}", pattern_picture(found.patterns, found.cells))


def _variants(found: Explained, variants: Sequence[Variant]) -> Section:
    head = [
        Cell("Variant"),
        *(Cell(name, "n", "width and depth") for name in found.cells),
        Cell("Dead nodes", "n"),
        Cell("Architecture"),
    ]
    rows = []
    for variant in variants:
        shown = [Cell(f"{multiple(cell.width)}, {cell.depth}", "n") for cell in variant.cells.values()]
        dead = ", ".join(f"{name} {node}" for name, cell in variant.cells.items() for node in cell.dead) or "none"
        rows.append([Cell(variant.name), *shown, Cell(dead, "n"), Cell(str(variant.architecture or ""), code=True)])
    sub = "The same operations connected otherwise, and the same connections with random operations."
    return Section("Other cells with the same parts", sub, head=head, rows=rows)


def _trained(study: Mapping[str, Any]) -> Section:
    head = [
        Cell("Network"), Cell("Width, depth", "n"), Cell("Parameters", "n"), Cell("MACs", "n"), Cell("Loss by log epoch", "n"),
        Cell("Final loss", "n"), Cell("Final error", "n"),
    ]  # fmt: skip
    rows = []
    for network in study["networks"]:
        shape = "; ".join(f"{cell['width']:.4g}c, {cell['depth']}" for cell in (network.get("cells") or {}).values())
        error = network.get("final_error")
        rows.append([
            Cell(network["name"]), Cell(shape or "–", "n"), Cell(f"{network['params']:,}", "n"),
            Cell(short(network["macs"]) if "macs" in network else "–", "n"),
            *(Cell(_text(network.get(name)), "n") for name in ("loss_area", "final_loss")),
            Cell("–" if error is None else percent(error), "n"),
        ])  # fmt: skip
    settings = study["settings"]
    sub = (
        f"All with one recipe, {settings['epochs']} passes over at most {settings['train_images']:,} training images of "
        f"{study['data']['name']}; losses and errors are those of at most {settings['valid_images']:,} validation images."
    )
    found = study.get("correlations")
    if found:
        told = [
            f"{name} {_text(value['spearman'])} ({_text(value['interval'][0])} to {_text(value['interval'][1])})"
            for name, value in found.items()
            if name != "networks"
        ]
        sub += f" Spearman's rho over {found['networks']} networks, with 95 % intervals: {'; '.join(told)}."
    return Section("Trained alike", sub, head=head, rows=rows)


def _convergence(study: Mapping[str, Any]) -> Section | None:
    roles = {"as it is": "searched", "widest": "searched", "narrowest": "baseline"}
    drawn = [
        Line(
            network["name"],
            tuple((float(point["epoch"]), point["loss"]) for point in network["curves"][0] if point["loss"] is not None),
            roles.get(network["name"], "random"), network["name"] == "as it is",
        )
        for network in study["networks"]
        if network["curves"]
    ]  # fmt: skip
    if not drawn or max(len(line.points) for line in drawn) < 2:
        return None
    legend = [("searched", "the cell itself (bold), and the widest"), ("baseline", "the narrowest"), ("random", "others")]
    plot = curves(drawn, "epoch", "validation loss", y_format=short)
    dots = [
        Dot(
            next(iter(network["cells"].values()))["width"],
            network["final_error"],
            roles.get(network["name"], "random"),
            network["name"],
        )
        for network in study["networks"]
        if network.get("cells") and network.get("final_error") is not None
    ]
    if len({dot.x for dot in dots}) > 1:
        other = scatter(dots, "width of the first cell", "final error", front=False, logarithmic=False)
        plot = side_by_side([("loss by epoch", plot), ("error by width", other)])
    return Section("How fast they converge", "Do wide cells get there first, and does that make them better?", plot, legend)


def _landscapes(study: Mapping[str, Any]) -> Section | None:
    sub = (
        "Each network has random directions of its own, with the norms of its filters: compare shapes, not losses. Basin: share of "
        "the surface below its lowest loss plus 1. Roundness: the smaller curvature over the larger. Variation: of the logarithm "
        "of the loss, over the whole surface. Numbers are means over the pairs of directions; the first of them is drawn."
    )
    numbers = {"Basin": "basin_area", "Roundness": "roundness", "Variation": "variation", "Minima": "minima"}
    return _surfaces(
        study, "landscape", "The loss around them", sub, numbers,
        lambda name, found: contour_picture(found["axis"], found["loss"][0], name),
    )  # fmt: skip


def _noise(study: Mapping[str, Any]) -> Section | None:
    settings = study["settings"]
    sub = (
        f"The variance of the gradient over {settings['batches']} minibatches of {settings['batch']} images, on the first plane. "
        "It scales with the norm of the gradient, so compare how it rises, and its ratio to the squared mean gradient. Around the "
        "network means are geometric."
    )
    numbers = {
        "At the network": "centre_variance", "Around it": "mean_variance", "Rise": "rise", "Ratio at it": "centre_ratio",
        "Ratio around it": "mean_ratio",
    }  # fmt: skip
    return _surfaces(
        study, "noise", "The noise of their gradients", sub, numbers,
        lambda name, found: heat_picture(found["axis"], found["variance"], name, "variance"),
    )  # fmt: skip


def _surfaces(
    study: Mapping[str, Any], part: str, title: str, sub: str, numbers: Mapping[str, str],
    draw: Callable[[str, Mapping[str, Any]], Markup],
) -> Section | None:  # fmt: skip
    """Pictures of all networks that have such a surface, and a table of its numbers; None where none has."""
    known = [(network["name"], network[part]) for network in study["networks"] if network.get(part)]
    if not known:
        return None
    head = [Cell("Network"), *(Cell(name, "n") for name in numbers)]
    rows = [[Cell(name), *(Cell(_text(found[key]), "n") for key in numbers.values())] for name, found in known]
    return Section(title, sub, side_by_side([(name, draw(name, found)) for name, found in known]), head=head, rows=rows)


def _bias_row(part: str, facts: Mapping[str, Any]) -> list[Cell]:
    interval = f"{facts['interval'][0]:.2f} to {facts['interval'][1]:.2f}" if facts["interval"] else "–"
    return [Cell(part), Cell(f"{facts['mean']:.2f}", "n"), Cell(interval, "n"), Cell(f"{facts['random']:.2f}", "n")]


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
