"""The runs that `compare.py` makes in both checkouts, as Hydra overrides. Imports no torch.

Two nets are so small that a run takes a second or two. `tiny_se` has depthwise and inverted-bottleneck blocks, two
gates, a head and a neck. `tiny_residual` has residual blocks with both kinds of shortcut. In 5 epochs of 4 steps extra
blocks go, layers turn and channels cross.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

EPOCHS, STEPS = 5, 4
STOP = 2
"""Epochs before a run that is resumed stops."""

BASE = (
    *("data=digits", "data.image_size=8", "data.batch_size=16", "data.crop_padding=0.125", "aug.divisor=4"),
    *(f"trainer.max_epochs={EPOCHS}", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"),
    *(f"+trainer.limit_{split}_batches={batches}" for split, batches in (("train", STEPS), ("val", 1), ("test", 1))),
    "trainer.log_every_n_steps=1",
)
"""Overrides of every run, before its own."""

TINY_SE = (
    *("net=mbv3_w035", "net.name=tiny_se", "net.width_mult=1.0", "net.divisor=4", "net.stem.channels=8"),
    "net.stages=["
    "{block:depthwise_separable,channels:8,kernels:3,stride:1,depth:1,act:relu,residual:true},"
    "{block:inverted_bottleneck,channels:12,expand:2,kernels:3,stride:2,depth:2,act:relu},"
    "{block:inverted_bottleneck,channels:16,hidden:[24,32],kernels:5,stride:2,act:h_swish,se:true}]",
    *("net.head.channels=24", "net.neck.channels=24", "net.neck.min_channels=24"),
)
TINY_RESIDUAL = (
    *("net=resnet20", "net.name=tiny_residual", "net.divisor=4", "net.stem.channels=8"),
    "net.stages=["
    "{block:basic,channels:8,kernels:3,stride:1,depth:2,act:relu},"
    "{block:basic,channels:12,kernels:3,stride:2,depth:2,act:relu}]",
)
AUGS, SHARINGS = ("none", "width_expand", "full"), ("none", "heterogeneous", "kl")
BLOCK_VARIANTS = ("none", "layer", "block", "blend")
_ADAMW = ("optim=adamw",)
SIZES = (32, 96)
"""Image sizes (pixels) at which every net is built."""


@dataclass(frozen=True)
class Case:
    """One comparison.

    Args:
        name: unique, of parts between slashes.
        overrides: of the training run, after `BASE`.
        kind: run; built: stopped before the first step; resume: a run, the same stopped and resumed, and the stopped
            run of the old checkout resumed by the new one; memory: peak of its steps in a process of its own.
        quick: whether it is among those of `--quick`.
    """

    name: str
    overrides: tuple[str, ...]
    kind: str = "run"
    quick: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


def options(configs: Iterable[Path], group: str) -> list[str]:
    """Names of a config group's files, in any of the `configs` folders."""
    return sorted({path.stem for folder in configs for path in (folder / group).glob("*.yaml")})


def all_cases(configs: Iterable[Path]) -> list[Case]:
    """The cases for the operators and nets that any of the `configs` folders has. Those that are resumed come first."""
    configs = list(configs)
    ops, nets = options(configs, "op"), options(configs, "net")
    stated = [*_resumed(), *_combinations(ops), *_residual(ops), *_mechanisms(), *_built(nets), *_memory()]
    cases = [case if _states_bn(case) else replace(case, overrides=("bn=running", *case.overrides)) for case in stated]
    assert len({case.name for case in cases}) == len(cases)
    return cases


def _states_bn(case: Case) -> bool:
    """Whether a case says which statistics it is validated with; by default the length of a run decides."""
    return any(override.startswith("bn=") for override in case.overrides)


def _reorder(aug: str) -> tuple[str, ...]:
    return () if aug == "none" else ("reorder=l1",)


