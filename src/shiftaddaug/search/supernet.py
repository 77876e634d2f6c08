"""The first stage of an architecture search: choose a space, train its supernet, cut the deep sub-network out of it."""

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig

from shiftaddaug.errors import UserError
from shiftaddaug.nas.space import Choices
from shiftaddaug.nas.tinynas import Setting, choose, settings_of
from shiftaddaug.report.results import RESULTS, print_table, shortest_path, write_json
from shiftaddaug.report.space import print_space, save_space
from shiftaddaug.runs.held import hold
from shiftaddaug.runs.importing import importing_torch
from shiftaddaug.runs.longer import SUPERNET
from shiftaddaug.runs.memory import check_memory
from shiftaddaug.runs.places import refuse_begun_run
from shiftaddaug.runs.repeated import found, going_on
from shiftaddaug.runs.search_settings import SearchSettings, supernet_config
from shiftaddaug.runs.settings import RunSettings, read_settings
from shiftaddaug.seeding import derive_seed

if TYPE_CHECKING:
    from shiftaddaug.nas.inherited import Inherited
    from shiftaddaug.runs.prepare import Prepared

log = logging.getLogger(__name__)

FORMAT = 1
FILE = "supernet.json"
"""What the second stage reads, in the folder of the run."""
CHECKPOINT = "checkpoint"


def choose_space(settings: SearchSettings) -> Setting:
    """Choose resolution and width of the space, write and print what each of them fits; return the chosen one.

    A space of one resolution and one width is chosen as it is.

    Raises:
        UserError: a limit that no network of the space meets, or no limit by which to choose.
    """
    space, hardware, top = settings.space, settings.hardware, settings.top
    if hardware.sram_kib is None and hardware.flash_kib is None and len(space.image_sizes) * len(space.width_mults) > 1:
        raise UserError(
            f"hardware={hardware.name}: limits no memory, by which a space is chosen; options: stm32f412, stm32f746, "
            f"stm32h743, hardware.sram_kib=NUMBER, or one of each of space.image_sizes and space.width_mults"
        )
    channels = settings.outputs, settings.in_channels
    found = settings_of(settings.table, space, *channels, hardware, top.draws, top.seed)
    best = choose(found, hardware, top.macs_quantile)
    if os.environ.get("LOCAL_RANK", "0") == "0":  # the other processes of a run choose the same
        save_space(settings.folder, found, best, top.macs_quantile)
    print_space(settings.title, found, best, top.macs_quantile)
    return best


def train_supernet(cfg: DictConfig, settings: SearchSettings, typed: Sequence[str], started: float) -> float:
    """Train the supernet of the chosen space, and cut its deep sub-network; return the score of that.

    Args:
        cfg: composed from configs/search.yaml.
        settings: read from it.
        typed: what the user typed.
        started: when the command began.

    Raises:
        UserError: a mistake, before anything expensive.
    """
    refuse_begun_run(settings.folder)
    chosen = choose_space(settings)
    run_settings = read_supernet(cfg, settings, chosen, typed, started)
    with ExitStack() as held:
        run_settings, score = going_on(run_settings, held)
        if score is not None:
            return score
        return _train(settings, found(run_settings, held), chosen, held)


def read_supernet(
    cfg: DictConfig, settings: SearchSettings, chosen: Setting, typed: Sequence[str], started: float | None = None
) -> RunSettings:
    """Return the settings of the supernet's training; arguments are those of `train_supernet`.

    Raises:
        UserError: the first mistake, by key.
    """
    from shiftaddaug.catalogue import catalogue_of

    catalogue = catalogue_of(list(settings.top.plugins))
    read = read_settings(supernet_config(cfg, settings, chosen), typed, catalogue, started)
    if not read.validated:
        raise UserError("data.val_fraction=0: sub-networks are scored on images that nothing has been trained with")
    if read.config["callbacks"].get("last_checkpoint") is None:
        raise UserError("callbacks.last_checkpoint=null: a supernet without a checkpoint cannot be searched")
    read.task.check_distillation(settings.method.distill_weight)
    _check_memory(settings, read)
    sharing = settings.config["sharing"]
    if settings.method.operators == ["mult"]:
        sharing = read.config["sharing"]  # nothing is read through R before the second stage
    return replace(read, config={**read.config, "sharing": sharing, SUPERNET: settings.method.training()})


