"""The objective of segmentation, against formulas in float64 and numpy, and what its settings refuse."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.tasks.contract import check_objective
from torch import Tensor, nn

from shiftaddaug import tasks
from shiftaddaug.errors import UserError
from shiftaddaug.tasks.segmentation.objective import Segmentation
from shiftaddaug.tasks.segmentation.windows import slide, starts

CONFIG = {"name": "segmentation", "headline": "miou", "better": "max"}
CLASSES, IGNORED, SIZE = 4, 255, (6, 5)
CHANNELS = {"multiclass": CLASSES, "binary": 1, "multilabel": CLASSES}


def built(masks: str = "multiclass", **keys: Any) -> Segmentation:
    objective = tasks.build(CONFIG | {"masks": masks} | keys, CHANNELS[masks])
    assert isinstance(objective, Segmentation)
    return objective


def make_batch(masks: str = "multiclass", count: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits, and masks of which about every fifth value is to be ignored, and the second image as a whole."""
    generator = torch.Generator().manual_seed(seed)
    outputs = 2 * torch.randn(count, CHANNELS[masks], *SIZE, generator=generator)
    shape = (count, CLASSES, *SIZE) if masks == "multilabel" else (count, *SIZE)
    highest = CLASSES if masks == "multiclass" else 2
    wanted = torch.randint(highest, shape, generator=generator)
    wanted[torch.rand(shape, generator=generator) < 0.2] = IGNORED
    wanted[1] = IGNORED
    return outputs, wanted


@pytest.mark.parametrize("masks", CHANNELS)
@pytest.mark.parametrize("loss", ["ce", ["dice", "focal", "jaccard", "lovasz"]])
def test_it_keeps_to_the_contract(masks: str, loss: Any) -> None:
    check_objective(built(masks, loss=loss), *make_batch(masks))


