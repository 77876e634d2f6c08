"""The second stage of an architecture search: the target, inside of the deep sub-network of a trained supernet."""

import hashlib
import json
import logging
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from shiftaddaug import tasks
from shiftaddaug.catalogue import Catalogue, catalogue_of
from shiftaddaug.data.checks import settings_of
from shiftaddaug.errors import DAMAGE, UserError, reason_of
from shiftaddaug.files import read_yaml
from shiftaddaug.hardware.candidates import Pricer
from shiftaddaug.nas.settings import SpaceSettings, check_space
from shiftaddaug.nas.space import Choices, Point
from shiftaddaug.nets import archs
from shiftaddaug.nets.plan import Plan
from shiftaddaug.report.results import CONFIG, read_json
from shiftaddaug.runs.importing import importing_torch
from shiftaddaug.runs.places import refuse_old_run
from shiftaddaug.runs.rules import say_no_effect, typed_of
from shiftaddaug.runs.search_settings import SearchSettings, operators_of
from shiftaddaug.runs.study_storage import answering_storage
from shiftaddaug.runs.target_plan import target_plan
from shiftaddaug.search.evolution import Evolution
from shiftaddaug.search.found import Found
from shiftaddaug.search.limits import Limits
from shiftaddaug.search.supernet import CHECKPOINT, FILE, FORMAT

if TYPE_CHECKING:
    from shiftaddaug.nas.inherited import Inherited

log = logging.getLogger(__name__)

OF_SUPERNET = ("net", "arch", "aug", "op", "optim", "task", "reorder", "block_variant", "callbacks", "trainer")
"""Groups that the supernet's training has decided."""
KEPT_DATA = ("data_dir", "verify", "num_workers")
"""Keys of `data` that may be given anew."""
LISTS = ("kernels", "expand_ratios", "widths")
KEYS = {"kernel": "kernels", "expand": "expand_ratios", "width": "widths", "depth": "least_depth"}
"""Keys of `space` by the kind of choice."""


@dataclass(frozen=True)
class Trained:
    """A supernet's run, as its files say."""

    folder: Path
    config: Mapping[str, Any]
    space: SpaceSettings
    deep: Point
    checkpoint: Path
    plan: Plan
    """The plan of the largest network."""


def search_target(settings: SearchSettings, typed: Sequence[str]) -> float:
    """Search for the target; write it, the Pareto front, and every network; return the best score.

    Args:
        settings: of the search.
        typed: what the user typed.

    Raises:
        UserError: a mistake, before anything expensive; limits that nothing keeps.
    """
    refuse_old_run(settings.folder)
    catalogue = catalogue_of(list(settings.top.plugins))
    trained = read_trained(settings, catalogue)
    say_what_is_decided(settings, trained, typed)
    space = space_of(settings, trained, typed)
    choices = Choices(trained.plan, space, trained.config["net"]["divisor"], within=trained.deep)
    evolution = evolution_of(settings, trained, choices, catalogue)
    inherited = _inherited(settings, trained, choices, typed, catalogue)
    with answering_storage(settings.method.storage, "search.storage"), _saying_how_to_go_on(settings):
        evolution.run(lambda point: inherited(choices.spec(point)))
    about = {
        "net": trained.plan.name,
        "data": trained.config["data"]["name"],
        "supernet": str(trained.folder),
        "hardware": settings.hardware.name,
        "limits": settings.limits.by_cost(),
        "sampler": settings.method.sampler,
        "seed": settings.top.seed,
        "command": shlex.join(sys.argv),
    }
    operators = {each.name: each for each in operators_of(list(choices.operators), catalogue)}
    table, figure = trained.config["net"], inherited.figure
    found = Found(settings.folder, table, choices, trained.deep, operators, figure, about, catalogue)
    return found.report(evolution, f"{len(evolution.scored())} networks of {trained.plan.name}, {about['data']}")


@contextmanager
def _saying_how_to_go_on(settings: SearchSettings) -> Iterator[None]:
    """Add to Ctrl-C that nothing is lost, where the study is kept."""
    try:
        yield
    except KeyboardInterrupt:
        kept = settings.method.storage is not None
        raise KeyboardInterrupt(*(["the same command goes on with the search"] if kept else [])) from None


