"""A network's costs for people: tables in the terminal, and files on request."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from shiftaddaug.errors import UserError, reason_of
from shiftaddaug.files import write_csv, write_whole
from shiftaddaug.hardware.budget import KIB
from shiftaddaug.hardware.layer import PARTS, Cost
from shiftaddaug.hardware.price import LayerPrice, NetPrice, differences, price
from shiftaddaug.hardware.rules import MODES
from shiftaddaug.hardware.settings import Hardware
from shiftaddaug.nets.assignment import Assignment
from shiftaddaug.nets.plan import Plan
from shiftaddaug.report.results import print_table, write_json

log = logging.getLogger(__name__)

PART_TITLES = {"rf": "RF", "noc": "NoC", "dram": "DRAM", "norm": "batch-norm"}


@dataclass(frozen=True)
class Priced:
    """A network under one assignment of operators."""

    title: str
    plan: Plan
    assignment: Assignment[Any]
    price: NetPrice

    @property
    def multiplied(self) -> str:
        """Groups of the layers that multiply, in words; of a group, how many, if not all."""
        exempt, layers = self.assignment.exempt(), self.plan.layers()
        if len(exempt) == len(layers):
            return "all"
        every = Counter(layer.group or layer.name for layer in layers)
        multiplied = Counter(layer.group or layer.name for layer in layers if layer.name in exempt)
        parts = [
            group if count == every[group] else f"{group} ({count} of {every[group]})"
            for group, count in multiplied.items()
        ]
        return ", ".join(parts) or "none"


@dataclass(frozen=True)
class CostReport:
    """All that is reported of a network."""

    title: str
    plan: Plan
    hardware: Hardware
    chosen: Priced
    operators: tuple[Priced, ...]
    """Prices under every operator, mult first; the chosen one is among them."""
    save: Path | None


def priced(title: str, plan: Plan, assignment: Assignment[Any], hardware: Hardware) -> Priced:
    """Price a network under an assignment."""
    return Priced(title, plan, assignment, price(plan, assignment, hardware))


def cost_record(plan: Plan, assignment: Assignment[Any], hardware: Hardware) -> dict[str, Any]:
    """Return what results.json says of a network's cost on hardware.

    Where energy and latency cannot be priced, that is warned of, and memory is told alone.
    """
    try:
        found = price(plan, assignment, hardware)
    except UserError as error:
        log.warning("energy and latency are not told: %s", error)
        found = price(plan, assignment, replace(hardware, accelerator=None))
    return {"hardware": hardware.name, **found.record()}


def cost_rows(recorded: Mapping[str, Any]) -> dict[str, str]:
    """Return rows of a result's table, as far as results.json has them."""
    rows = {}
    for mode in MODES:
        if f"energy_mj_{mode}" in recorded:
            energy, latency = recorded[f"energy_mj_{mode}"], recorded[f"latency_ms_{mode}"]
            rows[f"{recorded['hardware']} ({mode})"] = f"{energy:.4g} mJ, {latency:.4g} ms"
    if "peak_sram_kib" in recorded:
        sram, flash = recorded["peak_sram_kib"], recorded["flash_kib"]
        rows["memory (int8)"] = f"SRAM {sram:.1f} KiB, Flash {flash:.1f} KiB at least"
    return rows


def print_report(report: CostReport) -> None:
    """Print layers, totals, what each difference between the modes is, and the operators side by side."""
    chosen, hardware = report.chosen.price, report.hardware
    heading = f"{report.title}, op={report.chosen.title}, hardware={hardware.name}"
    parts = "; energy by part: mJ, fair" if chosen.costs else ""
    print_table(f"layers of {heading}{parts}", [_layer_row(layer, _kinds(chosen)) for layer in chosen.layers])
    print_table("all layers: one image", _totals(report))
    if chosen.costs:
        print_table("from paper to fair: what is counted besides, one after the other", _difference_rows(report))
    print_table(f"operators side by side ({report.chosen.title} is the chosen one)", _operator_rows(report))