def _combinations(ops: Iterable[str]) -> Iterator[Case]:
    for op, aug, sharing, variant in product(ops, AUGS, SHARINGS, BLOCK_VARIANTS):
        # every value of every group, and every operator with each of the others
        quick = (AUGS.index(aug), SHARINGS.index(sharing), BLOCK_VARIANTS.index(variant)) in QUICK
        overrides = (f"op={op}", f"aug={aug}", f"sharing={sharing}", f"block_variant={variant}", *_reorder(aug))
        yield Case(f"{op}/{aug}/{sharing}/{variant}", TINY_SE + overrides, quick=quick)


QUICK = ((0, 0, 0), (1, 1, 1), (2, 1, 3), (2, 2, 2))
"""Positions in AUGS, SHARINGS and BLOCK_VARIANTS of the combinations that `--quick` keeps."""


def _residual(ops: Iterable[str]) -> Iterator[Case]:
    for op, aug in product(ops, AUGS):
        for sharing in ("none", "heterogeneous"):
            overrides = (f"op={op}", f"aug={aug}", f"sharing={sharing}", *_reorder(aug))
            quick = (aug, sharing) == ("full", "heterogeneous")
            yield Case(f"residual/{op}/{aug}/{sharing}", TINY_RESIDUAL + overrides, quick=quick)


def _mechanisms() -> Iterator[Case]:
    """What one override changes in a run that has everything else."""
    full = ("op=add", "aug=full", "sharing=heterogeneous", "reorder=l1")
    shift = ("op=shift", "aug=full", "sharing=heterogeneous", "reorder=l1", "block_variant=layer")
    for name, base, changed, quick in _CHANGES:
        overrides = {"full": full, "shift": shift, "none": ("op=add", "aug=none")}[base]
        yield Case(f"with/{name}", TINY_SE + overrides + changed, quick=quick)


_CHANGES: tuple[tuple[str, str, tuple[str, ...], bool], ...] = (
    ("reorder=none", "full", ("reorder=none",), False),
    ("reorder of 2 epochs", "full", ("callbacks.reorder.every_n_epochs=2", "callbacks.reorder.until=0.7"), False),
    ("stored_ratio=null", "full", ("sharing.stored_ratio=null",), False),
    ("bn=recalibrated", "full", ("bn=recalibrated",), True),
    ("bn=recalibrated shift", "shift", ("bn=recalibrated",), False),
    ("ema", "full", ("callbacks=ema", "reorder=l1"), True),
    ("ema and bn", "shift", ("callbacks=ema", "reorder=l1", "bn=recalibrated", "block_variant=blend"), False),
    ("distillation", "full", ("aug.distill_weight=1", "aug.distill_temperature=2"), True),
    ("operator=same", "full", ("aug.operator=same",), True),
    ("operator=same shift", "shift", ("aug.operator=same", "block_variant=blend"), False),
    ("expand", "full", ("aug=expand",), False),
    ("width", "full", ("aug=width",), False),
    ("depth", "shift", ("aug=depth", "reorder=none"), False),
    ("depth cut", "shift", ("aug=depth", "reorder=none", "aug.retire_fade=false", "aug.extra_blocks=2"), False),
    ("extra_after", "full", ("aug.extra_after=[blocks.1]",), False),
    ("64 bit", "full", ("trainer.precision=64-true",), True),
    ("64 bit ema", "shift", ("trainer.precision=64-true", "callbacks=ema", "reorder=l1"), False),
    ("bf16-mixed", "full", ("trainer.precision=bf16-mixed",), True),
    ("bf16-mixed shift", "shift", ("trainer.precision=bf16-mixed",), False),
    ("bf16-true", "shift", ("trainer.precision=bf16-true",), False),
    ("accumulation", "full", ("trainer.accumulate_grad_batches=2",), True),
    ("clipping", "full", ("trainer.gradient_clip_val=0.1",), True),
    ("clipping by value", "none", ("trainer.gradient_clip_val=0.1", "+trainer.gradient_clip_algorithm=value"), False),
    ("radam", "shift", ("optim=radam",), True),
    ("adamw", "full", _ADAMW, False),
    ("no momentum", "full", ("optim.optimizer.momentum=0", "optim.optimizer.nesterov=false"), False),
    ("no warm-up", "shift", ("optim.warmup_epochs=0", "optim.min_lr=0.01"), False),
    ("mixup", "full", ("task.mixup=0.2", "task.label_smoothing=0.1"), True),
    ("cutmix", "shift", ("task.cutmix=1.0",), False),
    ("no mult_layers", "shift", ("net.mult_layers=[]",), False),
    ("mult_layers of names", "shift", ("net.mult_layers=[stem,blocks.1.depthwise,head]",), True),
    ("mult_layers of blocks", "full", ("net.mult_layers=[blocks]",), False),
    ("gradient=chain", "full", ("sharing.gradient=chain",), True),
    ("gradient=chain shift", "shift", ("sharing.gradient=chain", "block_variant=blend"), False),
    ("activation_bits", "shift", ("op.activation_bits=8", "op.activation_fraction_bits=4"), True),
    ("weight_bits", "shift", ("op.weight_bits=3", "op.max_exponent=-1"), False),
    ("eta", "none", ("op.eta=0.2", "op.init_std=1.0", "op.output_scale=false"), False),
    ("deep to shallow", "shift", ("callbacks.block_variant.order=deep_to_shallow",), False),
    ("late turning", "shift", ("callbacks.block_variant.start=0.3", "callbacks.block_variant.end=1.0"), False),
    ("aug.weight", "full", ("aug.weight=0.5", "aug.width_until=1.0", "aug.expand_until=0.4"), False),
    ("seed", "full", ("seed=3",), False),
    ("refused: unknown layer", "shift", ("net.mult_layers=[foo]",), True),
    ("refused: image too small", "shift", ("data.image_size=2",), False),
    ("refused: bits", "shift", ("op.weight_bits=99",), False),
    ("refused: extra_after", "full", ("aug.extra_after=[blocks.9]",), False),
)
"""Name, the run that is changed, what changes, whether it is quick."""