def read_trained(settings: SearchSettings, catalogue: Catalogue) -> Trained:
    """Return the supernet that `supernet` names.

    Raises:
        UserError: it names none, or a damaged one.
    """
    if settings.top.supernet is None:
        raise UserError(
            "supernet=null: stage=target searches inside of a trained supernet; options: the folder of a run of "
            "stage=supernet"
        )
    folder = Path(str(settings.top.supernet)).expanduser()
    try:
        contents = read_json(folder / FILE)
        if contents["format"] != FORMAT:
            raise ValueError(f"{FILE} is of format {contents['format']}, this version reads {FORMAT}")
        raw: Any = read_yaml(folder / CONFIG)
        config: dict[str, Any] = dict(raw)
        space = check_space(contents["space"])
        task = tasks.settings_from(config["task"], catalogue)
        plan = target_plan(config, archs.check_arch(config["arch"], catalogue), task, catalogue)
        choices = Choices(plan, space, config["net"]["divisor"])
        deep = dict(contents["deep"])
        wrong = [n for n, o in choices.parameters.items() if not n.startswith("operator.") and deep.get(n) not in o]
        if wrong:
            raise ValueError(f"its deep sub-network has {wrong[0]}={deep.get(wrong[0])}")
        checkpoint = folder / str(contents[CHECKPOINT])
    except FileNotFoundError as error:
        missing = Path(str(error.filename)).name
        raise UserError(f"supernet={folder}: no {missing} there; options: a finished run of stage=supernet") from None
    except OSError as error:
        raise UserError(f"supernet={folder}: cannot be read ({reason_of(error)})") from None
    except (UserError, YAMLError, OmegaConfBaseException, *DAMAGE) as error:
        raise UserError(f"supernet={folder}: not a readable supernet ({' '.join(str(error).split())[:200]})") from None
    if not checkpoint.is_file():
        raise UserError(
            f"supernet={folder}: no {contents[CHECKPOINT]} there; options: a finished run of stage=supernet"
        )
    return Trained(folder, config, space, deep, checkpoint, plan)


def say_what_is_decided(settings: SearchSettings, trained: Trained, typed: Sequence[str]) -> None:
    """Warn of what the supernet's training has decided otherwise."""
    spared = [f"data.{key}" for key in KEPT_DATA]
    for group in ("data", *OF_SUPERNET):
        ours, theirs = (config.get(group) or {} for config in (settings.config, trained.config))
        if "name" in ours and ours["name"] == theirs.get("name"):
            spared.append(f"{group}={ours['name']}")
    others = [each for each in typed_of((*OF_SUPERNET, "data"), typed) if not typed_of(spared, [each])]
    others = [each for each in others if each not in spared]
    if others:
        say_no_effect("the supernet was trained as it was", others)


def space_of(settings: SearchSettings, trained: Trained, typed: Sequence[str]) -> SpaceSettings:
    """Return the space that is searched: the supernet's, with the operators and the choices that the user typed.

    Raises:
        UserError: a choice that the supernet lacks.
    """
    names = {field.name for field in fields(SpaceSettings)}
    given = {key for key in names if typed_of([f"space.{key}"], typed)}
    if any(override.startswith("space=") for override in typed):
        given = names - {"image_sizes", "width_mults"}
    ours, theirs = settings.space, trained.space
    for key in given & set(LISTS):
        absent = [each for each in getattr(ours, key) if each not in getattr(theirs, key)]
        if absent:
            options = ", ".join(map(str, getattr(theirs, key)))
            raise UserError(
                f"space.{key}: {absent[0]}: supernet={trained.folder} has no such choice; options: {options}"
            )
    if "least_depth" in given and ours.least_depth < theirs.least_depth:
        raise UserError(
            f"space.least_depth={ours.least_depth}: supernet={trained.folder} has no such choice; options: "
            f"{theirs.least_depth} and more"
        )
    space = replace(theirs, **{key: getattr(ours, key) for key in given})
    empty = [
        key
        for key in LISTS
        if not any(each <= most for each in getattr(space, key) for most in _most(trained.deep, key))
    ]
    if empty:
        raise UserError(f"space.{empty[0]}: the deep sub-network of supernet={trained.folder} is smaller everywhere")
    return space


def _most(deep: Point, key: str) -> list[Any]:
    start = {"kernels": "kernel.", "expand_ratios": "expand.", "widths": "width."}[key]
    return [value for name, value in deep.items() if name.startswith(start)]


