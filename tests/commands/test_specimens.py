"""Mistakes of all kinds, as a user types them: one line that names the key, the value and the remedy."""

import re
from pathlib import Path

import pytest

from tests.runs.test_settings import answer

STAGE = "net.stages=[{block: inverted_bottleneck, channels: 8, expand: 2, "

SPECIMENS = [
    # net
    *("net.stem.kernel=2", "net.stem.kernel=null", "net.stem.stride=1000000000", "net.stem_stride=fast"),
    *("net.stem.channels=0", "net.stem.channels=many", "net.divisor=8.5", "net.stem.act=gelu9", "net.stem=null"),
    *("net.head.channels=-5", "net.name=7", "net.stages=[]", "net.width_multipliers=[0.5]", "+net.foo=1"),
    "+net.output_stride=0",
    # aug
    *("aug.extra_blocks=100000", "aug.divisor=1000000000", "aug.retire_fade=maybe", "aug.depth_until=2"),
    *("aug.weight=nan", "+aug.foo=1", "aug.extra_after=blocks.1"),
    # trainer
    *("+trainer.num_nodes=2", "+trainer.val_check_interval=0", "trainer.sync_batchnorm=maybe", "trainer.strategy=foo"),
    *("trainer.max_epochs=2.5", "trainer.devices=-3", "trainer.devices=foo", "+trainer.foo=1"),
    *("trainer.deterministic=maybe", "trainer.log_every_n_steps=-1", "+trainer.limit_val_batches=1.5"),
    *("+trainer.overfit_batches=-1", "+trainer.fast_dev_run=x"),
    *("+trainer.enable_checkpointing=false", "+trainer.profiler=foo", "+trainer.gradient_clip_algorithm=foo"),
    # optim
    *(
        "optim.min_lr=10",
        "optim.optimizer.nesterov=maybe",
        "optim.lr=nan",
    ),
    *("optim.optimizer.weight_decay=-1", "+optim.optimizer.betas=[0.9,0.99]", "+optim.foo=1", "optim.warmup_epochs=-1"),
    *("optim.optimizer._target_=torch.optim.Nope", "optim.scheduler.interval=day", "+optim.scheduler.foo=1"),
    # callbacks
    *("callbacks.best_checkpoint.monitor=val/nope", "callbacks.best_checkpoint.mode=most", "+callbacks.foo=1"),
    *("callbacks.best_checkpoint.dirpath=null", "callbacks.sample_subnets.seed=x", "callbacks.reseed.seed=null"),
    *("callbacks.retire_depth.start=7", "callbacks.sample_subnets.width_until=3"),
    "+callbacks.x._target_=lightning.pytorch.callbacks.Nope",
    # the others
    *(
        "sharing.name=foo",
        "+sharing.foo=1",
        "data.name=foo",
        "data.batch_size=0.5",
        "data.split_seed=-1",
        "+data.foo=1",
    ),
    *("data._target_=foo.Bar", "+logger.x._target_=nope.Nope", "task.headline=top9", "+task.foo=1"),
    *("seed=1.5", "seed=null", "op.name=foo", "op.weight_bits=null", "op.activation_bits=1", "+op.foo=1"),
    *("+paths.foo=1", "+foo=1", "plugins=foo", "plugins=null"),
    # numbers that make no sense
    *(
        "task.mixup=1e+300",
        "task.label_smoothing=1",
        "optim.optimizer.momentum=2",
        "optim.lr=2000",
        "aug.weight=1e+300",
    ),
    *("aug.weight=1e+300", "aug.distill_temperature=1e-300", "data.mean=[130]", "data.std=[58.4]"),
    *("optim.warmup_epochs=1e+300", "+optim.optimizer.betas=[0.9,1.5]", "data.in_channels=1000000"),
    # names of what a group chose
    *("net.name=a/b", "aug.name=foo", "task.name=foo"),
    # before Hydra sees them
    *("experiment=null", "sweep=null", "debug=null", "op=null", "optim/scheduler=null"),
    *("paths.output_dir=null", "paths.log_dir=", "paths.root_dir=", "hydra.run.dir=null"),
]