def _kinds(found: NetPrice) -> list[str]:
    return sorted({kind for layer in found.layers for kind in layer.operations})


def _layer_row(layer: LayerPrice, kinds: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"layer": layer.name, "op": layer.operator, "MACs": f"{layer.macs:,}"}
    row |= {kind: f"{layer.operations[kind]:,}" if kind in layer.operations else "" for kind in kinds}
    row["params"] = f"{layer.params:,}"
    row |= {f"mJ {mode}": f"{cost.energy:.5f}" for mode, cost in layer.costs.items()}
    if "fair" in layer.costs:
        row |= {_part(part): f"{getattr(layer.costs['fair'], part):.5f}" for part in PARTS}
    row |= {f"ms {mode}": f"{cost.ms:.4f}" for mode, cost in layer.costs.items()}
    return row


def _part(part: str) -> str:
    return PART_TITLES.get(part, part)


def _totals(report: CostReport) -> list[dict[str, Any]]:
    found = report.chosen.price
    rows = [
        {"": "MACs", **_everywhere(found, f"{found.net.macs:,}")},
        *({"": kind, **_everywhere(found, f"{count:,}")} for kind, count in found.net.operations.items()),
        {"": "params", **_everywhere(found, f"{found.net.params:,}")},
    ]
    if found.costs:
        rows.append({"": "energy, mJ", **{mode: f"{cost.energy:.4f}" for mode, cost in found.costs.items()}})
        for part in PARTS:
            values = {mode: f"{getattr(cost, part):.4f}" for mode, cost in found.costs.items()}
            rows.append({"": f"  {_part(part)}", **values})
        rows.append({"": "cycles", **{mode: f"{cost.cycles:,.0f}" for mode, cost in found.costs.items()}})
        rows.append({"": "latency, ms", **{mode: f"{cost.ms:.4f}" for mode, cost in found.costs.items()}})
    where = "depthwise in place" if report.hardware.in_place_depthwise else "int8"
    rows.append({"": f"peak SRAM, KiB ({where})", **_everywhere(found, f"{found.sram.bytes / KIB:.1f}")})
    rows.append({"": "  while this is computed", **_everywhere(found, found.sram.layer)})
    padded = [layer.name for layer in found.layers if any(cost.padded_rows for cost in layer.costs.values())]
    if padded:
        rows.append({"": "priced with more rows", **_everywhere(found, ", ".join(padded))})
    rows.append({"": "Flash, KiB (at least: without code)", **_everywhere(found, f"{found.flash / KIB:.1f}")})
    return rows


def _everywhere(found: NetPrice, value: str) -> dict[str, str]:
    """Return a value that both modes share."""
    return dict.fromkeys(found.costs or [""], value) if found.costs else {"value": value}


def _difference_rows(report: CostReport) -> list[dict[str, Any]]:
    paper, fair = (report.chosen.price.costs[mode].energy for mode in ("paper", "fair"))
    rows = [{"": "paper", "mJ": f"{paper:.4f}", "of fair": _ratio(paper, fair, ".1%")}]
    for words, value in differences(report.plan, report.chosen.assignment, report.hardware).items():
        rows.append({"": f"+ {words}", "mJ": f"{value:+.4f}", "of fair": _ratio(value, fair, "+.1%")})
    return [*rows, {"": "fair", "mJ": f"{fair:.4f}", "of fair": f"{1:.1%}"}]


def _operator_rows(report: CostReport) -> list[dict[str, Any]]:
    mult = report.operators[0].price
    rows = []
    for each in report.operators:
        row: dict[str, Any] = {"op": each.title, "multiply": each.multiplied}
        for mode, cost in each.price.costs.items():
            row |= _compared(mode, cost, mult.costs[mode])
        row |= {"SRAM, KiB": f"{each.price.sram.bytes / KIB:.1f}", "Flash, KiB": f"{each.price.flash / KIB:.1f}"}
        rows.append(row)
    return rows