def evolution_of(settings: SearchSettings, trained: Trained, choices: Choices, catalogue: Catalogue) -> Evolution:
    """Return the search; raise before anything expensive what is wrong with it.

    Raises:
        UserError: limits that nothing keeps, or that the hardware does not price; an empty space; a foreign study.
    """
    for name, options in choices.parameters.items():
        if not options:
            kind, _, where = name.partition(".")
            raise UserError(
                f"space.{KEYS[kind]}: nothing is as small as the deep sub-network of supernet={trained.folder} "
                f"at {where}; options: {trained.deep[name]} and less"
            )
    hardware, limits = settings.hardware, settings.limits.by_cost()
    if hardware.accelerator is None:
        priced = next((name for name in ("energy_mj", "latency_ms") if getattr(settings.limits, name)), None)
        if priced:
            raise UserError(
                f"limits.{priced}={getattr(settings.limits, priced):g}: hardware={hardware.name} has no energy and no "
                f"latency; options: eyeriss_168, eyeriss_192"
            )
    operators = {each.name: each for each in operators_of(list(choices.operators), catalogue)}
    pricer = Pricer(trained.plan, [operators[name] for name in choices.operators], hardware)
    cost = "macs" if hardware.accelerator is None else f"energy_mj_{settings.limits.mode}"
    if cost == "macs" and len(choices.space.operators) > 1:
        log.warning(
            "hardware=%s has no energy: networks are compared by their MACs, which no operator changes; options: "
            "eyeriss_168, eyeriss_192",
            hardware.name,
        )
    searched = searched_by(settings, trained, choices, limits)
    name = settings.method.study_name or f"target {_hash(searched)}"
    figure = tasks.settings_from(trained.config["task"], catalogue).headline_figure
    return Evolution(
        choices,
        pricer,
        Limits(limits),
        cost,
        figure.better,
        settings.method,
        settings.top.seed,
        settings.method.storage,
        name,
        searched,
    )


def searched_by(
    settings: SearchSettings, trained: Trained, choices: Choices, limits: Mapping[str, float]
) -> dict[str, Any]:
    """Return all that the networks of a study and their scores depend on, as plain containers."""
    method = settings.method
    return {
        "supernet": hashlib.sha256(trained.checkpoint.read_bytes()).hexdigest()[:16],
        "space": {name: list(options) for name, options in choices.parameters.items()},
        "hardware": settings.config["hardware"],
        "limits": dict(limits),
        "mode": settings.limits.mode,
        "sharing": settings.config["sharing"],
        "score": [method.calibration_batches, method.score_images],
        "sampler": [method.sampler, method.population],
        "seed": settings.top.seed,
    }


def _hash(searched: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(searched, sort_keys=True).encode()).hexdigest()[:8]


def _data_given(settings: SearchSettings, typed: Sequence[str]) -> dict[str, Any]:
    """Return what the user has typed of where images lie and how they are read."""
    data, data_dir = settings.config["data"], settings.config["paths"].get("data_dir")
    given = {key: data[key] for key in KEPT_DATA if typed_of([f"data.{key}"], typed) and key in data}
    return ({"data_dir": data_dir} if typed_of(["paths.data_dir"], typed) else {}) | given


def _inherited(
    settings: SearchSettings, trained: Trained, choices: Choices, typed: Sequence[str], catalogue: Catalogue
) -> "Inherited":
    """Return what scores networks: the supernet with its weights, and the images."""
    data_config = {**trained.config["data"], **_data_given(settings, typed)}
    settings_of(data_config)
    with importing_torch():
        import lightning.pytorch as pl

        from shiftaddaug.data.stored import data_module_of
        from shiftaddaug.nas.inherited import Inherited, calibration_images, scored_batches
        from shiftaddaug.search.making import alternatives_of, load_supernet
    pl.seed_everything(settings.top.seed, workers=True, verbose=False)
    alternatives = alternatives_of(list(choices.operators), catalogue)
    supernet = load_supernet(trained.checkpoint, trained.plan, alternatives, settings.config["sharing"])
    objective = tasks.build(trained.config["task"], trained.plan.num_classes, catalogue)
    data: Any = data_module_of(data_config, catalogue)
    data.prepare_data()
    data.setup("fit")
    images = calibration_images(data, settings.method.calibration_batches)
    return Inherited(supernet, objective, images, scored_batches(data, settings.method.score_images))
