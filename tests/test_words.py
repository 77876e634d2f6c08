"""Words of other libraries are answered with keys of this one."""

import pytest

from shiftaddaug.words import SYNONYMS, meant

KNOWN = (
    *("seed", "net", "optim", "data", "aug", "optim/scheduler", "trainer.max_epochs", "data.batch_size"),
    *("data.horizontal_flip", "data.crop_padding", "optim.lr", "optim.min_lr", "optim.optimizer.lr"),
    *("net.name", "op.name", "aug.name", "data.name", "optim.optimizer.weight_decay", "+trainer.limit_val_batches"),
)


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("lr", ["optim.lr"]),
        ("optimizer.lr", ["optim.lr"]),
        ("optim.learning_rate", ["optim.lr"]),
        ("epochs", ["trainer.max_epochs"]),
        ("max_epochs", ["trainer.max_epochs"]),
        ("Batch_Size", ["data.batch_size"]),
        ("model", ["net"]),
        ("scheduler", ["optim/scheduler"]),
        ("data.augment", ["data.horizontal_flip", "data.crop_padding"]),
        ("augment", ["aug", "data.horizontal_flip", "data.crop_padding"]),
        ("wd", ["optim.optimizer.weight_decay"]),
        ("limit_val_batches", ["+trainer.limit_val_batches"]),
        ("seeed", ["seed"]),
        ("optim.lrr", ["optim.lr"]),
        ("name", []),  # whose?
        ("quux", []),
    ],
)
def test_the_key_that_is_meant(key: str, found: list[str]) -> None:
    assert meant(key, KNOWN) == found


def test_synonyms_are_words_and_targets_are_keys() -> None:
    assert all(word == word.lower() and "." not in word for word in SYNONYMS)


def test_arguments_of_one_node_have_no_dots() -> None:
    assert meant("wd", ["lr", "weight_decay"]) == ["weight_decay"]
