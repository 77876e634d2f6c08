"""`python src/predict.py target=... images`: say what a deployed target sees in images."""

import sys
from collections.abc import Sequence

from omegaconf import DictConfig

from shiftaddaug.commands.arguments import split_paths
from shiftaddaug.commands.entry import run_command


def predict(cfg: DictConfig, paths: Sequence[str] = ()) -> None:
    """Predict, print a table, and write predictions.csv, and masks where the target says them.

    Args:
        cfg: composed from configs/predict.yaml.
        paths: images and folders that were typed without a key.

    Raises:
        UserError: no such target, a damaged one, or no image; an image that cannot be read, after the others are done.
    """
    from shiftaddaug.runs.importing import importing_torch
    from shiftaddaug.runs.predict_settings import read_predict_settings

    settings = read_predict_settings(cfg, paths)
    with importing_torch():
        from shiftaddaug.runs import predict as step

    step.predict(settings)


def main() -> None:
    """Run the command."""
    paths, sys.argv[1:] = split_paths(sys.argv[1:])

    def predict_paths(cfg: DictConfig) -> None:
        predict(cfg, paths)

    run_command("predict", predict_paths)


if __name__ == "__main__":
    main()
