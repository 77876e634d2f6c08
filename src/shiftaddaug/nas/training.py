"""The training step of a searched supernet: several of its sub-networks at once."""

from collections.abc import Sequence

from torch import Tensor

from shiftaddaug.nets.spec import SubnetSpec
from shiftaddaug.tasks.evaluation import Batch
from shiftaddaug.tasks.training import Training


class SupernetTraining(Training):
    """Train the largest network by its labels, and smaller ones beside it by what it says, in one optimiser step.

    L = L(largest) + sum over the others of distill_weight x their distillation loss, the largest being the teacher in
    place (BigNAS, arXiv 2003.11142, section 3.1). A distill_weight of 0 gives them the labels instead.

    A callback sets `specs` before each step; arguments are `Training`'s.
    """

    specs: Sequence[SubnetSpec] = ()
    """The sub-networks of the step, the largest first; by default it alone."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, wanted = self.objective.mixed(*batch)
        images = self._prepared(images)
        largest, *others = self.specs or (self.net.target_spec,)
        outputs = self.net(images, largest)
        largest_loss = loss = self.objective.loss(outputs, wanted)
        self._check_loss(loss)
        for spec in others:
            loss = loss + self._smaller_loss(self.net(images, spec), outputs.detach(), wanted)
        self._check_finite(loss)
        self.target_loss = largest_loss.detach()
        self._log_train("train/loss", self.target_loss, len(images))
        if others:
            mean = (loss - largest_loss) / len(others)
            self._log_train("train/loss_subnets", mean, len(images))
        self._measure(outputs.detach(), batch[1])
        return loss

    def _smaller_loss(self, outputs: Tensor, teacher: Tensor, wanted: Tensor) -> Tensor:
        if not self.distill_weight:
            return self.objective.loss(outputs, wanted)
        return self.distill_weight * self.objective.distillation(outputs, teacher, self.distill_temperature)

    def passes(self) -> Sequence[SubnetSpec]:
        return self.specs or (self.net.target_spec,)
