"""Words of other libraries for keys of this one, and which key a user may have meant. Imports nothing of the package.

An answer names the key that was meant; no word is taken in its place.
"""

from collections.abc import Collection
from difflib import get_close_matches

SYNONYMS: dict[str, tuple[str, ...]] = {
    # how long, how fast
    **dict.fromkeys(("epoch", "epochs", "max_epoch", "num_epochs", "n_epochs", "nepochs"), ("trainer.max_epochs",)),
    **dict.fromkeys(("steps", "max_steps", "num_steps", "iterations", "max_iters"), ("trainer.max_epochs",)),
    **dict.fromkeys(("lr", "learning_rate", "base_lr", "max_lr", "initial_lr"), ("optim.lr",)),
    **dict.fromkeys(("warmup", "warmup_steps", "num_warmup_epochs"), ("optim.warmup_epochs",)),
    **dict.fromkeys(("wd", "decay", "l2", "weight_decay"), ("optim.optimizer.weight_decay",)),
    **dict.fromkeys(("optimizer", "optimiser", "opt", "optimizers"), ("optim",)),
    **dict.fromkeys(("scheduler", "lr_scheduler", "sched", "schedule", "lr_schedule"), ("optim/scheduler",)),
    **dict.fromkeys(("grad_clip", "clip_grad", "max_grad_norm", "gradient_clip"), ("trainer.gradient_clip_val",)),
    **dict.fromkeys(
        ("grad_accum", "accumulate", "accum_iter", "gradient_accumulation_steps"), ("trainer.accumulate_grad_batches",)
    ),
    # where it is computed
    **dict.fromkeys(("gpus", "gpu", "num_gpus", "n_gpus", "ngpus"), ("trainer.devices", "trainer.accelerator")),
    **dict.fromkeys(("cuda", "use_cuda", "use_gpu", "device"), ("trainer.accelerator",)),
    **dict.fromkeys(("amp", "fp16", "bf16", "half", "mixed_precision", "dtype"), ("trainer.precision",)),
    **dict.fromkeys(("workers", "n_workers", "num_worker"), ("data.num_workers",)),
    **dict.fromkeys(("torch_compile", "torchcompile"), ("task.compile",)),
    # of what
    **dict.fromkeys(("model", "models", "network", "backbone", "encoder", "architecture", "model_name"), ("net",)),
    **dict.fromkeys(("dataset", "datasets", "datamodule", "dm"), ("data",)),
    **dict.fromkeys(("data_path", "dataset_path", "data_root", "root"), ("data.data_dir", "paths.data_dir")),
    **dict.fromkeys(("bs", "batch", "batchsize", "train_batch_size"), ("data.batch_size",)),
    **dict.fromkeys(("img_size", "input_size", "imgsz", "resolution"), ("data.image_size",)),
    **dict.fromkeys(("classes", "n_classes", "nb_classes"), ("data.num_classes",)),
    **dict.fromkeys(("val_split", "validation_split", "val_ratio"), ("data.val_fraction",)),
    **dict.fromkeys(
        ("augment", "augmentation", "augmentations", "data_augmentation", "transform", "transforms"),
        ("aug", "data.horizontal_flip", "data.crop_padding"),
    ),
    **dict.fromkeys(("flip", "hflip", "fliplr", "random_flip"), ("data.horizontal_flip",)),
    **dict.fromkeys(("crop", "padding", "random_crop"), ("data.crop_padding",)),
    **dict.fromkeys(("smoothing",), ("task.label_smoothing",)),
    **dict.fromkeys(("criterion",), ("task.loss",)),
    **dict.fromkeys(("operator", "operators", "ops"), ("op",)),
    **dict.fromkeys(("teacher", "distill", "distillation", "kd"), ("aug.distill_weight",)),
    # what is kept of it
    **dict.fromkeys(("random_seed", "manual_seed", "rng_seed", "seed_everything"), ("seed",)),
    **dict.fromkeys(
        (
            *("checkpoint", "ckpt", "checkpoint_path", "resume_from", "resume_from_checkpoint", "resume_path"),
            *("restore", "weights", "load_from", "resume"),
        ),
        ("ckpt_path", "mf_ckpt", "target"),
    ),
    **dict.fromkeys(("pretrained", "finetune", "init_checkpoint", "pretrained_path"), ("net.init_from",)),
    **dict.fromkeys(("wandb", "tensorboard", "mlflow", "comet", "log", "loggers"), ("logger",)),
    **dict.fromkeys(("ema", "model_ema", "early_stopping", "early_stop"), ("callbacks",)),
    **dict.fromkeys(
        ("output", "out", "out_dir", "exp_dir", "save_dir", "work_dir"), ("paths.log_dir", "hydra.run.dir")
    ),
    **dict.fromkeys(("plugin",), ("plugins",)),
    **dict.fromkeys(("trials", "num_trials"), ("sweep.n_trials",)),
}
"""Last parts of keys that users of Lightning, timm, Keras and others type, and keys here that may be meant."""

MOST = 3
"""Keys that an answer names at most as meant; where more would fit, none is."""


def meant(key: str, known: Collection[str]) -> list[str]:
    """Return which of the known keys a user may have meant, the likeliest first; none where that is a guess.

    It is a synonym; else a key of that last part, such as data.batch_size for batch_size; else one that is written
    nearly so.

    Args:
        key: as it was typed, dots included.
        known: keys, dots included; slashes in groups that lie in others.
    """
    place, _, word = key.rpartition(".")
    found = [each for target in SYNONYMS.get(word.lower(), ()) for each in _ending(target, known) if each != key]
    beside = [each for each in found if each.startswith(f"{place}.")]
    found = beside if place and beside else found
    if found:
        return found
    same = [each for each in known if _last(each) == word]
    return _highest(same) if same else _written_alike(key, known)


def _ending(target: str, known: Collection[str]) -> list[str]:
    """Return a target that is known, or its last part where keys are those of one node."""
    if target in known:
        return [target]
    last = target.rpartition(".")[2]
    return [last] if "." in target and last in known and not any("." in each for each in known) else []


def _last(key: str) -> str:
    return key.replace("/", ".").rpartition(".")[2].lstrip("+")


def _highest(keys: Collection[str]) -> list[str]:
    """Return the keys that lie least deep; none where these are many."""
    least = min(each.count(".") for each in keys)
    highest = [each for each in keys if each.count(".") == least]
    return highest if len(highest) <= MOST else []


def _written_alike(key: str, known: Collection[str]) -> list[str]:
    """Return the key beside the typed one that is written most like it; if none is, one elsewhere."""
    place, _, word = key.rpartition(".")
    beside = {each.rpartition(".")[2]: each for each in known if each.rpartition(".")[0] == place}
    anywhere = {each.rpartition(".")[2]: each for each in sorted(known, key=lambda each: -each.count("."))}
    near = [beside[each] for each in get_close_matches(word, beside, n=1)]
    return near or [anywhere[each] for each in get_close_matches(word, anywhere, n=1, cutoff=0.8)]