def _check_memory(settings: SearchSettings, read: RunSettings) -> None:
    """Refuse a step whose networks, all of which are kept for its backward pass, need more memory than there is."""
    data, method = read.config["data"], settings.method
    networks = 1 + method.sandwich + method.random_subnets
    step = replace(read.step, config={**read.config, "data": {**data, "batch_size": networks * data["batch_size"]}})
    try:
        check_memory(step)
    except UserError as error:
        raise UserError(
            f"search.random_subnets={method.random_subnets}: a step trains {networks} networks, on as many images as "
            f"{error}"
        ) from None


def _train(settings: SearchSettings, run_settings: RunSettings, chosen: Setting, held: ExitStack) -> float:
    from shiftaddaug.runs.checkpoints import check_resumed
    from shiftaddaug.runs.processes import leading

    check_resumed(run_settings)
    with importing_torch():
        from shiftaddaug.nas.inherited import Inherited, calibration_images, scored_batches
        from shiftaddaug.runs.finishing import finishing
        from shiftaddaug.runs.fit import fit
        from shiftaddaug.runs.prepare import prepare
        from shiftaddaug.runs.record import begin
        from shiftaddaug.search.making import best_weights, supernet_training

    run = prepare(run_settings, supernet_training)
    record = begin(run)
    if run.trainer.is_global_zero:
        hold(run_settings.folder, held)
    last = run_settings.folder / "checkpoints" / "last.ckpt"
    with finishing(run) as ending, leading(run.trainer.strategy.launcher, last, run.ckpt_path):
        trained = fit(run)
        ending.trained = True
        checkpoint = best_weights(run)
        images = calibration_images(run.data, settings.method.calibration_batches)
        batches = scored_batches(run.data, settings.method.score_images)
        inherited = Inherited(run.task.net, run.task.objective, images, batches)
        deep = cut(settings, run, inherited)
        contents = deep | {CHECKPOINT: str(checkpoint.relative_to(run_settings.folder.absolute()))}
        if run.trainer.is_global_zero:
            _report(settings, run, record | trained, contents, chosen)
    return float(deep["deep_score"])


def cut(settings: SearchSettings, run: "Prepared", inherited: "Inherited") -> dict[str, Any]:
    """Score sub-networks of full depth; return the best as a point, and what the others score.

    NOTE: how ShiftAddAug cuts it is not said. Of some drawn at random it is the one that is best as it is.
    """
    plan, table = run.settings.plan, run.settings.config["net"]
    choices = Choices(plan, settings.space, table["divisor"])
    generator = np.random.default_rng(derive_seed("deep", settings.top.seed))
    drawn = choices.draw(generator, settings.method.deep_draws)
    depths = {name: value for name, value in choices.largest().items() if name.startswith("depth.")}
    points: list[Mapping[str, Any]] = [{**point, **depths} for point in drawn]
    scores = [inherited(choices.spec(point, operates=False)) for point in points]
    ends = {
        f"{name}_score": inherited(choices.spec(point, operates=False))
        for name, point in {"largest": choices.largest(), "smallest": choices.smallest()}.items()
    }
    sign = 1 if inherited.figure.better == "max" else -1
    best = max(range(len(points)), key=lambda i: sign * scores[i])
    deep = {name: value for name, value in points[best].items() if not name.startswith("operator.")}
    return {"deep": deep, "deep_score": scores[best], "median_score": float(np.median(scores)), **ends}


def _report(
    settings: SearchSettings, run: "Prepared", record: dict[str, Any], found: Mapping[str, Any], chosen: Setting
) -> None:
    folder, figure = run.settings.folder, run.settings.task.headline_figure
    contents = {
        "format": FORMAT,
        "space": settings.config["space"],
        "image_size": chosen.image_size,
        "width_mult": chosen.width_mult,
        "figure": figure.name,
        **found,
    }
    scores = {key: figure.recorded(value) for key, value in found.items() if key.endswith("_score")}
    write_json(folder / FILE, contents)
    write_json(folder / RESULTS, record | scores | {figure.key("val"): scores["deep_score"]})
    titles = {"largest": "largest network", "deep": "deep sub-network", "median": "median of its depth"}
    rows = {**titles, "smallest": "smallest network"}
    print_table(
        f"with inherited weights, {settings.title}",
        [{"": title, figure.title: figure.written(scores[f"{key}_score"])} for key, title in rows.items()],
    )
    print(f"next: python src/search.py stage=target supernet={shortest_path(folder)}")