class TestLosses:
    def test_cross_entropy_of_labelled_pixels(self) -> None:
        outputs, wanted = make_batch()
        weights, smoothing = [1.0, 2.0, 0.5, 3.0], 0.1
        logp, w = outputs.double().log_softmax(1).movedim(1, -1), torch.tensor(weights).double()
        seen = wanted != IGNORED
        logp, labels = logp[seen], wanted[seen]
        own = -(w[labels] * logp[range(len(labels)), labels]).sum() / w[labels].sum()
        smooth = -(w * logp).sum() / CLASSES / w[labels].sum()
        objective = built(class_weights=weights, label_smoothing=smoothing)
        assert objective.loss(outputs, wanted).item() == pytest.approx((0.9 * own + 0.1 * smooth).item(), rel=1e-6)
        assert objective.evaluation_loss(outputs, wanted).item() == pytest.approx(own.item(), rel=1e-6)

    @pytest.mark.parametrize("masks", ["binary", "multilabel"])
    def test_cross_entropy_of_answers(self, masks: str) -> None:
        outputs, wanted = make_batch(masks)
        p, y = outputs.double().sigmoid().flatten(2), wanted.reshape(outputs.shape).flatten(2)
        cells = -(y * p.log() + (1 - y) * (1 - p).log())
        of_each = torch.stack([cells[:, i][y[:, i] != IGNORED].mean() for i in range(p.shape[1])])
        weights = None if masks == "binary" else [1.0, 2.0, 0.5, 3.0]
        w = torch.tensor(weights or [1.0]).double()
        found = built(masks, class_weights=weights).loss(outputs, wanted)
        assert found.item() == pytest.approx(((w * of_each).sum() / w.sum()).item(), rel=1e-6)

    def test_dice_and_jaccard_over_the_batch(self) -> None:
        outputs, wanted = make_batch()
        p = outputs.double().softmax(1)
        p, labels = p.movedim(1, -1)[wanted != IGNORED], wanted[wanted != IGNORED]
        y = nn.functional.one_hot(labels, CLASSES)
        hit, both = (p * y).sum(0), p.sum(0) + y.sum(0)
        w = torch.tensor([1.0, 2.0, 0.5, 3.0]).double()
        for name, scores in (("dice", 2 * hit / both), ("jaccard", hit / (both - hit))):
            alike = built(loss=name).loss(outputs, wanted)
            assert alike.item() == pytest.approx((1 - scores).mean().item(), rel=1e-5)
            weighted = built(loss=[name], class_weights=w.tolist()).loss(outputs, wanted)
            assert weighted.item() == pytest.approx(((w * (1 - scores)).sum() / w.sum()).item(), rel=1e-5)

    @pytest.mark.parametrize("masks", CHANNELS)
    def test_focal_of_answers(self, masks: str) -> None:
        """Classes are answers yes or no, each by itself (smp)."""
        outputs, wanted = make_batch(masks)
        p = outputs.double().sigmoid()
        y = torch.stack([wanted == i for i in range(CLASSES)], 1) if masks == "multiclass" else wanted.view(p.shape)
        seen = (wanted != IGNORED)[:, None].expand_as(p) if masks == "multiclass" else y != IGNORED
        right = torch.where(y == 1, p, 1 - p)
        cells = -((1 - right) ** 3) * right.log()
        of_each = torch.stack([cells[:, i][seen[:, i]].mean() for i in range(p.shape[1])])
        found = built(masks, loss="focal", focal_gamma=3.0).loss(outputs, wanted)
        assert found.item() == pytest.approx(of_each.mean().item(), rel=1e-5)

    def test_lovasz_is_the_jaccard_loss_of_certain_answers(self) -> None:
        """At the corners of the cube the extension is the loss itself."""
        outputs, wanted = make_batch()
        certain = 1000.0 * nn.functional.one_hot(outputs.argmax(1), CLASSES).movedim(-1, 1)
        for dtype in (torch.float32, torch.float64):
            loss = built(loss="lovasz").loss(certain.to(dtype), wanted)
            held = [i for i in range(CLASSES) if (wanted == i).any()]
            iou = ious(outputs.argmax(1).numpy(), wanted.numpy())[held]
            assert loss.item() == pytest.approx(1 - iou.mean(), rel=1e-6) and loss.dtype == dtype

    def test_a_sum_has_weights(self) -> None:
        outputs, wanted = make_batch()
        ce, dice = (built(loss=name).loss(outputs, wanted) for name in ("ce", "dice"))
        torch.testing.assert_close(built(loss=["ce", "dice"]).loss(outputs, wanted), ce + dice)
        weighted = built(loss=["ce", "dice"], loss_weights=[0.5, 2.0]).loss(outputs, wanted)
        torch.testing.assert_close(weighted, 0.5 * ce + 2 * dice)

    @pytest.mark.parametrize("masks", CHANNELS)
    def test_a_batch_without_labels_has_none(self, masks: str) -> None:
        outputs, wanted = make_batch(masks)
        outputs.requires_grad_()
        loss = built(masks, loss=["ce", "dice", "focal", "jaccard", "lovasz"]).loss(outputs, wanted.fill_(IGNORED))
        loss.backward()
        assert loss.item() == 0 and outputs.grad is not None and not outputs.grad.any()

    @pytest.mark.parametrize("masks", CHANNELS)
    def test_what_is_ignored_has_no_gradient(self, masks: str) -> None:
        outputs, wanted = make_batch(masks)
        outputs.requires_grad_()
        built(masks, loss=["ce", "dice", "focal", "jaccard", "lovasz"]).loss(outputs, wanted).backward()
        ignored = (wanted == IGNORED).view(len(wanted), -1, *SIZE).expand_as(outputs)
        assert outputs.grad is not None and not outputs.grad[ignored].any()
        assert outputs.grad[~ignored].abs().sum() > 0