REMEDY = re.compile(r"must (be|name|not|hold)|options: |needs|no such package as|is not measured")


@pytest.mark.parametrize("argument", SPECIMENS)
def test_one_line_names_key_value_and_remedy(
    argument: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folders = [] if argument.startswith("paths.") else [f"paths.output_dir={tmp_path}/run"]
    line = answer(capsys, monkeypatch, tmp_path, *folders, argument)
    assert argument.lstrip("+") in line.replace("op=foo", "op.name=foo")
    assert REMEDY.search(line)


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("sharing.remaps=null", "sharing.remaps: no such key; did you mean op.remap? options: sharing.name"),
        ("optim.scheduler.foo=1", "optim.scheduler.foo: no such key; options: "),
        ("callbacks.best_checkpoint.mod=max", "no such key; did you mean callbacks.best_checkpoint.mode?"),
        ("aug.width_multipliers=[1.0,1e9]", "aug.width_multipliers=[1.0,1000000000.0]: must be a list of numbers >= 1"),
        ("net.width_mult=1e9", "net.width_mult=1000000000.0: must be a number > 0 and <= 65536"),
        ("~net.stem.channels", "net.stem.channels: is missing; must be a number > 0"),
        ("~seed", "data.seed: reads seed, and there is no such key; options: leave out ~seed"),
        ("=3", "=3: must be key=value"),
        ("op", "op: must be key=value"),
        ("op=3,4", "op=3,4: no such option; options: add, mult"),
        ("seed=???", "seed: is missing; must have a value: seed=..."),
        ("+data.root=${nothing}", "+data.root=${nothing}: reads nothing, and there is no such key; options: a key"),
        ("net.stages[0]=3", "net.stages[0]=3: net.stages[0] is no key; options: letters, digits, _, and dots"),
        ("data.mean=[1", "data.mean=[1: is no list or group of keys for Hydra"),
        ("experiment=ablation/nothing", "experiment=ablation/nothing: no such option; options: addernet_cifar, "),
        ("experiment=ablation/ful", "did you mean ablation/full? options: addernet_cifar, cifar100_16px, "),
        ("+seed=1", "+seed=1: there is a key seed already; options: seed=1, without the +"),
        ("op=shift,add", "op=shift,add: are several values; options: -m, a run for each; a list, op=[shift,add]"),
        ("trainer={a: 1}", "trainer.a: no such key; options: trainer."),
        ("plugins=[torch]", "plugins=torch: is no plugin; must be a package with one of configs/, operators/"),
        ("op.activation_bits=4", "op.activation_bits=4 and op.activation_fraction_bits=null: set both, or neither"),
        ("+op.gain=null", "op.gain=null: operator shift has no such key"),
        ("hydra.foo=1", "hydra.foo=1: no such key of Hydra's; options: those that --cfg hydra lists"),
        (STAGE + "stride: 0}]", "net.stages.0.stride=0: must be a whole number >= 1 and <= 64"),
        (STAGE + "depth: -1}]", "net.stages.0.depth=-1: must be a whole number >= 0 and <= 1000"),
        (STAGE + "kernels: [3, 4]}]", "net.stages.0.kernels=[3,4]: must be an odd number"),
        (STAGE + "kernals: 3}]", "net.stages.0.kernals=3: no such key; did you mean net.stages.0.kernels? options"),
        (STAGE + "se: maybe}]", "net.stages.0.se=maybe: must be true or false or a whole number >= 1 or a list of"),
        ("net.stages=[{block: nope, channels: 8}]", "net.stages: block=nope: no such block; options: basic"),
        ("net.stages=[7]", "net.stages.0=7: must hold keys, such as {block: basic, channels: 16}"),
    ],
)
def test_one_line(
    argument: str, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert line in answer(capsys, monkeypatch, tmp_path, argument)
