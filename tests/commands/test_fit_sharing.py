"""Fitting the remap to a pair of saved nets: what is read, what is written, what is refused."""

import csv
import logging
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from shiftaddaug import operators
from shiftaddaug.commands.entry import run_command
from shiftaddaug.commands.fit_sharing import _load, fit_sharing
from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.remap import Remap, laplace_of_normal
from shiftaddaug.hybrid.remap_file import read_remap
from shiftaddaug.nets.build import assign, build_supernet
from shiftaddaug.nets.extract import extract_target, save_target
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.nets.tables import plan_net
from tests.commands.running import ROOT, composed

SCALES = {"mult": 0.1, "add": 5.0, "shift": 0.1}
SHIFT = Remap("residual", 0.2, relative=True)


def trained(folder: Path, op: str, *overrides: str) -> tuple[Supernet, dict[str, Any]]:
    """A net as if trained: Gaussian weights for mult, Laplacian for add, remapped Gaussian latents for shift."""
    raw = OmegaConf.to_container(composed(folder, f"op={op}", "data.image_size=16", *overrides), resolve=True)
    assert isinstance(raw, dict)
    config = {str(key): value for key, value in raw.items()}
    net, aug = config["net"], config["aug"]
    plan = plan_net(net, 10, 1, 16)
    assignment = assign(plan, operators.from_config(config["op"]), net["mult_layers"])
    supernet = build_supernet(plan, assignment, aug["width_multipliers"], aug["expand_multipliers"])
    generator = torch.Generator().manual_seed(sorted(operators.available()).index(op))
    for layer in supernet.hybrid_layers().values():
        w = torch.randn(layer.weight.shape, generator=generator)
        if op == "add":
            w = laplace_of_normal(w)
        layer.weight.data = SHIFT(0.1 * w) if op == "shift" else w * SCALES[op]
    return supernet, config


def save(folder: Path, op: str, *overrides: str) -> Path:
    """A run's folder with its checkpoint and its target."""
    folder.mkdir()
    supernet, config = trained(folder, op, *overrides)
    state = {f"net.{name}": value for name, value in supernet.state_dict().items()}
    torch.save({"config": config, "state_dict": state}, folder / "best.ckpt")
    target = extract_target(supernet)
    save_target(target, folder / "target")
    return folder


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nets")
    for op in ("mult", "add", "shift"):
        save(folder / op, op)
    save(folder / "other", "add", "net=mbv2_w035", "aug=none")
    return folder


def fit(folder: Path, mult: Path, mf: Path, *overrides: str) -> float:
    arguments = [f"mult_ckpt={mult}", f"mf_ckpt={mf}", *overrides]
    return fit_sharing(composed(folder, *arguments, config_name="fit_sharing"))


def read(folder: Path) -> tuple[Remap, list[dict[str, str]]]:
    with (folder / "fit.csv").open() as file:
        fields = yaml.safe_load((folder / "remap.yaml").read_text())
        return Remap(**read_remap(str(folder / "remap.yaml"), fields["op"])[0]), list(csv.DictReader(file))


