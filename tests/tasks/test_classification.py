"""The objective of classification, against formulas in float64, and what its settings refuse."""

import numpy as np
import pytest
import torch
from tests.tasks.contract import check_objective
from tests.tasks.little import CLASSES, SMOOTHING, classification, cross_entropy, make_batch

from shiftaddaug import tasks
from shiftaddaug.errors import UserError
from shiftaddaug.tasks.classification.objective import Classification

CONFIG = {"name": "classification", "headline": "top1", "better": "max"}


def built(**keys: object) -> Classification:
    objective = tasks.build(CONFIG | keys, CLASSES)
    assert isinstance(objective, Classification)
    return objective


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_of_half_precision_logits_are_not_rounded(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, teacher = (torch.randn(8, CLASSES, generator=generator).to(dtype) for _ in range(2))
    labels = make_batch(size=8)[1]
    objective = built(label_smoothing=SMOOTHING)
    smoothed, plain = cross_entropy(logits, labels, SMOOTHING).item(), cross_entropy(logits, labels).item()
    assert objective.loss(logits, labels).item() == pytest.approx(smoothed, rel=1e-6)
    assert objective.evaluation_loss(logits, labels).item() == pytest.approx(plain, rel=1e-6)
    p, q = (x.double().div(2).log_softmax(1) for x in (teacher, logits))
    wanted = 4 * (p.exp() * (p - q)).sum(1).mean()
    assert objective.distillation(logits, teacher, 2.0).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_a_loss_of_probabilities() -> None:
    logits, wanted = torch.randn(4, CLASSES), torch.rand(4, CLASSES).softmax(1)
    loss = built(label_smoothing=SMOOTHING).loss(logits, wanted)
    assert loss.item() == pytest.approx(cross_entropy(logits, wanted, SMOOTHING).item(), rel=1e-6)


def test_predictions_are_labels_in_the_form_of_the_data() -> None:
    objective, labels = built(), make_batch(size=8)[1]
    predictions = objective.predictions(torch.nn.functional.one_hot(labels, CLASSES).float())
    assert torch.equal(predictions, labels) and predictions.dtype == labels.dtype
    assert objective.show(predictions[0]) == str(int(labels[0]))


class TestMixup:
    def test_is_off_by_default(self) -> None:
        images, labels = make_batch()
        mixed, wanted = built().mixed(images, labels)
        assert mixed is images and wanted is labels

    @pytest.mark.parametrize("on", [{"mixup": 0.4}, {"cutmix": 1.0}])
    def test_leaves_the_batch_itself_as_it_is(self, on: dict[str, float]) -> None:
        images, labels = make_batch()
        np.random.seed(5)  # noqa: NPY002 (timm draws from the legacy generator)
        mixed, wanted = built(**on).mixed(images, labels)
        assert torch.equal(images, make_batch()[0]) and not torch.equal(mixed, images)
        assert wanted.shape == (len(labels), CLASSES)
        torch.testing.assert_close(wanted.sum(1), torch.ones(len(labels)))

    def test_leaves_an_odd_batch_as_it_is(self) -> None:
        images, labels = make_batch(size=3)
        mixed, wanted = built(mixup=0.4).mixed(images, labels)
        assert mixed is images and wanted is labels

    @pytest.mark.parametrize("key", ["mixup", "cutmix"])
    def test_needs_even_batches(self, key: str) -> None:
        settings = classification(CLASSES, **{key: 0.2}).settings
        settings.check_data({"batch_size": 64})
        with pytest.raises(UserError, match=rf"^data\.batch_size=63: must be even with task\.{key}=0\.2$"):
            settings.check_data({"batch_size": 63})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"label_smoothing": 2}, r"task\.label_smoothing=2: must be a number >= 0 and < 1"),
        ({"mixup": -1}, r"task\.mixup=-1: must be a number >= 0 and <= 1000"),
        ({"cutmix": "a"}, r"task\.cutmix=a: must be a number >= 0 and <= 1000"),
        ({"headline": "top2"}, r"task\.headline=top2: no such option; options: top1, top5, loss"),
        ({"headline": "loss"}, r"task\.better=max: loss is better if it is lower: min"),
        ({"better": "maximum"}, r"task\.better=maximum: no such option; options: max, min"),
    ],
)
def test_mistakes(keys: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}$"):
        tasks.settings_from(CONFIG | keys)


def test_a_headline_of_five_classes_is_not_top5() -> None:
    settings = tasks.settings_from(CONFIG | {"headline": "top5"})
    settings.check_outputs(6)
    with pytest.raises(UserError, match=r"^task\.headline=top5: is not measured of 5 classes; options: top1, loss$"):
        settings.check_outputs(5)
    with pytest.raises(UserError, match=r"^task\.headline=top5: is not measured of 4 classes"):
        tasks.build(CONFIG | {"headline": "top5"}, 4)
    assert [figure["name"] for figure in settings.record(10)["figures"]] == ["top1", "top5", "loss"]
    assert [figure["name"] for figure in tasks.settings_from(CONFIG).record(4)["figures"]] == ["top1", "loss"]


def test_classes_are_ranked_by_their_softmax() -> None:
    outputs = torch.tensor([[0.0, 2.0, 1.0], [3.0, -1.0, 0.0]], dtype=torch.float64)
    labels, scores = built().ranked(outputs, 2)
    assert labels.tolist() == [[1, 2], [0, 2]]
    torch.testing.assert_close(scores, outputs.softmax(1).gather(1, labels))


def test_the_network_has_an_output_for_each_class() -> None:
    assert tasks.settings_from(CONFIG).outputs({"num_classes": 7, "name": "digits"}) == 7


@pytest.mark.parametrize("keys", [{}, {"label_smoothing": 0.1, "mixup": 0.2}])
def test_it_keeps_to_the_contract(keys: dict[str, float]) -> None:
    outputs = torch.randn(8, CLASSES, generator=torch.Generator().manual_seed(2))
    check_objective(built(**keys), outputs, make_batch(size=8)[1])
