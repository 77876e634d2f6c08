"""Say what a deployed target sees in files of images."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shiftaddaug import tasks
from shiftaddaug.data.prepare import ImageTransform, restored
from shiftaddaug.errors import UserError, printable
from shiftaddaug.files import write_csv
from shiftaddaug.nets.extract import Target, load_target
from shiftaddaug.nets.interface import Preprocessing
from shiftaddaug.report.predictions import PREDICTIONS, class_name, numbered, write_mask
from shiftaddaug.report.results import print_table, shortest_path
from shiftaddaug.runs.earlier import task_of
from shiftaddaug.runs.predict_settings import Picture, PredictSettings
from shiftaddaug.tasks.base import Objective
from shiftaddaug.tasks.evaluation import Evaluation

log = logging.getLogger(__name__)

MASKS = "masks"
"""Folder of the masks that are predicted."""
SHOWN = 40
"""Rows that are printed; predictions.csv has all."""
BEYOND = 255
"""Label of pixels that the network did not see."""

Seen = tuple[Picture, tuple[int, int], Tensor]
"""A picture, its (height, width), and what the network sees of it."""


def predict(settings: PredictSettings) -> list[dict[str, Any]]:
    """Predict, write predictions.csv and masks, print a table; return its rows.

    Raises:
        UserError: a damaged target, or after all others are predicted, an image that cannot be read.
    """
    target = load_target(settings.path, settings.catalogue, key="target")
    stated = target.interface.preprocessing
    assert stated is not None, "read_predict_settings has looked"
    objective = _objective(settings, target)
    device = _device(settings)
    module = Evaluation(target.net, objective).to(device).eval()  # which computes as src/eval.py does
    failed: list[str] = []
    pictures = _read(settings.pictures, ImageTransform(stated), failed)
    writer = _Writer(settings, objective, target.interface.classes, stated)
    rows: list[dict[str, Any]] = []
    while batch := list(islice(pictures, settings.keys.batch_size)):
        images = torch.stack([image for _, _, image in batch]).to(device)
        with torch.inference_mode():
            outputs = objective.infer(module, images).cpu()
        rows += writer.rows(batch, outputs)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    settings.folder.mkdir(parents=True, exist_ok=True)
    write_csv(settings.folder / PREDICTIONS, columns, rows)
    _print(settings, target, [{column: row.get(column) for column in columns} for row in rows])
    if failed:
        raise UserError(f"images: {len(failed)} of {len(settings.pictures)} could not be read, {failed[0]} for one")
    return rows


def _objective(settings: PredictSettings, target: Target) -> Objective:
    try:
        return tasks.build(task_of(target.config), target.net.plan.num_classes, settings.catalogue)
    except UserError as error:
        raise UserError(f"target={settings.path}: {error}") from None


def _device(settings: PredictSettings) -> torch.device:
    available, wanted = torch.cuda.is_available(), settings.keys.device
    if wanted == "cuda" and not available:
        raise UserError("device=cuda: there is none that torch can use; options: cpu, auto")
    return torch.device("cuda" if available and wanted != "cpu" else "cpu")


def _read(pictures: Sequence[Picture], transform: ImageTransform, failed: list[str]) -> Iterator[Seen]:
    """Yield the pictures that can be read; say of the others why, and add them to `failed`."""
    for picture in pictures:
        seen = _seen(picture, transform)
        if isinstance(seen, UserError):
            log.error("%s", seen)
            failed.append(str(picture.path))
        else:
            yield seen


def _seen(picture: Picture, transform: ImageTransform) -> Seen | UserError:
    if picture.mistake is not None:
        return UserError(picture.mistake)
    try:
        image = transform.read(picture.path)
        return picture, (image.height, image.width), transform.prepared(image)
    except UserError as error:
        return error


class _Writer:
    """Turns outputs into rows of the table, and writes masks."""

    def __init__(
        self, settings: PredictSettings, objective: Objective, classes: Sequence[str] | None, stated: Preprocessing
    ) -> None:
        self.objective, self.classes, self.stated = objective, classes, stated
        self.folder, self.most = settings.folder, settings.keys.top
        if objective.num_outputs <= self.most:
            self.most = 1
        self.taken: set[Path] = set()

    def rows(self, batch: Sequence[Seen], outputs: Tensor) -> list[dict[str, Any]]:
        """Return a row for each picture of a batch, given the outputs (N, ...)."""
        ranked, predicted = self.objective.ranked(outputs, self.most), self.objective.predictions(outputs)
        rows = []
        for i, (picture, size, _) in enumerate(batch):
            row: dict[str, Any] = {"file": printable(picture.path)}
            if ranked is not None:
                labels, scores = (each[i].tolist() for each in ranked)
                named = [class_name(label, self.classes) for label in labels]
                row |= numbered(list(zip(named, scores, strict=True)), "score")
            elif self.objective.settings.pictures:
                row |= self._mask(picture, size, predicted[i])
            else:
                row |= {"prediction": str(self.objective.show(predicted[i]))}
            rows.append(row)
        return rows

    def _mask(self, picture: Picture, size: tuple[int, int], predicted: Tensor) -> dict[str, Any]:
        """Write the mask of a picture at the picture's size; return its path, and the shares of the largest classes."""
        layer, names = self.objective.layer(predicted)
        labels = restored(layer, size, self.stated, BEYOND)
        legend = self.objective.legend()
        path = self._free(Path(MASKS) / picture.name.with_suffix(".png"))
        write_mask(
            self.folder / path,
            labels.numpy(),
            {label: legend[name] for label, name in names.items() if name in legend},
        )
        counts = labels.flatten().long().bincount(minlength=BEYOND + 1).double() / labels.numel()
        largest = counts.argsort(descending=True)[: self.most].tolist()
        shares = [(names.get(label, str(label)), counts[label].item()) for label in largest if counts[label] > 0]
        return {"mask": printable(path), **numbered(shares, "share")}

    def _free(self, path: Path) -> Path:
        """Return the path, or one with a number if another picture's mask is called so."""
        free, number = path, 1
        while free in self.taken:
            number += 1
            free = path.with_stem(f"{path.stem}_{number}")
        self.taken.add(free)
        return free


def _print(settings: PredictSettings, target: Target, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        shown = [{key: _written(value) for key, value in row.items()} for row in rows[:SHOWN]]
        print_table(f"{target.net.plan.name}, op={target.assignment.title()}", shown)
    more = f", {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    print(f"{shortest_path(settings.folder / PREDICTIONS)}: {len(rows)} images{more and more + ' than are shown'}")


def _written(value: Any) -> Any:
    return f"{value:.4f}" if isinstance(value, float) else value
