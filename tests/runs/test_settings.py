"""Bad training configurations: one line that names the key, the value and the options; nothing written."""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from shiftaddaug.commands.entry import run_command
from shiftaddaug.errors import UserError
from shiftaddaug.runs.prepare import prepare
from shiftaddaug.runs.settings import read_settings
from shiftaddaug.runs.trainer_settings import ACCELERATORS, COPIES, PRECISIONS, STRATEGIES
from tests.commands.running import composed


def answer(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, logs: Path, *arguments: str) -> str:
    """What a command that checks its configuration, and does nothing else, prints on stderr; its status is 2."""
    monkeypatch.setattr(sys, "argv", ["train.py", f"paths.log_dir={logs}", *arguments])
    monkeypatch.setenv("SHIFTADDAUG_ROOT", str(logs))
    with pytest.raises(SystemExit) as exit_:
        run_command("train", lambda cfg: read_settings(cfg) and None)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("op=ad", "op=ad: no such option; did you mean add? options: add, "),
        (
            "aug=widht",
            "aug=widht: no such option; did you mean width? options: depth, expand, full, none, searched, width",
        ),
        ("net=vgg", "net=vgg: no such option; options: mbv2_micro, mbv2_tiny, mbv2_w0"),
        ("data=mnist", "data=mnist: no such option; options: ade20k, camvid, cifar10, cifar100, cityscapes"),
        ("optim.lrr=1", "optim.lrr: no such key; did you mean optim.lr? options: optim.lr, "),
        ("seeed=1", "seeed: no such key; did you mean seed? options: seed, ckpt_path"),
        ("aug.width_multipliers=[0.5,2]", "aug.width_multipliers=[0.5,2]: must be a list of numbers >= 1 and <= 1000"),
        ("aug.expand_multipliers=[wide]", "aug.expand_multipliers=[wide]: must be a list of numbers >= 1"),
        ("aug.expand_multipliers=[.nan]", "aug.expand_multipliers=[.nan]: must be a list of numbers >= 1"),
        ("aug.width_multipliers=2", "aug.width_multipliers=2: must be a list of numbers >= 1 and <= 1000, such as"),
        ("aug.width_multipliers=[]", "aug.width_multipliers=[]: must be a list of numbers >= 1"),
        ("aug.weight=-1", "aug.weight=-1: must be a number >= 0"),
        ("aug.width_until=2", "aug.width_until=2: must be a number >= 0 and <= 1"),
        ("aug.operator=foo", "aug.operator=foo: no such option; options: mult, same"),
        ("aug.distill_weight=-1", "aug.distill_weight=-1: must be a number >= 0"),
        ("aug.distill_temperature=0", "aug.distill_temperature=0: must be a number >= 0.01 and <= 1000"),
        ("trainer.max_epochs=0", "trainer.max_epochs=0: must be a whole number >= 1"),
        ("trainer.max_epochs=-3", "trainer.max_epochs=-3: must be a whole number >= 1"),
        ("data.batch_size=0", "data.batch_size=0: must be"),
        ("data.batch_size=-1", "data.batch_size=-1: must be"),
        ("optim.lr=0", "optim.lr=0: must be a number > 0"),
        ("optim.lr=-0.1", "optim.lr=-0.1: must be a number > 0"),
        ("optim.lr=fast", "optim.lr=fast: must be a number > 0"),
        ("data.image_size=[64,8]", "data.image_size=[64,8]: too small for net=mbv2_micro, whose strides multiply to"),
        ("data.image_size=[64]", "data.image_size=[64]: must be a whole number >= 1 and <= 16384 (px), or two of them"),
        ("data.image_size=8", "data.image_size=8: too small for net=mbv2_micro, whose strides multiply to 16"),
        ("data.num_classes=7", "data.num_classes=7: digits holds 10 classes"),
        ("task.label_smoothing=2", "task.label_smoothing=2: must be a number >= 0 and < 1"),
        ("task.compile=true", "task.compile=true: no such option; options: inductor, cudagraphs, aot_eager, eager"),
        ("seed=99999999999", "seed=99999999999: must be a whole number >= 0 and <= 4294967295"),
        ("net.divisor=0", "net.divisor=0: must be a whole number >= 1"),
        ("aug.divisor=0", "aug.divisor=0: must be a whole number >= 1"),
        ("op.weight_bits=99", "op.weight_bits=99: must be a whole number >= 2 and <= 8"),
        ("op.max_exponent=128", "op.max_exponent=128: must be a whole number >= -112 and <= 127"),
        ("+op.gain=3", "op.gain=3: operator shift has no such key; options: remap, weight_bits, max_exponent"),
        ("trainer.accelerator=gpuu", "trainer.accelerator=gpuu: no such option; options: auto, cpu, gpu"),
        ("trainer.max_time=5", "trainer.max_time=5: must be DD:HH:MM:SS, such as 00:01:30:00 or null"),
        ("trainer.max_time={fortnights: 1}", "trainer.max_time=fortnights: no such option; options: weeks, days"),
        ("trainer.max_time={hours: -1}", "trainer.max_time.hours=-1: must be a number >= 0"),
        ("trainer.precision=17", "trainer.precision=17: no such option; options: 32-true, 16-mixed, bf16-mixed"),
        ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val=-1: must be a number >= 0"),
        ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches=0: must be a whole number >= 1"),
        ("net.mult_layers=null", "net.mult_layers=null: must be a list of layers; [] names none"),
        ("net.width_mult=abc", "net.width_mult=abc: must be a number > 0"),
        ("net.stages=null", "net.stages=null: must be a list of stages, such as [{block: basic"),
        ("~net.stem.channels", "net.stem.channels: is missing; must be a number > 0"),
        ("net.width_mult=inf", "net.width_mult=inf: must be a number > 0"),
        ("callbacks=null", "callbacks=null: no such option; options: default, early_stopping, ema"),
        ("aug=_base", "aug=_base: no such option; options: depth, expand, full, none, searched, width, width_expand"),
        (
            "aug=nope",
            "aug=nope: no such option; did you mean none? options: depth, expand, full, none",
        ),
        ("experiment=ablation/_base", "experiment=ablation/_base: no such option; did you mean "),
        ("logger=null", "logger=null: no such option; options: aim, comet, csv, many, mlflow, tensorboard, wandb"),
        ("data=3", "data=3: no such option; options: ade20k, camvid, cifar10, cifar100, cityscapes"),
        ("~trainer", "~trainer: no such option; options: cpu, ddp, default, gpu"),
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
        (("op=add", "op.eta=0"), "op.eta=0: must be a number >= 1e-06 and <= 1000000"),
        (("sharing=heterogeneous", "sharing.gradient=none"), "sharing.gradient=none: no such option; options: inverse"),
        (("sharing=heterogeneous", "sharing.remap_file=/no/remap.yaml"), "sharing.remap_file=/no/remap.yaml: no such"),
        (("sharing=affine", "sharing.pieces=0"), "sharing.pieces=0: must be a whole number >= 1"),
        (("sharing=affine", "sharing.start=one"), "sharing.start=one: no such option; options: operator, normal"),
        (("sharing=affine", "block_variant=blend"), "block_variant=blend: sharing=affine has factors that may"),
        (("sharing=kl", "sharing.weight=-1"), "sharing.weight=-1: must be a number >= 0"),
        (("sharing=kl", "sharing.laplace_scale=0"), "sharing.laplace_scale=0: must be a number >= 1e-06"),
        (("reorder=l1", "callbacks.reorder.until=2"), "callbacks.reorder.until=2: must be a number >= 0 and <= 1"),
        (("reorder=l1", "callbacks.reorder.every_n_epochs=0"), "callbacks.reorder.every_n_epochs=0: must be a"),
        (("bn=recalibrated", "callbacks.recalibrate.batches=0"), "callbacks.recalibrate.batches=0: must be a"),
        (("callbacks=ema", "callbacks.ema.decay=-1"), "callbacks.ema.decay=-1: must be a number >= 0 and < 1"),
        (("task.mixup=0.2", "data.batch_size=abc"), "data.batch_size=abc: must be"),
        (("task.mixup=0.2", "data.batch_size=3"), "data.batch_size=3: must be even with task.mixup=0.2"),
        (("+trainer.max_steps=5",), "trainer.max_steps=5: schedules go by epochs; set trainer.max_epochs"),
        (("+trainer.limit_val_batches=0",), "trainer.limit_val_batches=0: must be a number > 0"),
        (("+trainer.limit_test_batches=0",), "trainer.limit_test_batches=0: must be a number > 0"),
        (("data.batch_size=1", "data.image_size=[16,16]"), "data.batch_size=1: leaves batch-norm one value of each"),
        (("data.batch_size=1", "data.image_size=16"), "data.batch_size=1: leaves batch-norm one value of each channel"),
        (
            ("data.batch_size=1", "net=resnet20", "data.image_size=32"),
            "data.batch_size=1: leaves the batch-norm classifier.norm, of pooled values, one",
        ),
        (
            ("data=shapes", "arch=deeplabv3plus", "data.batch_size=1"),
            "data.batch_size=1: leaves the batch-norm decoder.aspp.convs.4.norm, of pooled values, one value of each "
            "channel; options: a larger batch, or another arch than deeplabv3plus",
        ),
        (
            ("data=shapes", "arch=deeplabv3plus", "+callbacks.diagnostics.images=1"),
            "callbacks.diagnostics.images=1: leaves the batch-norm decoder.aspp.convs.4.norm, of pooled values, one",
        ),
        (
            ("data=shapes", "arch=classifier"),
            "arch=classifier: gives outputs of each image, and task=segmentation wants outputs of each pixel; options: "
            "deeplabv3plus, fpn, lraspp, unet, or other data",
        ),
        (("arch=unet",), "arch=unet: gives outputs of each pixel, and task=classification wants outputs of each image"),
        (("data=shapes", "net=resnet20"), "arch=unet: needs feature maps at strides 2, 4, 8, 16, 32, as arch."),
        (
            ("op.activation_bits=16", "op.activation_fraction_bits=8", "trainer.precision=bf16-true"),
            "op.activation_bits=16: trainer.precision=bf16-true holds 9 bits",
        ),
        (
            ("op.activation_bits=13", "op.activation_fraction_bits=8", "trainer.precision=16-mixed"),
            "op.activation_bits=13: trainer.precision=16-mixed holds 12 bits",
        ),
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


