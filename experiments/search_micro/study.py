"""Whether the two-stage search pays: `python experiments/search_micro/study.py FOLDER DATA_DIR [SEED ...]`.

CIFAR-100 at 16 px. A supernet is trained; networks that cost no more energy than the hand-made shift net are searched
inside of it by evolution, at random, and by evolution with one operator alone; the best of each is trained from
scratch, all alike. Of 12 random networks the accuracy from scratch is compared with the inherited one.

Every step is a command of its own, and is not repeated: a study that was stopped goes on. About two hours a seed on
two CPU cores. `report.py FOLDER` writes what there is.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path

EVALUATIONS, COMPARED = 200, 12
TRAINED = ["data=cifar100", "data.image_size=16", "trainer.max_epochs=8", "resume=true"]
ENERGY = "energy_mj_fair"
SEARCHES = {
    "evolution": [],
    "random": ["search.sampler=random"],
    "mult": ["space.operators=[mult]"],
    "shift": ["space.operators=[shift]"],
    "add": ["space.operators=[add]"],
}
"""Searches inside of one supernet, and what is typed for each."""
SCORE = "inherited_val_top1_percent"


class Study:
    """The steps of one seed."""

    def __init__(self, folder: Path, data_dir: str, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.common = [f"seed={seed}", f"paths.log_dir={folder}", f"paths.data_dir={data_dir}", "data.verify=false"]

    def step(self, name: str, command: str, *overrides: str) -> Path:
        """Run a command unless it has finished; return its folder."""
        steps = self.folder / f"seed{self.seed}" / name
        done = [path.parent for path in steps.glob("*/results.json")]
        if done:
            return done[0]
        attempt = steps / str(len(list(steps.glob("*"))))
        arguments = [f"src/{command}.py", f"hydra.run.dir={attempt}", *self.common, *overrides]
        print(" ".join(arguments), flush=True)
        subprocess.run([sys.executable, *arguments], check=True)
        reused = attempt / "reused.json"
        return Path(json.loads(reused.read_text())["folder"]) if reused.exists() else attempt

    def run(self) -> None:
        """Run everything."""
        hand_made = self.train("hand_made", "net=mbv2_micro", "op=shift", "aug=none")
        energy = json.loads((hand_made / "results.json").read_text())[ENERGY]
        space = ["space.image_sizes=[16]", "space.width_mults=[0.35]", "net=mbv2_micro"]
        supernet = self.step("supernet", "search", "stage=supernet", *TRAINED, *space)
        for name, typed in SEARCHES.items():
            found = self.search(name, supernet, energy, *typed)
            self.train(f"train_{name}", *searched(found / "searched.json"))
        best = self.search("evolution", supernet, energy) / "searched.json"
        self.train("train_evolution_augmented", *searched(best, "searched"))
        self.train("hand_made_augmented", "net=mbv2_micro", "op=shift", "aug=width_expand")
        if self.seed == 0:
            self.compare(self.search("random", supernet, energy, *SEARCHES["random"]))

    def search(self, name: str, supernet: Path, energy: float, *typed: str) -> Path:
        """Search inside of the supernet, within the energy of the hand-made net."""
        given = [
            "stage=target",
            "data=cifar100",
            f"supernet={supernet}",
            "hardware=eyeriss_168",
            f"limits.energy_mj={energy}",
        ]
        return self.step(f"search_{name}", "search", *given, f"search.evaluations={EVALUATIONS}", *typed)

    def train(self, name: str, *typed: str) -> Path:
        """Train a target from scratch."""
        return self.step(name, "train", *TRAINED, *typed)

    def compare(self, found: Path) -> None:
        """Train networks that are spread evenly over the inherited accuracies of a random search."""
        with (found / "points.csv").open() as file:
            rows = [row for row in csv.DictReader(file) if row["within_limits"] == "True"]
        rows.sort(key=lambda row: (float(row[SCORE]), int(row["trial"])))
        chosen = [rows[round(i * (len(rows) - 1) / (COMPARED - 1))] for i in range(COMPARED)]
        for row in chosen:
            self.train(f"compare_{row['trial']}", *searched(found / "networks" / f"{row['trial']}.json"))


def searched(path: Path, aug: str = "none") -> list[str]:
    """Return the overrides that train a searched net."""
    return ["net=searched", f"net.path={path}", f"aug={aug}"]


if __name__ == "__main__":
    target, images, *seeds = sys.argv[1:]
    for each in map(int, seeds or ["0", "1", "2"]):
        Study(Path(target).absolute(), images, each).run()
