"""`python src/fit_sharing.py mult_ckpt=... mf_ckpt=...`: fit the remap of weight sharing to a pair of trained nets."""

import logging
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta
from omegaconf import DictConfig

from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue, catalogue_of
from shiftaddaug.commands.entry import run_command
from shiftaddaug.errors import UserError, printable
from shiftaddaug.files import write_whole
from shiftaddaug.hybrid.remap_file import OPERATOR
from shiftaddaug.hybrid.settings import kind_of_sharing
from shiftaddaug.operators.remap_settings import FORMS
from shiftaddaug.runs.compose import plain
from shiftaddaug.runs.importing import importing_torch
from shiftaddaug.runs.named import trained
from shiftaddaug.runs.settings import PathsSettings
from shiftaddaug.settings import CheckpointPath, PluginNames, check_group

if TYPE_CHECKING:
    from torch import Tensor

    from shiftaddaug.hybrid.remap import Remap
    from shiftaddaug.nets.extract import Target
    from shiftaddaug.operators.base import Operator

log = logging.getLogger(__name__)

REMAP, FIT, FIGURE = "remap.yaml", "fit.csv", "distributions.png"


@dataclass(frozen=True)
class FitSettings:
    """Keys of configs/fit_sharing.yaml."""

    mult_ckpt: CheckpointPath
    mf_ckpt: CheckpointPath
    plugins: PluginNames = ()  # type: ignore[assignment]
    form: Annotated[Literal[FORMS] | None, Meta(title="replace, residual, or null (by operator)")] = None  # type: ignore[valid-type]
    relative: Annotated[bool | None, Meta(title="true, false, or null (by operator)")] = None
    knots: Annotated[int, Meta(ge=2, le=1000)] = 33
    trim: Annotated[float, Meta(ge=0, le=0.25)] = 0.001


@dataclass(frozen=True)
class Trained:
    """What is fitted: a net's target, as it was trained."""

    operator: "Operator"
    """The operator of the layers that do not multiply, or mult."""
    mult_layers: frozenset[str]
    """Names of the layers that multiply."""
    weights: Mapping[str, "Tensor"]
    """Weights by layer, of the target's shape."""


def fit_sharing(cfg: DictConfig) -> float:
    """Fit, write remap.yaml, fit.csv and distributions.json into the run's folder, draw it, print a table.

    Returns:
        The Kolmogorov-Smirnov distance that is left between remapped and multiplication-free weights, in [0, 1], the
        mean over the layers, each weight counting the same.

    Raises:
        UserError: a mistake in the configuration, no such checkpoint, a damaged one, or two that make no pair.
    """
    settings, folder = _check(cfg)
    catalogue = catalogue_of(settings.plugins)

    with importing_torch():
        from shiftaddaug.hybrid.fit_remap import fit_remap, layer_fits
        from shiftaddaug.report.distributions import write_fits
        from shiftaddaug.report.drawing import draw_figures
        from shiftaddaug.report.figures.distributions import DISTRIBUTIONS
        from shiftaddaug.report.results import write_json

    mult, mf = _load_pair(settings, catalogue)
    known = mf.operator.remap
    assert known is not None
    form = known.form if settings.form is None else settings.form
    relative = known.relative if settings.relative is None else settings.relative
    remapped_layers = {name: weight for name, weight in mf.weights.items() if name not in mf.mult_layers}
    remap = fit_remap(mult.weights, remapped_layers, form, relative, settings.knots, settings.trim)
    rows = layer_fits(remap, mult.weights, remapped_layers)

    if (folder / REMAP).exists():
        raise UserError(f"paths.output_dir={folder}: holds a fit already, which is never overwritten")
    folder.mkdir(parents=True, exist_ok=True)
    _write_remap(folder / REMAP, remap, mf.operator.name)
    write_fits(folder / FIT, rows)
    write_json(folder / DISTRIBUTIONS, _distributions(mf.operator.name, remap, mult.weights, remapped_layers))
    draw_figures(folder, catalogue)
    return _report(folder, mf.operator.name, remap, rows)


def _check(cfg: DictConfig) -> tuple[FitSettings, Path]:
    """Return the settings and the folder that is written into."""
    config = plain(cfg)
    paths = check_group("paths", config.pop("paths"), PathsSettings)
    settings = check_group("", config, FitSettings)
    for key, path in (("mult_ckpt", settings.mult_ckpt), ("mf_ckpt", settings.mf_ckpt)):
        if not Path(str(path)).expanduser().exists():
            raise UserError(f"{key}={path}: no such file; options: a .ckpt file, a run's folder, or its target/")
    return settings, Path(paths.output_dir)


def _load_pair(settings: FitSettings, catalogue: Catalogue) -> tuple[Trained, Trained]:
    mult, mf = (
        _load(key, trained(Path(str(path)).expanduser()), catalogue)
        for key, path in (("mult_ckpt", settings.mult_ckpt), ("mf_ckpt", settings.mf_ckpt))
    )
    if mult.operator.multiplication_free:
        raise UserError(f"mult_ckpt={settings.mult_ckpt}: was trained with op={mult.operator.name}; needs op=mult")
    if mf.operator.remap is None:
        raise UserError(
            f"mf_ckpt={settings.mf_ckpt}: was trained with op={mf.operator.name}, which has no remap to be fitted"
        )
    shapes = [{name: tuple(weight.shape) for name, weight in net.weights.items()} for net in (mult, mf)]
    for name in shapes[0] | shapes[1]:
        ours, theirs = (shape.get(name, "none") for shape in shapes)
        if ours != theirs:
            raise UserError(
                f"mf_ckpt={settings.mf_ckpt}: has another architecture than mult_ckpt={settings.mult_ckpt}; "
                f"layer {name}: {theirs} here, {ours} there"
            )
    return mult, mf


