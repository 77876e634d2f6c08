"""mIoU, Dice and pixel accuracy: all from one confusion matrix over the whole split."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import multiclass_confusion_matrix, multilabel_confusion_matrix


class MeanIoU(Metric):
    """Mean over classes of the intersection over union; owner of the confusion matrix.

    Classes that neither the predictions nor the labels have are left out; nan if that leaves none. Binary masks are
    multilabel ones of a single label: their IoU is that of what is sought.

    Args:
        classes: channels of the network's outputs.
        one_of_many: whether a pixel has one of the classes; else any number of them.
        ignored: label of the pixels that are left out.
        predictions: from outputs to labels of the form of what is wanted.
    """

    full_state_update = False
    matrix: Tensor
    """Counts (classes wanted, classes predicted), or (labels, 2, 2), int64."""

    def __init__(self, classes: int, one_of_many: bool, ignored: int, predictions: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.classes, self.one_of_many, self.ignored, self.predictions = classes, one_of_many, ignored, predictions
        shape = (classes, classes) if one_of_many else (classes, 2, 2)
        self.add_state("matrix", torch.zeros(shape, dtype=torch.long), dist_reduce_fx="sum")
        self.whole = torch.zeros(shape, dtype=torch.long)
        """The matrix of all processes, as it was when the figure was computed last."""

    def update(self, outputs: Tensor, wanted: Tensor) -> None:
        """Take in the outputs of a batch, and the labels."""
        predicted = self.predictions(outputs)
        if self.one_of_many:
            counted = multiclass_confusion_matrix(
                predicted, wanted, self.classes, ignore_index=self.ignored, validate_args=False
            )
        else:
            shape = (len(outputs), self.classes, -1)
            predicted, wanted = predicted.reshape(shape), wanted.reshape(shape)
            counted = multilabel_confusion_matrix(
                predicted, wanted, self.classes, ignore_index=self.ignored, validate_args=False
            )
        self.matrix = self.matrix + counted

    def compute(self) -> Tensor:
        """Return the mean."""
        self.whole = self.matrix.detach().clone()
        return mean_of_present(intersection_over_union(self.whole)).to(self.matrix.device)


class FromMatrix(Metric):
    """A figure that is computed from the confusion matrix of another metric.

    Args:
        owner: of the matrix; it is updated.
        figure: from the matrix to a scalar.
    """

    full_state_update = False

    def __init__(self, owner: MeanIoU, figure: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._owner = (owner,)  # no submodule of this one
        self.figure = figure

    def update(self, outputs: Tensor, wanted: Tensor) -> None:
        """Do nothing: the owner is updated."""

    def compute(self) -> Tensor:
        """Return the figure."""
        (owner,) = self._owner
        owner.compute()
        return self.figure(owner.whole).to(owner.whole.device)


def hits_and_misses(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (true positives, false positives, false negatives) of each class, float64 on the CPU."""
    counts = matrix.cpu().double()
    if counts.ndim == 3:
        return counts[:, 1, 1], counts[:, 0, 1], counts[:, 1, 0]
    hits = counts.diagonal()
    return hits, counts.sum(0) - hits, counts.sum(1) - hits


def intersection_over_union(matrix: Tensor) -> Tensor:
    """Return TP / (TP + FP + FN) of each class; nan of one that is neither predicted nor wanted."""
    hits, wrong, missed = hits_and_misses(matrix)
    return hits / (hits + wrong + missed)


def mean_dice(matrix: Tensor) -> Tensor:
    """Return the mean over classes of 2 TP / (2 TP + FP + FN), those left out that mIoU leaves out."""
    hits, wrong, missed = hits_and_misses(matrix)
    return mean_of_present(2 * hits / (2 * hits + wrong + missed))


def pixel_accuracy(matrix: Tensor) -> Tensor:
    """Return the share of labelled pixels that are right; of multilabel masks, of all answers yes or no."""
    counts = matrix.cpu().double()
    return (counts.diagonal(dim1=-2, dim2=-1).sum() / counts.sum()).float()


def mean_of_present(values: Tensor) -> Tensor:
    """Return the mean, float32, of those that are numbers; nan of none."""
    return values.nanmean().float()
