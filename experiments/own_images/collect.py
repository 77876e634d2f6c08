"""Write runs.csv beside this script: `collect.py FOLDER`, of all runs below FOLDER that have finished.

`beyond_chance` is the number of binomial standard deviations of the test set between the accuracy and chance, 10 %.
"""

import csv
import json
import math
import sys
from pathlib import Path

import yaml

HERE, CHANCE = Path(__file__).parent, 10.0
TEST_IMAGES = {"cifar_20": 40, "cifar_100": 200, "cifar_500": 1000, "digits": 359}
COMMAND = "python src/train.py experiment=own_images data.data_dir={} seed={}"


def row_of(results: Path) -> dict[str, object]:
    """Return what runs.csv says of a run."""
    record = json.loads(results.read_text())
    config = yaml.safe_load((results.parent / "config.yaml").read_text())
    name = Path(config["data"]["data_dir"]).name
    images, top1 = TEST_IMAGES[name], record["test_top1_percent"]
    deviation = math.sqrt(CHANCE * (100 - CHANCE) / images)
    return {
        "folder": name,
        "seed": record["seed"],
        "test_top1_percent": top1,
        "train_top1_percent": record["train_top1_percent"],
        "test_images": images,
        "beyond_chance": round((top1 - CHANCE) / deviation, 1),
        "bn": record["bn"],
        "epochs": record["epochs"],
        "git_commit": record["git_commit"][:7],
        "command": COMMAND.format(name, record["seed"]),
    }


def main(folder: Path) -> None:
    """Write the table."""
    rows = sorted(map(row_of, folder.rglob("results.json")), key=lambda row: (str(row["folder"]), row["seed"]))
    with (HERE / "runs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