def _load(key: str, path: Path, catalogue: Catalogue = PACKAGE_ONLY) -> Trained:
    """The target of a checkpoint, with the weights that were trained; or a deployed one, with the weights it stores."""
    from shiftaddaug.runs.checkpoints import read_checkpoint
    from shiftaddaug.runs.subnetworks import read_target

    try:
        target = read_target(path, catalogue)
        deployed = path.is_dir() or path.suffix != ".ckpt"
        weights = _stored_weights(target) if deployed else _latent_weights(target, read_checkpoint(path), path)
    except UserError as error:
        raise UserError(str(error).replace("ckpt_path=", f"{key}=", 1)) from None
    operator = _only_operator(key, path, target)
    if deployed and operator.codes(next(iter(weights.values()))) is not None:
        log.warning(
            "%s=%s: a deployed net of op=%s stores rounded weights; better give the checkpoints/best.ckpt of its run, "
            "which holds the latent weights they were rounded from",
            *(key, path, operator.name),
        )
    for name, weight in weights.items():
        if not weight.isfinite().all():
            raise UserError(f"{key}={path}: layer {name} has weights that are no numbers")
    return Trained(operator, target.assignment.exempt(), weights)


def _only_operator(key: str, path: Path, target: "Target") -> "Operator":
    """The operator that a fit is for: the one that multiplies nothing, if there is one.

    Raises:
        UserError: there are several.
    """
    free = target.assignment.multiplication_free()
    if len(free) > 1:
        names = ", ".join(operator.name for operator in free)
        raise UserError(f"{key}={path}: computes with {names}; a remap is fitted for one operator")
    return free[0] if free else target.assignment.operators()[0]


def _stored_weights(target: "Target") -> dict[str, "Tensor"]:
    state = target.net.state_dict()
    return {layer.name: state[f"{layer.name}.weight"] for layer in target.net.plan.layers()}


def _latent_weights(target: "Target", checkpoint: dict[str, Any], path: Path) -> dict[str, "Tensor"]:
    """The leading slices of the supernet's weights; an operator that trains other tensors has its effective ones."""
    sharing = checkpoint["config"].get("sharing") or {"name": "none"}
    if kind_of_sharing(sharing).converts and target.assignment.multiplication_free():
        raise UserError(
            f"ckpt_path={path}: was trained with sharing={sharing['name']} and stores its weights in Gaussian form; "
            f"options: the target folder of its run, or a run with sharing=none"
        )
    weights = {}
    for name, stored in _stored_weights(target).items():
        trained = checkpoint["state_dict"].get(f"net.{name}.weight")
        weights[name] = stored if trained is None else trained[: stored.shape[0], : stored.shape[1]]
    return weights


def _write_remap(path: Path, remap: "Remap", operator: str) -> None:
    import yaml

    fields = yaml.safe_dump({OPERATOR: operator} | remap.config(), default_flow_style=None, sort_keys=False, width=116)
    write_whole(path, f"# python {printable(shlex.join(sys.argv))}\n{fields}")


def _distributions(
    operator: str, remap: "Remap", mult_weights: Mapping[str, "Tensor"], mf_weights: Mapping[str, "Tensor"]
) -> dict[str, Any]:
    from shiftaddaug.hybrid.fit_remap import pool_weights
    from shiftaddaug.report.distributions import distributions

    remapped = {name: remap(mult_weights[name].double()) for name in mf_weights}
    pool = pool_weights(mult_weights, mf_weights, remap.relative)
    unit = "weight, in sigmas of the multiplicative layer" if remap.relative else "weight"
    return distributions(operator, pool, pool_weights(mult_weights, remapped, remap.relative).mf, unit)


def _report(folder: Path, operator: str, remap: "Remap", rows: list[Any]) -> float:
    from shiftaddaug.report.distributions import mean_fit
    from shiftaddaug.report.results import print_result, print_table, shortest_path

    mean = mean_fit(rows)
    if mean.remap_to_mf > 0.9 * mean.mult_to_mf:
        log.warning("the remapped weights are hardly nearer to those of op=%s than the weights as they are", operator)
    cells = [asdict(row) for row in (*rows, mean)]
    table = [{k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()} for row in cells]
    print_table("Kolmogorov-Smirnov distances", table)
    print_result(
        f"remap of op={operator}",
        {
            "form": remap.form,
            "laplace_scale": f"{remap.laplace_scale:.4g}",
            "laplace_mean": f"{remap.laplace_mean:.4g}",
            "units": "sigma of the layer" if remap.relative else "absolute",
            "knots": len(remap.knots_x),
            "remap": shortest_path(folder / REMAP),
            "figure": shortest_path(folder / FIGURE),
        },
    )
    return mean.remap_to_mf


def main() -> None:
    """Run the command."""
    run_command("fit_sharing", fit_sharing)


if __name__ == "__main__":
    main()
