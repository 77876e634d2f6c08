"""What a run says of itself: config.yaml and run.json before it trains, results.json and a table at its end."""

import logging
import math
import shlex
import sys
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import OmegaConf

from shiftaddaug.errors import UserError, reason_of
from shiftaddaug.files import write_whole
from shiftaddaug.nets.cost import NetCost, net_cost
from shiftaddaug.nets.sizes import shown_size
from shiftaddaug.report.cost import cost_record, cost_rows
from shiftaddaug.report.guarded import GuardedLogger
from shiftaddaug.report.loggers import whereabouts
from shiftaddaug.report.results import (
    CONFIG,
    RESULTS,
    RUN,
    code_hash,
    git_commit,
    print_result,
    shortest_path,
    write_json,
)
from shiftaddaug.runs.compose import PACKAGE, ROOT
from shiftaddaug.runs.identity import IDENTITY, identity_hash
from shiftaddaug.runs.longer import LENGTHENED
from shiftaddaug.runs.places import refuse_old_run
from shiftaddaug.runs.prepare import Prepared
from shiftaddaug.runs.target import Deployed
from shiftaddaug.runs.target_plan import warn_of_size

log = logging.getLogger(__name__)

Record = dict[str, Any]
"""What run.json and results.json hold."""


def begin(run: Prepared) -> Record:
    """Hand the hyperparameters to the loggers, write config.yaml and run.json; return what the latter says.

    Raises:
        UserError: the folder holds a run already, or a logger cannot be written to.
    """
    settings, cost = run.settings, net_cost(run.settings.plan, run.assignment)
    priced = cost_record(settings.plan, run.assignment, settings.hardware)
    record = _identity(run) | _cost(cost) | priced | _circumstances(run)
    if run.trainer.is_global_zero:
        _announce(run, cost, record["supernet_params"])
        refuse_old_run(settings.folder)
    for logger in run.loggers:
        _introduce(logger, _hyperparameters(run, record))
        place = whereabouts(logger.guarded) if run.trainer.is_global_zero else None
        if place is not None:
            log.info("%s: %s", logger.key, place)
    if run.trainer.is_global_zero:
        settings.folder.mkdir(parents=True, exist_ok=True)
        write_whole(settings.folder / CONFIG, OmegaConf.to_yaml(settings.config))
        write_json(settings.folder / RUN, record)
    return record


def _introduce(logger: GuardedLogger, hyperparameters: dict[str, Any]) -> None:
    """Hand the hyperparameters to a logger, which opens what it writes with.

    Raises:
        UserError: it cannot. Later, when something has been trained, its failures are warned of.
    """
    try:
        logger.guarded.log_hyperparams(hyperparameters)
        getattr(logger.guarded, "experiment", None)
    except (Exception, SystemExit) as error:  # whatever a server's owner thought of
        raise UserError(f"{logger.key}: cannot be written to ({reason_of(error)})") from error


def _identity(run: Prepared) -> Record:
    settings = run.settings
    return {
        "net": settings.plan.name,
        "arch": settings.arch.name,
        "op": settings.config["op"]["name"],
        "aug": settings.aug.name,
        "data": settings.config["data"]["name"],
        **settings.task.record(settings.plan.num_classes),
        "seed": settings.top.seed,
        IDENTITY: identity_hash(settings.config),
    }


def _cost(cost: NetCost) -> Record:
    return {
        "params": cost.params,
        "macs": cost.macs,
        "multiplication_free_macs_percent": round(100 * cost.multiplication_free_share, 1),
        "operations": dict(cost.operations),
    }


def _circumstances(run: Prepared) -> Record:
    return {
        "supernet_params": sum(p.numel() for p in run.task.net.parameters()),
        "git_commit": git_commit(ROOT),
        "code": code_hash(PACKAGE),
        "torch": torch.__version__,
        "command": shlex.join(sys.argv),
        "folder": str(run.settings.folder),
        "debug": run.settings.top.debug,
        "bn": run.statistics,
        "tags": list(run.settings.top.tags),
        "idle": dict(run.idle),
        **({LENGTHENED: list(run.lengthened_from)} if run.lengthened_from else {}),
        "resumed_from": None,
        **({} if run.ckpt_path is None else {_from(run): str(run.ckpt_path.absolute())}),
    }


def _from(run: Prepared) -> str:
    """Return the key of the checkpoint: a run whose weights are only deployed has not gone on, nor has it finished."""
    return "resumed_from" if run.settings.top.train else "deployed_from"


def _announce(run: Prepared, cost: NetCost, supernet_params: int) -> None:
    settings = run.settings
    log.info(
        "net=%s op=%s aug=%s: target %.4g M params, %.4g M MACs at %s px, %.1f %% of them multiplication-free; "
        "supernet %.4g M params",
        settings.plan.name,
        settings.config["op"]["name"],
        settings.aug.name,
        cost.params / 1e6,
        cost.macs / 1e6,
        shown_size(settings.plan.image_size),
        100 * cost.multiplication_free_share,
        supernet_params / 1e6,
    )
    warn_of_size(settings.plan, settings.config["data"], settings.task)
    for operator in run.assignment.operators():
        described = operator.describe(run.trainer.strategy.root_device.type)
        if described is not None:
            log.info(described)


def _hyperparameters(run: Prepared, record: Record) -> dict[str, Any]:
    """Return what distinguishes runs: the configuration, less where they lie, and the code."""
    config = {key: value for key, value in run.settings.config.items() if key != "paths"}
    return config | {key: record[key] for key in ("git_commit", "code")}


def report(run: Prepared, deployed: Deployed, record: Record) -> float:
    """Write results.json, print the table; return the headline figure on validation, as it was measured.

    It is nan where nothing was validated. A search takes a trial whose score is nan for a failed one.

    Args:
        run: that was trained.
        deployed: its target.
        record: of all steps.
    """
    task, headline = run.settings.task, run.settings.task.headline_figure
    if run.trainer.is_global_zero:
        write_json(run.settings.folder / RESULTS, record)
        _tell_loggers(run, record)
        _print(run, deployed, record)
    if not deployed.validated:
        return math.nan
    value = headline.measured(record[headline.key("val")])
    if math.isnan(value):
        log.warning("task=%s: its headline %s is no number on validation", task.name, headline.name)
    return value


def _tell_loggers(run: Prepared, record: Record) -> None:
    numbers = {key: each for key, each in record.items() if type(each) in (int, float)}  # no bools
    final = {f"final/{key}": value for key, value in numbers.items()}
    for logger in run.loggers:
        logger.log_metrics(final)
        if isinstance(logger.guarded, TensorBoardLogger):  # whose table of runs is written with results alone
            logger.log_hyperparams(_hyperparameters(run, record), final)


def _print(run: Prepared, deployed: Deployed, r: Mapping[str, Any]) -> None:
    headline = run.settings.task.headline_figure
    validation = "none: data.val_fraction=0, the last epoch is deployed"
    if deployed.validated:
        validation = headline.written(r[headline.key("val")])
    test = headline.written(r[headline.key("test")]) if r["tested"] else "none: test=false"
    print_result(
        f"target of {r['net']}, op={r['op']}, aug={r['aug']}, data={r['data']}, seed={r['seed']}",
        {
            f"{headline.title} (test)": test,
            f"{headline.title} (validation)": validation,
            "params": f"{r['params']:,}",
            "MACs": f"{r['macs']:,} ({r['multiplication_free_macs_percent']} % multiplication-free)",
            **cost_rows(r),
            "target": shortest_path(deployed.folder),
        },
    )
