"""The trained tensors of a width-sliced layer: drawn, sliced, made operator-ready, and their gradients rescaled.

ShiftAddAug (arXiv 2407.02881) section 3, NetAug (arXiv 2110.08890) section 3. One weight serves every width: the
target's is its leading slice. `hybrid/layers.py` computes with it.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.alternative import Reader
from shiftaddaug.hybrid.cut import Cut
from shiftaddaug.hybrid.kernel_transform import centre, is_transform, transform_name
from shiftaddaug.hybrid.sharing import PLAIN, NetSharing
from shiftaddaug.hybrid.sources import positions, total
from shiftaddaug.hybrid.updates import replace, rescale_weight
from shiftaddaug.hybrid.widths import Widths
from shiftaddaug.operators import cannot_be_augmented
from shiftaddaug.operators.base import Operator
from shiftaddaug.operators.mult.operator import kaiming_normal, kaiming_uniform

FACTORS = "sharing_factors"
"""Name of the parameter that holds the factors of T (`hybrid/affine.py`)."""


class HybridWeight(nn.Module):
    """The trained tensors of a layer: one weight of the widest shape, whose leading slice is the target's.

    The operator reads its slice of the weight as `sharing` says; its other tensors are the target's alone. The columns
    of a layer of several sources lie as `hybrid/sources.py` says.

    Args:
        operator: of the target part.
        source: width of the input, or of each of several that the layer reads as one concatenation.
        out: width of the output; the input's if depthwise.
        kernel: (kh, kw), empty for a linear layer.
        depthwise: one filter per channel.
        bias: add one value per output channel; the target's belong to its operator.
        sharing: how a multiplication-free operator reads its slice, and what the augmented part computes with.
        kernel_transform: learn what a smaller kernel reads: each side, down to 3, is a linear map of the centre of the
            next larger one, shared by all filters, the identity at first (once-for-all, arXiv 1908.09791, section 3.2).
            Else a smaller kernel is the centre of the largest.

    Raises:
        UserError: a widened layer whose operator cannot share its weight with a multiplication; transforms of a weight
            that is read through R, or of an operator with tensors besides the weight or with update directions of its
            own (adders).
    """

    weight: Tensor  # of shareable operators
    bias: Tensor | None

    def __init__(
        self,
        operator: Operator,
        source: Widths | Sequence[Widths],
        out: Widths,
        kernel: tuple[int, ...] = (),
        depthwise: bool = False,
        bias: bool = False,
        sharing: NetSharing = PLAIN,
        kernel_transform: bool = False,
    ) -> None:
        super().__init__()
        self.sources = (source,) if isinstance(source, Widths) else tuple(source)
        source = total(self.sources)
        assert not depthwise or len(self.sources) == 1
        if not operator.shareable and (source.max > source.target or out.max > out.target):
            raise cannot_be_augmented(operator.name)
        self.operator, self.source, self.out, self.depthwise = operator, source, out, depthwise
        self.sharing = sharing.of(operator)
        inputs = Widths(1, 1) if depthwise else source
        self.target_shape = (out.target, inputs.target, *kernel)
        self.full_shape = (out.max, inputs.max, *kernel)
        shapes = operator.parameter_shapes(self.target_shape)
        self.parameter_names = tuple(shapes)
        for name, shape in shapes.items():
            shape = self.full_shape if name == "weight" else shape
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))
        self.register_parameter("bias", nn.Parameter(torch.zeros(out.max)) if bias else None)
        self._refuse_wider_operator(shapes)
        self.buffer_names = tuple(buffers := operator.init_buffers(self.target_shape))
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer)
        self._draw_target()
        self.transforms = tuple(range(kernel[0] - 2, 1, -2)) if kernel_transform and kernel else ()
        for side in self.transforms:
            self.register_parameter(transform_name(side), nn.Parameter(torch.eye(side**2)))
        self._refuse_transforms()
        if self.sharing.affine is not None:
            self.register_parameter(FACTORS, nn.Parameter(torch.ones(self.sharing.affine.pieces)))

    @property
    def factors(self) -> nn.Parameter:
        """What the layer trains of T, of a sharing that has one; they hold no channels."""
        return self.get_parameter(FACTORS)

    @property
    def map_names(self) -> tuple[str, ...]:
        """Names of the parameters that make what is read of what is stored; they hold no channels."""
        return self.transform_names + ((FACTORS,) if self.sharing.affine is not None else ())

    @property
    def transform_names(self) -> tuple[str, ...]:
        """Names of the parameters that make smaller kernels; they hold no channels."""
        return tuple(transform_name(side) for side in self.transforms)

    def _refuse_transforms(self) -> None:
        """Refuse transforms of a weight that has no one to one relation with what the operator computes with."""
        others = {*self.parameter_names, *self.buffer_names} - {"weight"}
        reasons = {
            f"trains {', '.join(sorted(others))} besides": bool(others),
            f"reads its weight through {'T' if self.sharing.remap is None else 'R'}": self.sharing.converts,
            "publishes update directions, of which transforms have none": self.operator.publishes_updates,
        }
        reason = next((reason for reason, holds in reasons.items() if holds), None)
        if self.transforms and reason is not None:
            raise UserError(
                f"kernel_transform=true: op={self.operator.name} {reason}; options: false, which takes the centre of "
                f"the largest kernel"
            )

    def _refuse_wider_operator(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse tensors of the target's shape where the operator would compute what surrounds the target too."""
        others = [name for name, shape in shapes.items() if name != "weight" and math.prod(shape) > 1]
        if others and not self.sharing.multiplicative_augmentation and self.full_shape != self.target_shape:
            raise UserError(
                f"aug.operator=same: op={self.operator.name} trains {', '.join(others)} for the target's shape alone, "
                f"and wider layers would have none; options: mult"
            )

    @torch.no_grad()
    def init_target(self) -> None:
        """Draw the target's slice (and the bias) as the plain layer's would be; Gaussian for R and T."""
        self._draw_target()
        if self.sharing.converts:
            stored, own = kaiming_normal(self.target_shape), self.target_slice(self.weight).clone()
            self.target_slice(self.weight).copy_(stored)
            if self.sharing.affine is not None:
                self.factors.copy_(self.sharing.affine.first(stored, own))
        if self.bias is not None:
            self.bias.zero_()

    @torch.no_grad()
    def _draw_target(self) -> None:
        for name, value in self.operator.init_parameters(self.target_shape).items():
            parameter = getattr(self, name)
            (self.target_slice(parameter) if name == "weight" else parameter).copy_(value)

    @torch.no_grad()
    def init_augmented(self, widest: bool = False) -> None:
        """Draw everything around the target's slice: kaiming-uniform at the fan-in of the widest layer, or, where
        the operator computes it, as the operator's own.

        Args:
            widest: draw the target's slice anew, as part of the widest layer's weight.
        """
        if self.full_shape == self.target_shape:
            return
        target = self.target_slice(self.weight).clone()
        if widest:
            drawn, before = self._drawn_widest(), target
            target = self.target_slice(drawn)
            if self.sharing.affine is not None and self.sharing.affine.start == "operator":
                self.factors.mul_(before.std(correction=0) / target.std(correction=0))
        own = not self.sharing.multiplicative_augmentation and not self.sharing.converts
        drawn = self.operator.init_parameters(self.full_shape)["weight"] if own else kaiming_uniform(self.full_shape)
        self.weight.copy_(drawn)
        self.target_slice(self.weight).copy_(target)

    def _drawn_widest(self) -> Tensor:
        if self.sharing.converts:
            return kaiming_normal(self.full_shape)
        return self.operator.init_parameters(self.full_shape)["weight"]

    def target_slice(self, parameter: Tensor) -> Tensor:
        """Return the target's part of a tensor that is laid out as the weight is."""
        return parameter[: self.target_shape[0], : self.target_shape[1]]

    def tensors(self) -> dict[str, Tensor]:
        """All that the layer hands its operator but `weight`, which is read through slices: by name."""
        names = (*self.parameter_names, *self.buffer_names)
        return {name: getattr(self, name) for name in names if name != "weight"}

    def target_parameters(self) -> dict[str, Tensor]:
        """The operator's trained tensors for the target, by name (of the weight, a view)."""
        parameters = {name: getattr(self, name) for name in self.parameter_names}
        if "weight" in parameters and self.full_shape != self.target_shape:
            parameters["weight"] = self.target_slice(self.weight)
        return parameters

    def target_weight(self, kernel: int | None = None) -> Tensor:
        """Return the target's slice of the weight, as it is stored."""
        return self.at_kernel(self.target_parameters()["weight"], kernel)

    def at_kernel(self, weight: Tensor, kernel: int | None, learn: bool = True) -> Tensor:
        """Return a slice of the stored weight at a smaller kernel: its centre, or what transforms make of that.

        Args:
            weight: (..., k, k), k the largest kernel.
            kernel: odd and at most k; None is k.
            learn: whether the transforms get a gradient.
        """
        if kernel is None:
            return weight
        for side in self.transforms:
            if side < kernel:
                break
            transform = getattr(self, transform_name(side))
            flat = centre(weight, side).flatten(-2) @ (transform if learn else transform.detach()).T
            weight = flat.view(*weight.shape[:-2], side, side)
        return centre(weight, kernel)

    def transformed_kernel(self, kernel: int | None) -> int | None:
        """Return the side of what transforms make, of which a smaller kernel is the centre; None is the largest."""
        return None if kernel is None or not self.transforms else max(kernel, self.transforms[-1])

    def operator_weight(self, kernel: int | None = None, alternative: Reader | None = None) -> Tensor:
        """Return what the operator computes with at the target's width, read from the parameters.

        What it derives from the whole weight (mean and spread of R, scales) is the target's, at its largest kernel: a
        narrower sub-network, or one of a smaller kernel, reads a slice of it.

        An alternative reads what transforms make of the stored weight: R has mean and spread of that. NOTE: where it
        converts gradients (R, update directions) the transforms are constants, for their gradient would be in units of
        the operator's weights; the gradient reaches the stored weight through them.

        Args:
            kernel: where the layer has transforms, that of the weight; without them it is the largest.
            alternative: that computes in place of the layer's operator.
        """
        parameters = self.target_parameters()
        if alternative is not None:
            side = self.transformed_kernel(kernel)
            weight = self.at_kernel(parameters["weight"], side, learn=not alternative.converts_gradients)
            return alternative.effective_weight(alternative.sharing.read([weight])[0])
        if self.sharing.converts:
            return self.effective_weight(self.read(parameters["weight"]))
        if self.transforms:
            parameters["weight"] = self.at_kernel(parameters["weight"], kernel)
        return self.operator.effective_weight({**self.tensors(), **parameters})

    def read(self, weight: Tensor, measured: Tensor | None = None) -> Tensor:
        """Return what the layer's operator reads of a slice of the stored weight: as it is, through R, or through T.

        Args:
            weight: the slice.
            measured: whose mean and spread, or range, R or T takes; by default the slice's.
        """
        if self.sharing.affine is not None:
            return self.sharing.affine.read(weight, self.factors, measured)
        return self.sharing.read([weight])[0] if measured is None else self.sharing.read_around(weight, measured)

    def effective_weight(self, weight: Tensor, alternative: Reader | None = None) -> Tensor:
        """What the operator, or an alternative, computes with, given the `weight` it reads, remapped or as stored."""
        if alternative is not None:
            return alternative.effective_weight(weight)
        return self.operator.effective_weight({**self.tensors(), "weight": weight})

    @torch.no_grad()
    def between_epochs(self, epoch: int) -> None:
        """Let the operator update its buffers before an epoch begins."""
        if self.buffer_names:
            tensors = {**self.tensors(), **self.target_parameters()}
            if "weight" in tensors:
                tensors["weight"] = self.read(tensors["weight"])
            self.operator.between_epochs(tensors, epoch)

    def decay(self) -> Tensor | None:
        """What the operator adds to the loss in place of weight decay of its tensors, if anything."""
        return self.operator.decay({**self.tensors(), **self.target_parameters()})

    @torch.no_grad()
    def project(self, shared: bool = False) -> None:
        """Let the operator put its tensors where they belong after an optimiser step; not a weight stored for R or T.

        Args:
            shared: whether other operators read the weight, too: it then stays where it is.
        """
        parameters = self.target_parameters()
        if "weight" in parameters and not self.sharing.multiplicative_augmentation:
            parameters["weight"] = self.weight
        if shared or self.sharing.converts:
            parameters.pop("weight", None)
        for name, parameter in parameters.items():
            value = parameter.detach()
            replace(value, self.operator.project(name, value))

    @torch.no_grad()
    def rescale_gradients(
        self, slope: Tensor | None = None, cut: Cut | None = None, alternative: Reader | None = None
    ) -> None:
        """Let the operator turn the accumulated gradients of its tensors into the update directions it publishes.

        Args:
            slope: of R at the target's slice of the weight, if known; computed if need be.
            cut: the widest that a pass used, where that is less than the target: the rest is no part of the tensor
                whose norm or size an operator asks for.
            alternative: that computed in place of the layer's operator.
        """
        reader = alternative or Reader(self.operator, self.sharing)
        for name, parameter in self.target_parameters().items():
            gradient = getattr(self, name).grad
            if gradient is None:
                continue
            if name == "weight":
                rescale_weight(self, gradient, reader, slope, cut)
            else:
                replace(gradient, self.operator.rescale_gradient(name, parameter.detach(), gradient))

    def positions(self, source: int) -> Tensor:
        """The columns of the weight that read a source's channels, in the channels' order; int64 (its max,)."""
        return positions(self.sources, source)


def is_map(name: str) -> bool:
    """Return whether a parameter of that name, or path, makes what is read of what is stored: decayed it would fade."""
    return is_transform(name) or name.rpartition(".")[2] == FACTORS