def _resumed() -> Iterator[Case]:
    """SGD with momentum unless stated."""
    everything = ("op=add", "aug=full", "sharing=heterogeneous", "reorder=l1")
    shift = ("op=shift", "aug=full", "sharing=heterogeneous", "reorder=l1")
    for name, overrides, quick in (
        ("add", (*TINY_SE, *everything, "block_variant=blend"), True),
        ("shift ema", (*TINY_SE, *shift, "block_variant=layer", "callbacks=ema", "reorder=l1"), False),
        ("shift bn", (*TINY_SE, *shift, "bn=recalibrated", "task.mixup=0.2"), False),
        ("mult adamw", (*TINY_SE, "op=mult", "aug=full", "reorder=l1", *_ADAMW), False),
        ("shift_ps", (*TINY_SE, "op=shift_ps", "aug=none"), False),
        ("residual add", (*TINY_RESIDUAL, *everything), False),
        ("residual mult", (*TINY_RESIDUAL, "op=mult", "aug=width_expand", "reorder=l1"), False),
    ):
        yield Case(f"resume/{name}", overrides, "resume", quick)


def _built(nets: Iterable[str]) -> Iterator[Case]:
    """MACs, parameters, order of registration and first weights of every net."""
    for net, size, aug in product(nets, SIZES, ("none", "full")):
        overrides = (f"net={net}", f"data.image_size={size}", f"aug={aug}", "aug.divisor=8", "op=shift")
        yield Case(f"built/{net}/{size}/{aug}", overrides, "built", (size, aug) == (SIZES[0], "full"))


def _memory() -> Iterator[Case]:
    """None of them is quick: each imports torch in a process of its own."""
    shape = ("data.image_size=32", "data.batch_size=32", "aug.divisor=8", "trainer.max_epochs=1")
    for name, overrides in (
        ("mult none", ("net=mcunet", "op=mult", "aug=none")),
        ("shift full", ("net=mbv3_w035", "op=shift", "aug=full", "sharing=heterogeneous")),
        ("add width_expand", ("net=mbv2_w035", "op=add", "aug=width_expand", "sharing=heterogeneous")),
        ("residual shift width_expand", ("net=resnet20", "op=shift", "aug=width_expand")),
    ):
        yield Case(f"memory/{name}", (*overrides, *shape, "optim.warmup_epochs=0"), "memory")
