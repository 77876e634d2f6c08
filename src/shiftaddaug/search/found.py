"""What an evolution found: files, a table, a picture, and searched networks that can be trained."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftaddaug.catalogue import Catalogue
from shiftaddaug.files import write_csv, write_whole
from shiftaddaug.nas.space import MULT, Choices, Point
from shiftaddaug.nets.assignment import Assignment
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.searched import SearchedNet
from shiftaddaug.nets.sub_table import sub_table
from shiftaddaug.nets.surroundings import surroundings
from shiftaddaug.nets.tables import plan_net
from shiftaddaug.operators.settings import OperatorSettings
from shiftaddaug.report.harmless import harmless
from shiftaddaug.report.results import INHERITED, RESULTS, RUN, print_table, shortest_path, write_json
from shiftaddaug.search.evolution import COSTS, SCORED, Evolution
from shiftaddaug.tasks.figures import Figure

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

SEARCHED = "searched.json"
"""The network that scores best."""
POINTS = "points.csv"
NETWORKS = "networks"
"""Folder of all that were scored, by the number of their trial."""
ROWS = 12
"""Networks of the front in the terminal's table."""


class Found:
    """Writes what an evolution found.

    Args:
        folder: of the run.
        table: of the space's largest network.
        choices: what could be chosen.
        deep: the sub-network that was searched inside of.
        operators: settings by name.
        figure: that the score is one of.
        about: what else a searched network says of the search, as plain containers.
        catalogue: of the package and the plugins in use.
    """

    def __init__(
        self,
        folder: Path,
        table: Mapping[str, Any],
        choices: Choices,
        deep: Point,
        operators: Mapping[str, OperatorSettings],
        figure: Figure,
        about: Mapping[str, Any],
        catalogue: Catalogue,
    ) -> None:
        self.folder, self.table, self.choices, self.deep = folder, table, choices, deep
        self.operators, self.figure, self.about, self.catalogue = operators, figure, about, catalogue

    def report(self, evolution: Evolution, title: str) -> float:
        """Write and print everything; return the best score, as it was measured."""
        front, best = evolution.front(), evolution.best()
        (self.folder / NETWORKS).mkdir(parents=True, exist_ok=True)
        self._write_points(evolution)
        for trial in evolution.scored():
            self.net_of(evolution.point(trial), trial).write(self.folder / NETWORKS / f"{trial.number}.json")
        self.net_of(evolution.point(best), best).write(self.folder / SEARCHED)
        with harmless("pareto.png could not be drawn"):
            write_whole(self.folder / "pareto.png", self._pareto(evolution))
        record = {**self.about, **self._figures(best), "networks": len(evolution.scored())}
        write_json(self.folder / RUN, record)
        write_json(self.folder / RESULTS, record)
        print_table(title, [self._row(trial, evolution.cost) for trial in front[-ROWS:]])
        path = shortest_path(self.folder / SEARCHED)
        # costs, and the limits, are those of images of this size, which data's own may not be
        data = f"data={self.about['data']} data.image_size={self.choices.plan.image_size[0]}"
        print(f"next: python src/train.py net=searched net.path={path} aug=searched {data}")
        return float(best.values[0])

    def net_of(self, point: Point, trial: "FrozenTrial") -> SearchedNet:
        """Return a network as a file holds it: table, operators, what surrounds it, and how it was found."""
        choices, plan = self.choices, self.choices.plan
        spec = choices.spec(point)
        table, names = sub_table(self.table, plan, spec, self.catalogue)
        own = plan_net(table, plan.num_classes, plan.in_channels, plan.image_size, self.catalogue)
        around = surroundings(plan, spec, self._deep_spec(), names, choices.divisor)
        return SearchedNet(
            table=table,
            operators=self._assignment(own, dict(spec.operators), names).to_dict(),
            surroundings=around,
            image_size=plan.image_size[0],
            found={**self.about, **self._figures(trial), "point": dict(point)},
        )

    def _deep_spec(self) -> Any:
        operators = {name: MULT for name in self.choices.parameters if name.startswith("operator.")}
        return self.choices.spec({**self.deep, **operators}, operates=False)

    def _assignment(
        self, plan: Plan, chosen: Mapping[str, str], names: Mapping[str, str]
    ) -> Assignment[OperatorSettings]:
        layers = [layer.name for layer in plan.layers()]
        return Assignment({name: self.operators[chosen.get(names[name], MULT)] for name in layers})

    def _figures(self, trial: "FrozenTrial") -> dict[str, Any]:
        score = self.figure.recorded(trial.values[0])
        return {"trial": trial.number, f"{INHERITED}{self.figure.key('val')}": score, **trial.user_attrs[COSTS]}

    def _write_points(self, evolution: Evolution) -> None:
        rows, front = [], {trial.number for trial in evolution.front()}
        for trial in evolution.priced():
            scored = trial.user_attrs[SCORED]
            row = {"trial": trial.number, "within_limits": scored, "on_front": trial.number in front}
            score = self.figure.recorded(trial.values[0]) if scored else ""
            row |= {f"{INHERITED}{self.figure.key('val')}": score, **trial.user_attrs[COSTS], **evolution.point(trial)}
            rows.append(row)
        write_csv(self.folder / POINTS, list(rows[0]), rows)

    def _row(self, trial: "FrozenTrial", cost: str) -> dict[str, Any]:
        costs, operators = trial.user_attrs[COSTS], self._count_operators(trial)
        return {
            "network": trial.number,
            f"{self.figure.title} (inherited)": self.figure.written(self.figure.recorded(trial.values[0])),
            **({} if cost == "macs" else {cost: f"{costs[cost]:.4g}"}),
            "MACs": f"{costs['macs']:,.0f}",
            "SRAM KiB": f"{costs['peak_sram_kib']:.1f}",
            "Flash KiB": f"{costs['flash_kib']:.1f}",
            "layers": operators,
        }

    def _count_operators(self, trial: "FrozenTrial") -> str:
        point = {name: trial.params.get(name, options[0]) for name, options in self.choices.parameters.items()}
        chosen = self.choices.of([point])
        alive = [name for _, name in self.choices.spec(point).operators]
        layers = self._alive_layers(chosen)
        counts = {MULT: layers - len(alive), **{name: alive.count(name) for name in self.operators if name != MULT}}
        return ", ".join(f"{count} {name}" for name, count in counts.items() if count)

    def _alive_layers(self, chosen: Any) -> int:
        gone = {unit for unit, lost in zip(self.choices.plan.skippable, chosen.skipped[0], strict=True) if lost}
        return sum(layer.unit not in gone for layer in self.choices.plan.layers())

    def _pareto(self, evolution: Evolution) -> bytes:
        from matplotlib.figure import Figure as Drawing

        drawing = Drawing(figsize=(6, 4.5), dpi=100, layout="constrained")
        axes = drawing.subplots()

        def curve(trials: Sequence[Any]) -> tuple[list[float], list[float]]:
            return [t.values[1] for t in trials], [self.figure.recorded(t.values[0]) for t in trials]

        axes.scatter(*curve(evolution.scored()), color="0.6", s=12, label="networks within the limits")
        axes.plot(*curve(evolution.front()), marker="o", label="none is better in both")
        axes.set(xlabel=evolution.cost, ylabel=f"{self.figure.axis('val')}, inherited weights")
        axes.grid(alpha=0.3)
        axes.legend()
        png = BytesIO()
        drawing.savefig(png, format="png", dpi="figure")
        return png.getvalue()
