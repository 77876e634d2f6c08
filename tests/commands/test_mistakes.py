"""Bad input: one clear line on stderr that names the key, the value and the options; status 2; nothing written."""

import errno
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from shiftaddaug.commands.checks import ACCELERATORS, PRECISIONS, check_resumed, check_train_config
from shiftaddaug.commands.entry import refuse_unusable_folders, run_command
from shiftaddaug.commands.evaluate import _data_config, evaluate
from shiftaddaug.commands.run import Run
from shiftaddaug.errors import UserError
from shiftaddaug.report.results import RESULTS
from tests.commands.running import composed


def answer(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, logs: Path, *arguments: str) -> str:
    """What a command that checks its configuration, and does nothing else, prints on stderr; its status is 2."""
    monkeypatch.setattr(sys, "argv", ["train.py", f"paths.log_dir={logs}", *arguments])
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(logs))
    with pytest.raises(SystemExit) as exit_:
        run_command("train", lambda cfg: check_train_config(cfg) and None)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("op=ad", "op=ad: no such option; options: add, mult, shift, shift_ps"),
        ("aug=widht", "aug=widht: no such option; options: depth, expand, full, none, width"),
        ("net=vgg", "net=vgg: no such option; options: mbv2_micro, mbv2_tiny, mbv2_w0"),
        ("data=mnist", "data=mnist: no such option; options: cifar10, cifar100, digits, image_folder, imagenet"),
        ("optim.lrr=1", "optim.lrr: no such key; did you mean optim.lr? options: optim.lr, "),
        ("seeed=1", "seeed: no such key; did you mean seed? options: seed, ckpt_path"),
        ("aug.width_multipliers=[0.5,2]", "aug.width_multipliers=0.5: must be a number >= 1"),
        ("aug.expand_multipliers=[wide]", "aug.expand_multipliers=wide: must be a number >= 1"),
        ("aug.expand_multipliers=[.nan]", "aug.expand_multipliers=.nan: must be a number >= 1"),
        ("aug.width_multipliers=2", "aug.width_multipliers=2: must be a list of numbers >= 1"),
        ("aug.width_multipliers=[]", "aug.width_multipliers=[]: must be a list of numbers >= 1"),
        ("aug.weight=-1", "aug.weight=-1: must be a number >= 0"),
        ("aug.width_until=2", "aug.width_until=2: must be a number >= 0 and <= 1"),
        ("aug.operator=foo", "aug.operator=foo: no such option; options: mult, same"),
        ("aug.distill_weight=-1", "aug.distill_weight=-1: must be a number >= 0"),
        ("aug.distill_temperature=0", "aug.distill_temperature=0: must be a number > 0"),
        ("trainer.max_epochs=0", "trainer.max_epochs=0: must be a positive integer"),
        ("trainer.max_epochs=-3", "trainer.max_epochs=-3: must be a positive integer"),
        ("data.batch_size=0", "data.batch_size=0: must be"),
        ("data.batch_size=-1", "data.batch_size=-1: must be"),
        ("optim.lr=0", "optim.lr=0: must be a number > 0"),
        ("optim.lr=-0.1", "optim.lr=-0.1: must be a number > 0"),
        ("optim.lr=fast", "optim.lr=fast: must be a number > 0"),
        ("data.image_size=8", "data.image_size=8: too small for net=mbv2_micro, whose strides multiply to 16"),
        ("data.num_classes=7", "data.num_classes=7: digits holds 10 classes"),
        ("task.label_smoothing=2", "task.label_smoothing=2: must be a number >= 0 and <= 1"),
        ("task.compile=true", "task.compile=True: no such option; options: inductor, cudagraphs, aot_eager, eager"),
        ("seed=99999999999", "seed=99999999999: must be a number >= 0 and <= 4294967295"),
        ("net.divisor=0", "net.divisor=0: must be a positive integer"),
        ("aug.divisor=0", "aug.divisor=0: must be a positive integer"),
        ("op.weight_bits=99", "op.weight_bits=99: must be between 2 and 8"),
        ("op.max_exponent=128", "op.max_exponent=128: must be between -112 and 127"),
        ("+op.gain=3", "op.gain=3: operator shift has no such key; options: weight_bits, max_exponent"),
        ("trainer.accelerator=gpuu", "trainer.accelerator=gpuu: no such option; options: auto, cpu, gpu"),
        ("trainer.precision=17", "trainer.precision=17: no such option; options: 32-true, 16-mixed, bf16-mixed"),
        ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val=-1: must be a number >= 0"),
        ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches=0: must be a positive integer"),
        ("net.mult_layers=null", "net.mult_layers=None: must be a list; [] names no layer"),
        ("net.width_mult=abc", "net=mbv2_micro: no network can be built from its table (could not convert string to"),
        ("net.stages=null", "net=mbv2_micro: no network can be built from its table ('NoneType' object is not iterab"),
        ("~net.stem.channels", "net=mbv2_micro: no network can be built from its table (no entry 'channels')"),
        ("net.width_mult=inf", "net=mbv2_micro: no network can be built from its table (cannot convert float infinity"),
        ("callbacks=null", "callbacks=null: no such option; options: default, ema"),
        ("logger=null", "logger=null: no such option; options: csv, many, tensorboard, wandb"),
        ("paths.root_dir=/proc/x", "paths.root_dir=/proc/x: cannot write there (/proc is not a writable folder)"),
        ("net.mult_layers=[stm]", "net.mult_layers=stm: no such layer in net=mbv2_micro; options: stem, blocks, se"),
    ],
)
def test_one_line(
    argument: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert message in answer(capsys, monkeypatch, tmp_path, argument)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("data=imagenet",), "data.data_dir=null: imagenet needs a folder"),
        (("data=imagenet", "data.data_dir=/no/where"), "data.data_dir=/no/where: no such folder"),
        (("op=add", "op.eta=0"), "op.eta=0: must be a positive number"),
        (("sharing=heterogeneous", "sharing.gradient=none"), "sharing.gradient=none: no such option; options: inverse"),
        (("sharing=heterogeneous", "sharing.remap_file=/no/remap.yaml"), "sharing.remap_file=/no/remap.yaml: no such"),
        (("sharing=kl", "sharing.weight=-1"), "sharing.weight=-1: must be a number >= 0"),
        (("sharing=kl", "sharing.scale=0"), "sharing.scale=0: must be a number > 0"),
        (("reorder=l1", "callbacks.reorder.until=2"), "callbacks.reorder.until=2: must be a number >= 0 and <= 1"),
        (("reorder=l1", "callbacks.reorder.every_n_epochs=0"), "callbacks.reorder.every_n_epochs=0: must be a"),
        (("bn=recalibrated", "callbacks.recalibrate.batches=0"), "callbacks.recalibrate.batches=0: must be a"),
        (("callbacks=ema", "callbacks.ema.decay=-1"), "callbacks.ema.decay=-1: must be a number >= 0 and <= 1"),
        (("task.mixup=0.2", "data.batch_size=abc"), "data.batch_size=abc: must be"),
        (("task.mixup=0.2", "data.batch_size=3"), "data.batch_size=3: must be even with task.mixup=0.2"),
        (("+trainer.max_steps=5",), "trainer.max_steps=5: schedules go by epochs; set trainer.max_epochs"),
        (("+trainer.limit_val_batches=0",), "trainer.limit_val_batches=0: must be a number > 0"),
        (("+trainer.limit_test_batches=0",), "trainer.limit_test_batches=0: must be a number > 0"),
        (("op=shift_ps",), "op=shift_ps: its trained tensors cannot be shared with a multiplicative weight"),
        (("data=cifar100", "data.download=false", "paths.data_dir=/no/where"), "no CIFAR-100 there"),
    ],
)
def test_one_line_on_several_arguments(
    arguments: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    assert message in answer(capsys, monkeypatch, tmp_path, *arguments)


def test_a_run_folder_is_never_overwritten(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "run.json").touch()
    (run / "checkpoints" / "last.ckpt").touch()
    error = answer(capsys, monkeypatch, tmp_path, f"hydra.run.dir={run}")
    assert "holds a run already" in error
    assert f"ckpt_path={run}/checkpoints/last.ckpt resumes it" in error


@pytest.mark.parametrize("key", ["hydra.run.dir", "hydra.sweep.dir", "paths.log_dir"])
def test_unwritable_folders(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UserError, match=rf"{key}=.*/below: cannot write there \(.*file is not a writable folder\)"):
        refuse_unusable_folders([f"{key}={file}/below"])


def test_a_setting_without_effect_is_warned_of(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    cfg = composed(tmp_path / "run", "aug=none", "aug.weight=2")
    check_train_config(cfg, ["aug=none", "aug.weight=2"])
    assert "no effect, because aug=none widens nothing: aug.weight=2" in caplog.text


@pytest.mark.parametrize(
    ("overrides", "warning"),
    [
        (("sharing=heterogeneous", "op=mult"), "because op=mult has no remap (add, shift have): sharing=heterogeneous"),
        (("reorder=l1", "aug=none"), "because aug=none widens nothing: reorder=l1"),
        (("sharing=kl", "op=mult"), "because op=mult leaves no layer multiplication-free: sharing=kl"),
        (("sharing=kl", "op=shift_ps", "aug=none"), "because op=shift_ps trains no weight that multiplies: sharing=kl"),
        (("aug=none", "aug.distill_weight=1"), "because aug=none has no augmented pass: aug.distill_weight"),
    ],
)
def test_a_mechanism_with_nothing_to_work_on_is_warned_of(
    overrides: tuple[str, ...], warning: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    check_train_config(composed(tmp_path / "run", *overrides))
    assert f"no effect, {warning}" in caplog.text


WITHOUT_SGDS = "~optim.optimizer.momentum ~optim.optimizer.nesterov ~optim.optimizer.weight_decay"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.optimizer.momentum=0", "optim.optimizer: Nesterov momentum requires a momentum and zero dampening"),
        ("optim.optimizer._target_=torch.optim.AdamW", "optim.optimizer: .* unexpected keyword argument 'momentum'"),
        (f"optim.optimizer._target_=torch.optim.LBFGS {WITHOUT_SGDS}", "optim.optimizer: LBFGS doesn't support"),
        ("optim.optimizer._target_=torch.optim.Foo", "optim.optimizer: Error loading 'torch.optim.Foo'"),
    ],
)
def test_an_optimiser_that_cannot_be_built(override: str, message: str, tmp_path: Path) -> None:
    cfg = composed(tmp_path / "run", *override.split())
    with pytest.raises(UserError, match=message):
        Run(cfg, check_train_config(cfg))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("pathlib.Pth", "error: Error locating target 'pathlib.Pth'"),
        ("fractions.Fraction", None),  # 1 / 0
        ("datetime.date", "error: Error in call to target 'datetime.date'"),  # month 0 is a ValueError
    ],
)
def test_what_breaks_while_it_is_built_keeps_its_traceback(
    target: str,
    line: str | None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", f"paths.log_dir={tmp_path}"])
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    with pytest.raises(InstantiationException if line is None else SystemExit):
        run_command(
            "train", lambda _: instantiate({"_target_": target, "_args_": [1, 0, 1] if "date" in target else [1, 0]})
        )
    assert capsys.readouterr().err.startswith(line or "")


@pytest.mark.parametrize(("change", "keys"), [("verify=false", "data.batch_size"), ("data_dir=x", "data.batch_size")])
def test_an_evaluation_changes_only_what_its_data_have(change: str, keys: str, tmp_path: Path) -> None:
    digits = {"_target_": "shiftaddaug.data.digits.DigitsDataModule", "name": "digits", "batch_size": 64}
    cfg = composed(tmp_path / "run", "ckpt_path=a", f"data.{change}", config_name="eval")
    subnetwork = SimpleNamespace(data_config=digits, plan=SimpleNamespace(num_classes=10))
    with pytest.raises(UserError, match=rf"^data\.{change.split('=')[0]}=.*: data=digits has no such key; .*: {keys}$"):
        _data_config(cfg, subnetwork)  # type: ignore[arg-type]
    cfg.data = {"batch_size": 8, "verify": None, "data_dir": None}
    assert _data_config(cfg, subnetwork) == digits | {"batch_size": 8, "num_classes": 10}  # type: ignore[arg-type]


def test_an_evaluation_overwrites_no_results(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / RESULTS).write_text("{}")
    with pytest.raises(UserError, match=r"run: holds results already, which are never overwritten"):
        evaluate(composed(tmp_path / "run", f"ckpt_path={tmp_path / 'run'}", config_name="eval"))
    assert (tmp_path / "run" / RESULTS).read_text() == "{}"


def test_a_mistake_in_one_job_of_a_multirun_leaves_the_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines, done = (
        ["train.py", "-m", "optim.lr=-1,0.1", f"paths.log_dir={tmp_path}", f"hydra.sweep.dir={tmp_path}/m"],
        [],
    )
    monkeypatch.setattr(sys, "argv", lines)
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    with pytest.raises(SystemExit) as exit_:
        run_command("train", lambda cfg: check_train_config(cfg) and done.append(cfg.optim.lr))
    assert (exit_.value.code, done) == (2, [0.1])
    assert "error: 1 of the jobs failed: optim.lr=-1: must be a number > 0" in capsys.readouterr().err
    table = (tmp_path / "m" / "jobs.csv").read_text().splitlines()
    assert table[1].startswith("0,optim.lr=-1,failed,")


def test_resuming_a_run_that_has_finished_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`last` would find it, if a newer run ended before its first checkpoint."""
    cfg = composed(tmp_path / "run")
    checkpoint = tmp_path / "older" / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    torch.save({"config": OmegaConf.to_container(cfg, resolve=True), "state_dict": {}}, checkpoint)
    cfg.ckpt_path, cfg.paths.log_dir = "last", str(tmp_path)
    check_resumed(cfg)
    assert not caplog.records
    (tmp_path / "older" / "results.json").touch()
    monkeypatch.chdir(checkpoint.parent)
    check_resumed(composed(tmp_path / "run", "ckpt_path=last.ckpt"))
    assert "ckpt_path=last.ckpt: that run has finished" in caplog.text
    check_resumed(cfg)
    assert f"ckpt_path={checkpoint}: that run has finished: there is nothing left to train" in caplog.text


def test_resuming_with_other_devices_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cfg = composed(tmp_path / "run")
    torch.save({"config": OmegaConf.to_container(cfg, resolve=True), "state_dict": {}}, tmp_path / "last.ckpt")
    cfg.ckpt_path = str(tmp_path / "last.ckpt")
    check_resumed(cfg)
    assert not caplog.records
    cfg.trainer.devices = "auto"  # perhaps the same
    check_resumed(cfg)
    assert not caplog.records
    cfg.trainer.devices = 2
    check_resumed(cfg)
    assert "was trained with trainer.devices=1, this run has trainer.devices=2" in caplog.text


RATIO = "sharing.stored_ratio=2"


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("op=shift",), "the stored scale means something to op=shift"),
        (("op=add", "sharing.gradient=chain"), "sharing.gradient=chain lets it mean something"),
        (("op=add", "aug.operator=same"), "aug.operator=same multiplies nothing"),
        (("op=add", "optim=radam"), "the steps of torch.optim.RAdam have a scale of their own"),
        (("op=add",), None),
    ],
)
def test_a_stored_ratio_that_nothing_obeys_is_warned_of(
    overrides: tuple[str, ...], reason: str | None, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    typed = [*overrides, "sharing=heterogeneous", RATIO]
    check_train_config(composed(tmp_path / "run", *typed), typed)
    warnings = [record.getMessage() for record in caplog.records]
    assert warnings == ([] if reason is None else [f"no effect, because {reason}: {RATIO}"])


def test_compilation_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    wanted = r"task\.compile=inductor: needs a C\+\+ compiler, and no-such-compiler was not found; set CXX"
    with pytest.raises(UserError, match=wanted):
        check_train_config(composed(tmp_path / "run", "task.compile=inductor"))
    check_train_config(composed(tmp_path / "run", "task.compile=aot_eager"))


def test_block_variant_of_plainly_shared_add_layers_is_warned_of(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Measured: their steps are 1.5e-5 of the weights while they multiply, and 6e-2 behind R."""
    for sharing, warned in (("none", True), ("heterogeneous", False)):
        caplog.clear()
        check_train_config(composed(tmp_path / "run", "op=add", "block_variant=layer", f"sharing={sharing}"))
        assert ("hardly learn until they turn; sharing=heterogeneous does better" in caplog.text) == warned


@pytest.mark.parametrize(("op", "precision"), [("add", "bf16-true"), ("add", "bf16-mixed"), ("shift", "bf16-true")])
def test_add_layers_stored_in_half_precision_are_warned_of(
    op: str, precision: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    check_train_config(composed(tmp_path / "run", f"op={op}", f"trainer.precision={precision}"))
    assert ("which half precision rounds away" in caplog.text) == ((op, precision) == ("add", "bf16-true"))


def test_a_full_disk_is_answered_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def write(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "logs/metrics.csv")

    monkeypatch.setattr(sys, "argv", ["train.py", f"paths.log_dir={tmp_path}"])
    with pytest.raises(SystemExit) as exit_:
        run_command("train", write)
    assert exit_.value.code == 2
    assert capsys.readouterr().err == "error: logs/metrics.csv: could not be written (No space left on device)\n"


def test_odd_batches_cannot_be_mixed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.batch_size=63: must be even with task\.mixup=0\.2"):
        check_train_config(composed(tmp_path / "run", "data.batch_size=63", "task.mixup=0.2"))


def test_a_stop_of_what_is_not_widened_is_warned_of(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    check_train_config(composed(tmp_path / "run", "aug=expand"), ["aug=expand", "aug.width_until=0.2"])
    assert "no effect, because aug.width_multipliers widen nothing: aug.width_until=0.2" in caplog.text


def test_a_sweep_folder_is_never_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    (tmp_path / "sweep" / "0").mkdir(parents=True)
    refuse_unusable_folders([f"hydra.sweep.dir={tmp_path}/sweep"])
    (tmp_path / "sweep" / "0" / "run.json").touch()
    with pytest.raises(UserError, match=r"hydra\.sweep\.dir=.*: holds a run already, which is never overwritten"):
        refuse_unusable_folders([f"hydra.sweep.dir={tmp_path}/sweep"])


def refusal(attempt: Callable[[], Any]) -> str:
    try:
        attempt()
    except UserError as error:
        return str(error)
    return "none"


@pytest.mark.parametrize("aug", ["none", "expand", "width"])
@pytest.mark.parametrize("left_out", [None, "stem", "blocks", "head", "classifier"])
def test_an_operator_that_cannot_be_augmented_is_refused_where_the_network_would_be(
    aug: str, left_out: str | None, tmp_path: Path
) -> None:
    from shiftaddaug.nets.build import build_supernet
    from shiftaddaug.operators import build

    mult_layers = [group for group in ("stem", "blocks", "head", "classifier") if group != left_out]
    cfg = composed(tmp_path / "run", "op=shift_ps", f"aug={aug}", f"net.mult_layers=[{','.join(mult_layers)}]")
    plan = check_train_config(composed(tmp_path / "run", "op=mult"))
    multipliers = (cfg.aug.width_multipliers, cfg.aug.expand_multipliers)
    built = refusal(lambda: build_supernet(plan, build("shift_ps"), mult_layers, *multipliers))
    assert refusal(lambda: check_train_config(cfg)) == built
    assert (built == "none") == (aug == "none" or left_out is None or (aug, left_out) in NOT_WIDENED)


NOT_WIDENED = [("expand", "stem"), ("expand", "head"), ("expand", "classifier")]


def test_the_trainers_options_are_lightnings() -> None:
    from typing import get_args

    from lightning.fabric.plugins.precision.precision import _PRECISION_INPUT
    from lightning.pytorch.accelerators import AcceleratorRegistry

    assert set(ACCELERATORS) == {"auto", "gpu", *AcceleratorRegistry.available_accelerators()}
    assert set(PRECISIONS) == {str(option) for kind in get_args(_PRECISION_INPUT) for option in get_args(kind)}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (("split=all",), "split=all: options: val, test"),
        (("data.batch_size=0",), "data.batch_size=0: must be a whole number"),
        (("trainer.accelerator=gpuu",), "trainer.accelerator=gpuu: no such option"),
        (("subnet.width_multiplier=0.5", "ckpt_path=TARGET"), r"subnet\.width_multiplier=0\.5: must be a number >= 1"),
        (
            ("subnet.expand_multiplier=2", "ckpt_path=TARGET"),
            r"subnet\.expand_multiplier=2: .*/target is no checkpoint",
        ),
        (
            ("recalibrate_batches=-1", "ckpt_path=TARGET"),
            "recalibrate_batches=-1: must be a whole number >= 0, or null",
        ),
        ((), r"ckpt_path=.*/run: a run's folder; did you mean .*/run/target\?"),
    ],
)
def test_evaluation(line: tuple[str, ...], message: str, tmp_path: Path) -> None:
    from shiftaddaug.commands.evaluate import evaluate

    (tmp_path / "run" / "target").mkdir(parents=True)
    line = tuple(argument.replace("TARGET", str(tmp_path / "run" / "target")) for argument in line)
    with pytest.raises(UserError, match=message):
        evaluate(composed(tmp_path / "out", f"ckpt_path={tmp_path / 'run'}", *line, config_name="eval"))


def test_an_unknown_key_is_looked_for_in_the_commands_own_configuration(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["eval.py", "splitt=val"])
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    with pytest.raises(SystemExit):
        run_command("eval", lambda cfg: None)
    error = capsys.readouterr().err
    assert error.startswith("error: splitt: no such key; did you mean split? options: ")
    assert "ckpt_path" in error
    assert "optim" not in error


def test_a_group_that_the_command_does_not_have(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["eval.py", "op=add"])
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(tmp_path))
    with pytest.raises(SystemExit):
        run_command("eval", lambda cfg: None)
    assert capsys.readouterr().err.startswith("error: op: no such key; options: ")


def test_unshareable_operator(tmp_path: Path) -> None:
    from shiftaddaug.commands.train import train

    with pytest.raises(UserError, match=r"op=shift_ps: .* cannot be augmented; options: aug=none, or another op"):
        train(composed(tmp_path / "run", "op=shift_ps"))
    assert not (tmp_path / "run").exists()