WITHOUT_SGDS = "~optim.optimizer.momentum ~optim.optimizer.nesterov ~optim.optimizer.weight_decay"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.optimizer.momentum=0", "momentum=0: must be a number > 0 with nesterov; .*optimizer.nesterov=false"),
        ("+optim.optimizer.dampening=0.1", "dampening=0.1: must be 0 with nesterov; .*optimizer.nesterov=false"),
        (
            "optim=timm optim.name=lambb",
            "optim.name=lambb: no such .* of timm; did you mean lamb.* options: timm",
        ),
        ("optim.optimizer._target_=torch.optim.AdamW", "optim.optimizer.momentum=0.9: torch.optim.AdamW takes no"),
        (f"optim.optimizer._target_=torch.optim.LBFGS {WITHOUT_SGDS}", "optim.optimizer: LBFGS doesn't support"),
        ("optim.optimizer._target_=torch.optim.Foo", "optim.optimizer._target_=torch.optim.Foo: no such class"),
    ],
)
def test_an_optimiser_that_cannot_be_built(override: str, message: str, tmp_path: Path) -> None:
    cfg = composed(tmp_path / "run", *override.split())
    with pytest.raises(UserError, match=message):
        prepare(read_settings(cfg))
    assert not (tmp_path / "run").exists()