def ious(predicted: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, of sets of pixels."""
    seen = wanted != IGNORED
    found = []
    for i in range(CLASSES):
        a, b = (predicted == i) & seen, (wanted == i) & seen
        found.append((a & b).sum() / (a | b).sum() if (a | b).any() else np.nan)
    return np.array(found)


def measured(objective: Segmentation, *batches: tuple[Tensor, Tensor]) -> tuple[dict[str, float], dict[str, Any]]:
    metrics = objective.metrics()
    for outputs, wanted in batches:
        for metric in metrics.values():
            metric.update(outputs, wanted)
    values = {name: float(metric.compute()) for name, metric in metrics.items()}
    return values, objective.details(metrics)["iou_percent_by_class"]


class TestFigures:
    def test_of_classes_over_the_whole_split(self) -> None:
        """Not the mean of the batches' means; the last class is absent, and counts nowhere."""
        batches = [make_batch(seed=seed, count=count) for seed, count in ((0, 6), (1, 2))]
        for outputs, wanted in batches:
            outputs[:, 3] = -100
            wanted[wanted == 3] = 0
        outputs, wanted = (torch.cat(parts).numpy() for parts in zip(*batches, strict=True))
        predicted = outputs.argmax(1)
        wanted_ious = ious(predicted, wanted)
        values, by_class = measured(built(class_names=["sky", "tree", "car", "bus"]), *batches)
        assert math.isnan(wanted_ious[3])
        assert values["miou"] == pytest.approx(np.nanmean(wanted_ious), rel=1e-6)
        assert values["dice"] == pytest.approx(np.nanmean(2 * wanted_ious / (1 + wanted_ious)), rel=1e-6)
        seen = wanted != IGNORED
        assert values["pixel_accuracy"] == pytest.approx((predicted == wanted)[seen].mean(), rel=1e-6)
        percent = [round(100 * value, 2) for value in wanted_ious[:3].tolist()]
        assert by_class == {"sky": percent[0], "tree": percent[1], "car": percent[2], "bus": None}

    @pytest.mark.parametrize("masks", ["binary", "multilabel"])
    def test_of_what_is_sought(self, masks: str) -> None:
        outputs, wanted = make_batch(masks)
        yes, y = (outputs > 0).numpy(), wanted.view(outputs.shape).numpy()
        seen = y != IGNORED
        sums = [(a & seen).sum((0, 2, 3)) for a in (yes & (y == 1), yes | (y == 1))]
        values, by_class = measured(built(masks), (outputs, wanted))
        assert values["miou"] == pytest.approx((sums[0] / sums[1]).mean(), rel=1e-6)
        assert values["pixel_accuracy"] == pytest.approx((yes == y)[seen].mean(), rel=1e-6)
        assert list(by_class) == (["1"] if masks == "binary" else ["0", "1", "2", "3"])

    def test_of_nothing_are_no_numbers(self) -> None:
        outputs, wanted = make_batch()
        values, by_class = measured(built(), (outputs, wanted.fill_(IGNORED)))
        assert all(math.isnan(value) for value in values.values())
        assert set(by_class.values()) == {None}


def test_distillation_is_of_pixels() -> None:
    student, teacher = (make_batch(seed=seed)[0] for seed in (0, 1))
    p, q = ((x.double() / 2).log_softmax(1) for x in (teacher, student))
    wanted = 4 * (p.exp() * (p - q)).sum(1).mean()
    assert built().distillation(student, teacher, 2.0).item() == pytest.approx(wanted.item(), rel=1e-5)
    p, q = ((x.double() / 2).sigmoid() for x in (teacher, student))
    wanted = 4 * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum(1).mean()
    found = built("multilabel").distillation(student, teacher, 2.0)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_masks_are_shown_in_vocs_colours() -> None:
    shown = built().show(torch.tensor([[0, 1, 2], [3, IGNORED, 1]]))
    colours = [[[0, 0, 0], [128, 0, 0], [0, 128, 0]], [[128, 128, 0], [224, 224, 192], [128, 0, 0]]]
    assert shown.movedim(0, -1).tolist() == colours
    several = torch.tensor([[0, 1, IGNORED], [0, 1, IGNORED]])[:, None]
    assert built("multilabel").show(several).movedim(0, -1).tolist() == [[[0, 0, 0], [0, 128, 0], [224, 224, 192]]]


class TestWindows:
    def test_cover_the_image(self) -> None:
        assert starts(10, 4, 0.5) == [0, 2, 4, 6]
        assert starts(11, 4, 0.0) == [0, 4, 7]
        assert starts(4, 4, 0.5) == [0]

    def test_of_a_net_that_sees_a_pixel_agree_with_the_whole(self) -> None:
        net, images = nn.Conv2d(3, CLASSES, 1).double(), torch.rand(2, 3, 11, 13, dtype=torch.float64)
        torch.testing.assert_close(slide(net, images, (4, 6), 0.4), net(images))

    def test_give_the_mean_of_their_logits(self) -> None:
        """Of a net that tells where in its window a pixel lies."""
        place = torch.arange(4.0).view(1, 1, 1, 4)
        found = slide(lambda images: place.expand(len(images), CLASSES, 1, 4), torch.zeros(1, 3, 1, 6), (1, 4), 0.5)
        assert found[0, 0, 0].tolist() == [0, 1, (2 + 0) / 2, (3 + 1) / 2, 2, 3]
        objective, seen = built(window=[1, 4]), list[tuple[int, ...]]()

        def net(images: Tensor) -> Tensor:
            seen.append(tuple(images.shape))
            return place.expand(len(images), CLASSES, 1, 4)

        assert torch.equal(objective.infer(net, torch.zeros(1, 3, 1, 6)), found)
        assert seen == [(1, 3, 1, 4)] * 2


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"loss": "bce"}, r"task\.loss=bce: .*ce.*dice.*"),
        ({"loss": ["ce", "ce"]}, r"task\.loss=\[ce,ce\]: names one twice"),
        ({"loss_weights": [1.0, 2.0]}, r"task\.loss_weights=\[1\.0,2\.0\]: must hold a number for each of .*"),
        ({"class_weights": [1.0, 0.0]}, r"task\.class_weights=\[1\.0,0\.0\]: must be a list of numbers > 0.*"),
        (
            {"loss": ["ce", "lovasz"], "class_weights": [1.0] * 4},
            r"task\.class_weights=.*: task\.loss=lovasz counts .*",
        ),
        ({"masks": "binary", "class_weights": [1.0]}, r"task\.class_weights=\[1\.0\]: task\.masks=binary has .*"),
        ({"class_names": ["a", "a"]}, r"task\.class_names=\[a,a\]: names one twice"),
        ({"headline": "top1"}, r"task\.headline=top1: no such option; options: miou, pixel_accuracy, dice, loss"),
        ({"window_overlap": 1}, r"task\.window_overlap=1: must be a number >= 0 and < 1"),
    ],
)
def test_mistakes(keys: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}$"):
        tasks.settings_from(CONFIG | keys)


