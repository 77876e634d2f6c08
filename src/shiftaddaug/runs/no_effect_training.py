"""Settings without effect of how a run is trained: optimiser, schedule, Trainer and data. Imports no torch.

An optimiser states what its steps are like (`tasks/optim_settings.py`), data which keys their files replace
(`data/checks.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shiftaddaug.data.checks import holds_validation, without_effect
from shiftaddaug.runs.rules import Checked, Reason, Rule, always, say_no_effect, stated_rules, typed_of
from shiftaddaug.settings import shown
from shiftaddaug.tasks.optim_settings import OBEYED_BY, cycles_momentum, obeys, sets_rate

_OF_VALIDATION = (
    *("trainer.val_check_interval", "trainer.check_val_every_n_epoch", "trainer.limit_val_batches"),
    "trainer.num_sanity_val_steps",
)
_LIMITS = ("trainer.limit_train_batches", "trainer.limit_val_batches")
_OF_LENGTH = tuple(f"trainer.{key}" for key in ("limit_test_batches", "max_epochs", "val_check_interval"))
_MADE_BY_RUNS = ("trainer.logger", "trainer.callbacks", "trainer.plugins")
OUR_OWN = "the command makes its own"

_OF_TRAINING = (
    *("max_epochs", "min_epochs", "min_steps", "max_time", "gradient_clip_val", "gradient_clip_algorithm"),
    *("accumulate_grad_batches", "limit_train_batches", "check_val_every_n_epoch", "val_check_interval"),
    *("num_sanity_val_steps", "sync_batchnorm", "log_every_n_steps", "enable_model_summary", "detect_anomaly"),
    *("reload_dataloaders_every_n_epochs", "default_root_dir"),
)
"""Keys of the `trainer` group that only a training reads."""


def warn_of_evaluation(split: str, draws: bool, typed: Sequence[str]) -> None:
    """Log which typed keys an evaluation does not read.

    Args:
        split: that is evaluated, val or test.
        draws: whether it reads training images, which are augmented at random.
        typed: what the user typed.
    """
    others = [f"trainer.limit_{each}_batches" for each in ("val", "test", "predict") if each != split]
    reasons = {
        **{f"trainer.{key}": "an evaluation trains nothing" for key in _OF_TRAINING},
        **dict.fromkeys(others, f"split={split} is evaluated"),
        **dict.fromkeys((*_MADE_BY_RUNS, "trainer.enable_checkpointing"), OUR_OWN),
        "trainer.enable_progress_bar": "an evaluation shows no bar",
        **({} if draws else {"seed": "nothing is drawn at random"}),
    }
    for reason in dict.fromkeys(reasons.values()):
        found = typed_of([key for key, each in reasons.items() if each == reason], typed)
        if found:
            say_no_effect(reason, found)


def _name_of(node: Mapping[str, Any]) -> str:
    return str(node["_target_"]).rpartition(".")[2]


def _not_obeyed(key: str) -> Reason:
    def reason(checked: Checked) -> str | None:
        scheduler = checked.written["optim"]["scheduler"]
        return None if obeys(scheduler, key) else f"the schedule {_name_of(scheduler)} does not use it"

    return reason


def _rate_is_not_read(checked: Checked) -> str | None:
    return None if checked.reads("optim", "optim.lr") else "neither optim.optimizer nor optim.scheduler reads it"


def _rate_of_the_schedule(checked: Checked) -> str | None:
    scheduler = checked.config["optim"]["scheduler"]
    return f"the schedule {_name_of(scheduler)} sets the rate by itself" if sets_rate(scheduler) else None


def _momentum_of_the_schedule(checked: Checked) -> str | None:
    scheduler = checked.config["optim"]["scheduler"]
    return f"the schedule {_name_of(scheduler)} sets the momentum by itself" if cycles_momentum(scheduler) else None


def _nothing_decays(checked: Checked) -> str | None:
    return "optim.optimizer.weight_decay=0" if checked.config["optim"]["optimizer"].get("weight_decay") == 0 else None


def _no_momentum(checked: Checked) -> str | None:
    return "optim.optimizer.momentum=0" if checked.config["optim"]["optimizer"].get("momentum") == 0 else None


def _no_warmup(checked: Checked) -> str | None:
    return None if checked.config["optim"].get("warmup_epochs") else "optim.warmup_epochs=0"


def _rate_of_the_encoder(checked: Checked) -> str | None:
    if checked.config["net"].get("freeze_encoder"):
        return "net.freeze_encoder=true trains nothing of it"
    return _rate_of_the_schedule(checked)


def _nothing_is_clipped(checked: Checked) -> str | None:
    if checked.config["trainer"].get("gradient_clip_val"):
        return None
    return "trainer.gradient_clip_val is null or 0, which clips nothing"


def _one_process(key: str) -> Reason:
    def reason(checked: Checked) -> str | None:
        trainer = checked.config["trainer"]
        alone = trainer.get("devices") == 1 and trainer.get("num_nodes", 1) == 1
        return "trainer.devices=1 is one process" if alone and trainer.get(key) else None

    return reason


def _nothing_is_validated(checked: Checked) -> str | None:
    return None if holds_validation(checked.config["data"]) else "data.val_fraction=0 leaves nothing to validate"


def _tried(checked: Checked) -> str | None:
    batches = checked.config["trainer"].get("fast_dev_run")
    return f"trainer.fast_dev_run={shown(batches)} takes its place" if batches else None


def _overfitted(checked: Checked) -> str | None:
    batches = checked.config["trainer"].get("overfit_batches")
    return f"trainer.overfit_batches={batches} takes their place" if batches else None


def _not_tested(checked: Checked) -> str | None:
    return None if checked.config.get("test", True) else "test=false leaves the test set alone"


def _for_debugging(checked: Checked) -> str | None:
    mode = checked.config.get("debug")
    return f"debug={mode} always trains, and no other run goes on from it" if mode else None


TRAINING = (
    *(Rule((key,), _not_obeyed(key)) for key in OBEYED_BY),
    Rule(("optim.lr",), _rate_is_not_read),
    Rule(("optim.optimizer.lr",), _rate_of_the_schedule),
    Rule(("optim.encoder_lr_mult",), _rate_of_the_encoder),
    Rule(("optim.optimizer.momentum",), _momentum_of_the_schedule),
    Rule(("optim.optimizer.dampening",), _no_momentum),
    Rule(("optim.scheduler.warmup_lr",), _no_warmup),
    Rule(("optim.decay_norms",), _nothing_decays),
    Rule(("trainer.gradient_clip_algorithm",), _nothing_is_clipped),
    Rule(("trainer.sync_batchnorm",), _one_process("sync_batchnorm")),
    Rule(("trainer.use_distributed_sampler",), _one_process("use_distributed_sampler")),
    Rule(_OF_VALIDATION, _nothing_is_validated),
    Rule((*_LIMITS, *_OF_LENGTH), _tried),
    Rule(_LIMITS, _overfitted),
    Rule(_MADE_BY_RUNS, always(OUR_OWN)),
    Rule(("resume",), _for_debugging),
    Rule(("trainer.limit_test_batches",), _not_tested),
    Rule(("trainer.limit_predict_batches",), always("nothing is predicted")),
)


def data_rules(checked: Checked) -> Iterator[Rule]:
    """Yield the rules that the data of a run state, and the one on the folder that they may not read."""
    data = checked.config["data"]
    yield from stated_rules("data", without_effect(data))
    paths = checked.config["paths"]
    chosen = paths.get("data_dir") != f"{paths['root_dir']}/data"  # what src/ablate.py hands on need not be
    if chosen and not checked.reads("data", "paths.data_dir"):
        where = (
            "data.data_dir says where they lie" if "data_dir" in data else f"data={data['name']} reads no files there"
        )
        yield Rule(("paths.data_dir",), always(where))