def test_compilation_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    wanted = r"task\.compile=inductor: needs a C\+\+ compiler, and no-such-compiler was not found; set CXX"
    with pytest.raises(UserError, match=wanted):
        read_settings(composed(tmp_path / "run", "task.compile=inductor"))
    read_settings(composed(tmp_path / "run", "task.compile=aot_eager"))


@pytest.mark.parametrize(("op", "precision"), [("add", "bf16-true"), ("add", "bf16-mixed"), ("shift", "bf16-true")])
def test_add_layers_stored_in_half_precision_are_warned_of(
    op: str, precision: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    read_settings(composed(tmp_path / "run", f"op={op}", f"trainer.precision={precision}"))
    assert ("which half precision rounds away" in caplog.text) == ((op, precision) == ("add", "bf16-true"))


def test_batches_of_one_and_inputs_of_few_bits_pass_where_they_can_be(tmp_path: Path) -> None:
    nine = ("op.activation_bits=9", "op.activation_fraction_bits=3", "trainer.precision=bf16-mixed")
    read_settings(composed(tmp_path / "run", "data.batch_size=1", "data.image_size=32", *nine))
    read_settings(composed(tmp_path / "run", "data.batch_size=1", "data.image_size=[16,17]"))
    synchronised = ("trainer=ddp", "trainer.devices=2", "trainer.sync_batchnorm=true")
    read_settings(composed(tmp_path / "run", "data.batch_size=1", "data.image_size=16", *synchronised))


NONE_UNUSED = "trainer.strategy=ddp_find_unused_parameters_false"


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["trainer.strategy=ddp_spawn"], "trainer.strategy=ddp_spawn: trains in copies .*options: ddp, which"),
        (
            [NONE_UNUSED, "aug=full"],
            "would stop .* aug=full leaves .*auto, ddp",
        ),
        (
            [NONE_UNUSED, "aug=none", "block_variant=layer"],
            "would stop .* block_variant leaves",
        ),
        ([NONE_UNUSED, "aug=none"], None),
    ],
)
def test_strategies_that_end_badly_are_refused(overrides: list[str], reason: str | None, tmp_path: Path) -> None:
    with nullcontext() if reason is None else pytest.raises(UserError, match=reason):
        read_settings(composed(tmp_path / "run", *overrides))