def _compared(mode: str, cost: Cost, mult: Cost) -> dict[str, str]:
    return {
        f"mJ {mode}": f"{cost.energy:.4f}",
        f"saves {mode}": _ratio(mult.energy - cost.energy, mult.energy, ".2%"),
        f"ms {mode}": f"{cost.ms:.4f}",
        f"speed {mode}": f"{mult.ms / cost.ms:.2f}x",
    }


def _ratio(part: float, whole: float, form: str) -> str:
    """Return a ratio in words; where energies may all be 0, there is none."""
    return format(part / whole, form) if whole else ""


def save_report(report: CostReport, folder: Path) -> None:
    """Write cost.json, layers.csv and layers.png, a bar chart.

    Raises:
        UserError: a file that cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"save={folder}: cannot be made ({reason_of(error)})") from error
    rows = [_flat(layer) for layer in report.chosen.price.layers]
    write_csv(folder / "layers.csv", list(rows[0]), rows)
    write_json(folder / "cost.json", _record(report))
    if report.chosen.price.costs:
        write_whole(folder / "layers.png", _chart(report))


def _flat(layer: LayerPrice) -> dict[str, Any]:
    row = {"layer": layer.name, "op": layer.operator, "macs": layer.macs, "params": layer.params}
    row |= {f"operations_{kind}": layer.operations.get(kind, 0) for kind in ("mult", "shift", "add", "xnor", "lookup")}
    for mode, cost in layer.costs.items():
        row |= _named(cost, mode)
    return row


def _named(cost: Cost, mode: str) -> dict[str, float]:
    parts = {f"{part}_mj_{mode}": getattr(cost, part) for part in PARTS}
    return {f"energy_mj_{mode}": cost.energy, **parts, f"cycles_{mode}": cost.cycles, f"latency_ms_{mode}": cost.ms}


def _record(report: CostReport) -> dict[str, Any]:
    return {
        "network": report.title,
        "op": report.chosen.title,
        "hardware": asdict(report.hardware),
        "totals": _total_record(report.chosen.price),
        "operators": {each.title: _total_record(each.price) for each in report.operators},
        "differences_mj": differences(report.plan, report.chosen.assignment, report.hardware),
        "layers": [_flat(layer) for layer in report.chosen.price.layers],
    }


def _total_record(found: NetPrice) -> dict[str, Any]:
    costs: dict[str, Any] = {}
    for mode, cost in found.costs.items():
        costs |= _named(cost, mode)
    counts: Mapping[str, int] = found.net.operations
    return {
        "macs": found.net.macs,
        "params": found.net.params,
        "operations": dict(counts),
        **costs,
        "peak_sram_kib": found.sram.bytes / KIB,
        "peak_sram_at": found.sram.layer,
        "flash_kib": found.flash / KIB,
    }


def _chart(report: CostReport) -> bytes:
    """Draw a bar for each layer, its energy by part, a panel for each mode."""
    from matplotlib.figure import Figure

    found = report.chosen.price
    names = [layer.name for layer in found.layers]
    figure = Figure(figsize=(12, 1.5 + 0.18 * len(names)), dpi=100, layout="constrained")
    for axes, mode in zip(figure.subplots(1, len(found.costs), sharey=True), found.costs, strict=True):
        left = [0.0] * len(names)
        for part in PARTS:
            values = [getattr(layer.costs[mode], part) for layer in found.layers]
            if any(values):
                axes.barh(names, values, left=left, label=_part(part))
            left = [before + value for before, value in zip(left, values, strict=True)]
        axes.set(xlabel="mJ", title=f"{mode}: {found.costs[mode].energy:.4g} mJ")
        axes.tick_params(axis="y", labelsize=6)
        axes.legend(fontsize="small")
    figure.axes[0].invert_yaxis()
    figure.suptitle(f"{report.title}, op={report.chosen.title}, {report.hardware.name}")
    png = BytesIO()
    figure.savefig(png, format="png", dpi="figure")
    return png.getvalue()