@pytest.mark.parametrize(
    ("keys", "data", "message"),
    [
        ({"class_weights": [1.0, 2.0]}, {}, r"task\.class_weights=\[1\.0,2\.0\]: has 2 entries for 4 classes"),
        ({"class_names": ["a"]}, {}, r"task\.class_names=\[a\]: has 1 entries for 4 classes"),
        ({"masks": "binary"}, {}, r"task\.masks=binary: data\.num_classes=4; must be 2, .*"),
        ({"masks": "multilabel"}, {}, r"task\.masks=multilabel: data=x have one label .*; options: multiclass, binary"),
        ({}, {"multilabel": True}, r"task\.masks=multiclass: data=x have yes or no .*; options: multilabel"),
        ({"ignore_index": 3}, {}, r"task\.ignore_index=3: is the label of one of the 4 classes"),
        ({"window": 32}, {}, r"task\.window=32: is larger than what it slides over, images of \[24,48\] px .*"),
    ],
)
def test_mistakes_about_the_data(keys: dict[str, Any], data: dict[str, Any], message: str) -> None:
    settings = tasks.settings_from(CONFIG | keys)
    with pytest.raises(UserError, match=f"^{message}$"):
        settings.check_data({"name": "x", "num_classes": CLASSES, "image_size": [24, 48]} | data)


def test_what_has_no_effect() -> None:
    def idle(**keys: Any) -> set[str]:
        return {*tasks.settings_from(CONFIG | keys).without_effect()}

    assert idle() == {"window_overlap", "focal_gamma"}
    assert idle(window=8, loss=["ce", "focal"]) == set()
    assert idle(masks="binary", window=8, loss="focal") == idle(window=8, loss="focal") == {"label_smoothing"}


def test_the_network_has_an_output_for_each_class_or_one() -> None:
    assert tasks.settings_from(CONFIG).outputs({"num_classes": 7}) == 7
    assert tasks.settings_from(CONFIG | {"masks": "binary"}).outputs({"num_classes": 2}) == 1