def test_odd_batches_cannot_be_mixed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.batch_size=63: must be even with task\.mixup=0\.2"):
        read_settings(composed(tmp_path / "run", "data.batch_size=63", "task.mixup=0.2"))


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
    from shiftaddaug.nets.build import assign, build_supernet
    from shiftaddaug.operators import build

    mult_layers = [group for group in ("stem", "blocks", "head", "classifier") if group != left_out]
    cfg = composed(tmp_path / "run", "op=shift_ps", f"aug={aug}", f"net.mult_layers=[{','.join(mult_layers)}]")
    plan = read_settings(composed(tmp_path / "run", "op=mult")).plan
    multipliers = (cfg.aug.width_multipliers, cfg.aug.expand_multipliers)
    built = refusal(lambda: build_supernet(plan, assign(plan, build("shift_ps"), mult_layers), *multipliers))
    assert refusal(lambda: read_settings(cfg)) == built
    assert (built == "none") == (aug == "none" or left_out is None or (aug, left_out) in NOT_WIDENED)


NOT_WIDENED = [("expand", "stem"), ("expand", "head"), ("expand", "classifier")]


def test_the_trainers_options_are_lightnings() -> None:
    from typing import get_args

    from lightning.fabric.plugins.precision.precision import _PRECISION_INPUT
    from lightning.pytorch.accelerators import AcceleratorRegistry
    from lightning.pytorch.strategies import StrategyRegistry

    assert set(ACCELERATORS) == {"auto", "gpu", *AcceleratorRegistry.available_accelerators()}
    known = {"auto", *StrategyRegistry.available_strategies()}
    assert set(STRATEGIES) == {name for name in known if not name.startswith(COPIES)}
    assert set(PRECISIONS) == {str(option) for kind in get_args(_PRECISION_INPUT) for option in get_args(kind)}


def test_unshareable_operator(tmp_path: Path) -> None:
    from shiftaddaug.commands.train import train

    with pytest.raises(UserError, match=r"op=shift_ps: .* cannot be augmented; options: aug=none, or another op"):
        train(composed(tmp_path / "run", "op=shift_ps"))
    assert not (tmp_path / "run").exists()
