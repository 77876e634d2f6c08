"""For each rule on settings without effect, in the order of the table: overrides to which it applies, and others."""

FULL, NONE = "aug=full", "aug=none"
DEPTH_OFF = ["aug.depth_until=0", "aug.retire_start=0", "aug.retire_end=0"]
ALL_MULTIPLY = "net.mult_layers=[stem,blocks,se,head,classifier]"
TURNS = ["block_variant=layer", "callbacks.block_variant.blend=true"]
AT_ONCE = ["callbacks.block_variant.start=0.5"]
R, KL, SORTED = "sharing=heterogeneous", "sharing=kl", "reorder=l1"
LARGE = "data.image_size=64"
ONECYCLE = "optim/scheduler=onecycle"
OVERFITTED = "+trainer.overfit_batches=2"

Case = tuple[str, list[str], list[str]]
CASES: list[Case] = [
    ("aug.distill_weight", [NONE, "aug.distill_weight=1"], [FULL, "aug.distill_weight=1"]),
    ("aug", ["aug=width", "callbacks.sample_subnets=null"], [FULL]),
    ("aug.width_multipliers", [FULL, "aug.weight=0"], ["aug=depth", "aug.weight=0"]),
    ("aug.width_multipliers", [FULL, "aug.width_until=0"], [FULL, "aug.width_until=0.1"]),
    ("aug.expand_multipliers", [FULL, "aug.expand_until=0"], [FULL, "aug.expand_until=0.1"]),
    ("aug.weight", [NONE, "aug.weight=2"], [FULL, "aug.weight=2"]),
    ("aug.operator", ["aug=depth", "aug.init=widest"], ["aug=width", "aug.init=widest"]),
    ("aug.divisor", ["aug=depth", "aug.divisor=4"], ["aug=width", "aug.divisor=4"]),
    ("aug.operator", ["op=mult", "aug.operator=same"], ["aug.operator=same"]),
    ("aug.distill_temperature", [FULL, "aug.distill_temperature=4"], [FULL, "aug.distill_weight=1"]),
    ("aug.retire_start", ["aug=expand", "aug.retire_end=0.5"], [FULL, "aug.retire_end=0.5"]),
    ("aug.retire_fade", [FULL, "aug.retire_end=0.25", "aug.retire_fade=false"], [FULL, "aug.retire_fade=false"]),
    ("aug.width_until", ["aug=expand", "aug.width_until=0.2"], [FULL, "aug.width_until=0.2"]),
    ("aug.expand_until", ["aug=width", "aug.expand_until=0.2"], [FULL, "aug.expand_until=0.2"]),
    ("net.width_multipliers", ["aug=expand", "net.width_multipliers=[2.0]"], [FULL, "net.width_multipliers=[2.0]"]),
    ("net.expand_multipliers", ["aug=width", "net.expand_multipliers=[2.0]"], [FULL, "net.expand_multipliers=[2.0]"]),
    ("net.mult_layers", ["net.mult_layers=[se]"], ["net.mult_layers=[stem]"]),
    ("op.mult_layers", ["net.mult_layers=[stem]", "op.mult_layers=[head]"], ["op.mult_layers=[head]"]),
    ("net.stem.stride", ["net.stem.stride=1"], [LARGE, "net.stem.stride=1"]),
    ("net.stem.pool", ["+net.stem.pool=3"], [LARGE, "+net.stem.pool=3"]),
    ("net.output_stride", ["+net.output_stride=32"], ["+net.output_stride=8"]),
    ("op", [ALL_MULTIPLY, "op.weight_bits=4"], ["op.weight_bits=4"]),
    ("callbacks.reorder", ["aug=depth", SORTED], [FULL, SORTED]),
    ("callbacks.block_variant", ["block_variant=layer", "callbacks.block_variant.end=0"], ["block_variant=layer"]),
    ("callbacks.block_variant.order", [*TURNS, *AT_ONCE], TURNS),
    ("sharing", ["op=mult", R], ["op=add", R]),
    (
        "sharing.laplace_scale",
        ["op=add", KL, "sharing.weight=0", "sharing.laplace_scale=1"],
        ["op=add", KL, "sharing.laplace_scale=1"],
    ),
    ("sharing.laplace_scale", ["op=mult", KL, "sharing.laplace_scale=1"], ["op=add", KL, "sharing.laplace_scale=1"]),
    ("sharing.normal_std", ["op=add", KL, "sharing.normal_std=2"], ["op=mult", KL, "sharing.normal_std=2"]),
    (
        "sharing.stored_ratio",
        ["op=add", R, "sharing.stored_ratio=2"],
        ["op=add", R, SORTED, "sharing.stored_ratio=2"],
    ),
    ("op.remap", ["op=add", "op.remap.laplace_scale=3"], ["op=add", "op.remap.laplace_scale=3", R]),
    ("optim.warmup_epochs", [ONECYCLE, "optim.warmup_epochs=2"], ["optim.warmup_epochs=2"]),
    ("optim.min_lr", ["optim/scheduler=constant", "optim.min_lr=0.01"], ["optim.min_lr=0.01"]),
    ("optim.lr", ["optim.optimizer.lr=0.2", "optim.lr=0.3"], ["optim.lr=0.3"]),
    ("optim.optimizer.lr", [ONECYCLE, "optim.optimizer.lr=0.2"], ["optim.optimizer.lr=0.2"]),
    (
        "optim.encoder_lr_mult",
        [ONECYCLE, "optim.encoder_lr_mult=0.1"],
        ["optim.encoder_lr_mult=0.1"],
    ),
    (
        "optim.optimizer.momentum",
        [ONECYCLE, "optim.optimizer.momentum=0.8"],
        [ONECYCLE, "+optim.scheduler.cycle_momentum=false", "optim.optimizer.momentum=0.8"],
    ),
    (
        "optim.optimizer.dampening",
        ["+optim.optimizer.dampening=0.1", "optim.optimizer.momentum=0", "optim.optimizer.nesterov=false"],
        ["+optim.optimizer.dampening=0.1", "optim.optimizer.nesterov=false"],
    ),
    (
        "optim.scheduler.warmup_lr",
        ["optim/scheduler=timm", "optim.warmup_epochs=0", "optim.scheduler.warmup_lr=0.1"],
        ["optim/scheduler=timm", "optim.scheduler.warmup_lr=0.1"],
    ),
    (
        "optim.decay_norms",
        ["optim.optimizer.weight_decay=0", "optim.decay_norms=true"],
        ["optim.decay_norms=true"],
    ),
    (
        "trainer.gradient_clip_algorithm",
        ["+trainer.gradient_clip_algorithm=value"],
        ["+trainer.gradient_clip_algorithm=value", "trainer.gradient_clip_val=1"],
    ),
    ("trainer.sync_batchnorm", ["trainer.sync_batchnorm=true"], ["trainer.sync_batchnorm=true", "trainer.devices=2"]),
    (
        "trainer.use_distributed_sampler",
        ["trainer.use_distributed_sampler=true"],
        ["trainer.use_distributed_sampler=true", "trainer.devices=2"],
    ),
    (
        "trainer.val_check_interval",
        ["data.val_fraction=0", "+trainer.val_check_interval=0.5"],
        ["+trainer.val_check_interval=0.5"],
    ),
    (
        "trainer.limit_train_batches",
        ["+trainer.fast_dev_run=1", "trainer.max_epochs=3"],
        ["trainer.max_epochs=3"],
    ),
    (
        "trainer.limit_train_batches",
        [OVERFITTED, "+trainer.limit_train_batches=3"],
        ["+trainer.limit_train_batches=3"],
    ),
    ("trainer.logger", ["+trainer.logger=false"], []),
    ("resume", ["debug=fast", "resume=true"], ["resume=true"]),
    (
        "trainer.limit_test_batches",
        ["test=false", "+trainer.limit_test_batches=1"],
        ["+trainer.limit_test_batches=1"],
    ),
    ("trainer.limit_predict_batches", ["+trainer.limit_predict_batches=1"], []),
]
"""Key, and overrides without and with effect."""