def test_what_a_fit_leaves(nets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left = fit(tmp_path / "run", nets / "mult" / "best.ckpt", nets / "add" / "best.ckpt")
    remap, rows = read(tmp_path / "run")
    assert (remap.form, remap.relative) == ("replace", False)
    assert remap.laplace_scale == pytest.approx(5, rel=0.03)
    assert remap.laplace_mean == pytest.approx(0, abs=0.2)
    assert {row["layer"].split(".")[0] for row in rows} == {
        "blocks",
        "head",
    }  # stem and classifier multiply in an add net
    assert sum(int(row["weights"]) * float(row["remap_to_mf"]) for row in rows) / sum(
        int(row["weights"]) for row in rows
    ) == pytest.approx(left)
    large = [row for row in rows if int(row["weights"]) > 1000 and row["layer"].startswith("blocks")]
    assert len(large) > 5
    for row in large:
        assert float(row["mult_to_mf"]) > 0.3
        assert float(row["remap_to_mf"]) < 2 * math.sqrt(2 / int(row["weights"]))
    assert (tmp_path / "run" / "distributions.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "Kolmogorov-Smirnov distances" in printed
    assert "all" in printed


def test_deployed_targets_give_what_their_checkpoints_give(nets: Path, tmp_path: Path) -> None:
    """Neither multiplication nor add changes its weights when it is deployed."""
    fit(tmp_path / "a", nets / "mult" / "best.ckpt", nets / "add" / "best.ckpt")
    fit(tmp_path / "b", nets / "mult" / "target", nets / "add" / "target" / "model.safetensors")
    assert read(tmp_path / "a") == read(tmp_path / "b")


def test_shift_is_fitted_to_latent_weights(nets: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fit(tmp_path / "latent", nets / "mult" / "best.ckpt", nets / "shift" / "best.ckpt")
    assert "powers of two" not in caplog.text
    remap, rows = read(tmp_path / "latent")
    assert (remap.form, remap.relative) == ("residual", True)
    assert "classifier" in {row["layer"] for row in rows}
    w = 0.1 * torch.randn(5000, generator=torch.Generator().manual_seed(5))
    inside = (w - w.mean()).abs() < 0.2
    torch.testing.assert_close(remap(w)[inside], SHIFT(w)[inside], rtol=0, atol=0.005)
    with caplog.at_level(logging.WARNING):
        fit(tmp_path / "stored", nets / "mult" / "target", nets / "shift" / "target")
    assert (
        "target: a deployed net of op=shift stores rounded weights; better give the checkpoints/best.ckpt"
        in caplog.text
    )


def test_form_units_and_knots_can_be_told(nets: Path, tmp_path: Path) -> None:
    told = ("form=residual", "relative=true", "knots=5", "trim=0.01")
    fit(tmp_path / "run", nets / "mult" / "target", nets / "add" / "target", *told)
    remap, _ = read(tmp_path / "run")
    assert (remap.form, remap.relative, len(remap.knots_x)) == ("residual", True, 5)


@pytest.mark.parametrize(
    ("mult", "mf", "told", "message"),
    [
        ("mult/target", "other/target", "", r"mf_ckpt=.*: has another architecture than mult_ckpt=.*; layer stem"),
        ("mult/target", "mult/target", "", r"mf_ckpt=.*: was trained with op=mult, which has no remap"),
        ("add/best.ckpt", "add/target", "", r"mult_ckpt=.*: was trained with op=add; needs op=mult"),
        ("none.ckpt", "add/target", "", r"mult_ckpt=.*none\.ckpt: no such file; options: a \.ckpt file, a run's"),
        ("mult/target", "", "", r"mf_ckpt=.*: no architecture\.json there"),
        ("mult/target", "add/target", "form=add", "form=add: must be replace, residual, or null"),
        ("mult/target", "add/target", "relative=2", "relative=2: must be true, false, or null"),
        ("mult/target", "add/target", "knots=1", "knots=1: must be a whole number >= 2 and <= 1000"),
        ("mult/target", "add/target", "trim=0.5", r"trim=0\.5: must be a number >= 0 and <= 0\.25"),
    ],
)
def test_mistakes(nets: Path, tmp_path: Path, mult: str, mf: str, told: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        fit(tmp_path / "run", nets / mult, nets / mf, *([told] if told else []))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_damaged_checkpoint_and_weights_that_diverged(nets: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.ckpt"
    damaged.write_bytes((nets / "add" / "best.ckpt").read_bytes()[:3000])
    with pytest.raises(UserError, match=r"mf_ckpt=.*damaged\.ckpt: not a readable checkpoint"):
        fit(tmp_path / "run", nets / "mult" / "target", damaged)
    checkpoint = torch.load(nets / "add" / "best.ckpt", weights_only=True)
    checkpoint["state_dict"]["net.blocks.0.project.conv.weight"].fill_(math.nan)
    torch.save(checkpoint, tmp_path / "nan.ckpt")
    with pytest.raises(UserError, match=r"mf_ckpt=.*nan\.ckpt: layer blocks\.0\.project\.conv has weights that are no"):
        fit(tmp_path / "run", nets / "mult" / "target", tmp_path / "nan.ckpt")


def test_a_checkpoint_in_gaussian_form_is_refused(nets: Path, tmp_path: Path) -> None:
    for op in ("mult", "add"):
        checkpoint = torch.load(nets / op / "best.ckpt", weights_only=True)
        checkpoint["config"]["sharing"] = {"name": "heterogeneous"}
        torch.save(checkpoint, tmp_path / f"{op}.ckpt")
    assert _load("mult_ckpt", tmp_path / "mult.ckpt").operator.name == "mult"  # stores what it multiplies with
    with pytest.raises(UserError, match=r"mf_ckpt=.*add\.ckpt: was trained with sharing=heterogeneous and stores"):
        _load("mf_ckpt", tmp_path / "add.ckpt")


def test_a_fit_is_never_overwritten(nets: Path, tmp_path: Path) -> None:
    (tmp_path / "remap.yaml").write_text("form: replace\n")
    with pytest.raises(UserError, match="holds a fit already, which is never overwritten"):
        fit(tmp_path, nets / "mult" / "target", nets / "add" / "target")
    assert (tmp_path / "remap.yaml").read_text() == "form: replace\n"


def test_weights_that_no_remap_brings_nearer_are_warned_of(
    nets: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    narrow = tmp_path / "narrow.ckpt"
    checkpoint = torch.load(nets / "shift" / "best.ckpt", weights_only=True)
    mult = torch.load(nets / "mult" / "best.ckpt", weights_only=True)["state_dict"]
    for name, value in mult.items():
        if value.dim() > 1:
            checkpoint["state_dict"][name] = value / 2
    torch.save(checkpoint, narrow)
    fit(tmp_path / "run", nets / "mult" / "best.ckpt", narrow)
    assert "hardly nearer to those of op=shift" in caplog.text


def test_the_yaml_opens_with_a_command_that_composes(tmp_path: Path) -> None:
    first = (ROOT / "configs" / "fit_sharing.yaml").read_text().splitlines()[0]
    arguments = first.removeprefix("# python src/fit_sharing.py ").replace("<run>", "run").split()
    cfg = composed(tmp_path / "run", *arguments, config_name="fit_sharing")
    assert (cfg.mult_ckpt, cfg.mf_ckpt) == ("run/checkpoints/best.ckpt",) * 2
    assert OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


def test_the_command_line(
    nets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Composes with Hydra, makes the folder, and answers a missing key in one line."""
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    pair = [f"mult_ckpt={nets / 'mult' / 'target'}", f"mf_ckpt={nets / 'add' / 'target'}"]
    monkeypatch.setattr(sys, "argv", ["fit_sharing.py", *pair])
    run_command("fit_sharing", fit_sharing)
    (written,) = (tmp_path / "logs" / "fit_sharing" / "runs").glob("*/remap.yaml")
    first, second, *_ = written.read_text().splitlines()
    assert first == f"# python fit_sharing.py {pair[0]} {pair[1]}"
    assert second == "op: add"
    assert read(written.parent)[0].laplace_scale == pytest.approx(5, rel=0.03)
    monkeypatch.setattr(sys, "argv", ["fit_sharing.py", pair[0]])
    with pytest.raises(SystemExit) as exit_:
        run_command("fit_sharing", fit_sharing)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "mf_ckpt" in error
