"""Layers as the cost model sees them: the numbers that decide what one costs."""

from dataclasses import dataclass, replace
from math import prod

from shiftaddaug.nets.nodes import Node
from shiftaddaug.nets.plan import Plan


@dataclass(frozen=True)
class LayerShape:
    """Loops of a layer, in the letters of Eyeriss (Chen et al., ISCA 2016): one image, and rectangles besides."""

    batch: int
    """N: images, or what is computed as if it were images."""
    inputs: int
    """C: channels of a group's input."""
    outputs: int
    """M: channels of a group's output."""
    kernel: int
    """R = S: rows and columns of a filter."""
    in_size: tuple[int, int]
    """(H, W)."""
    out_size: tuple[int, int]
    """(E, F)."""
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    """Groups, which are computed one after the other; no filter is shared between them."""
    linear: bool = False

    @property
    def reach(self) -> int:
        """Rows of the input between the first and the last one of a filter, both included."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def is_vector(self) -> bool:
        """Whether it reads and writes one value of each channel."""
        return self.linear or self.in_size == self.out_size == (1, 1)

    @property
    def macs(self) -> int:
        """Multiply-accumulates, or what stands in their place."""
        return self.groups * self.batch * prod(self.out_size) * self.outputs * self.inputs * self.kernel**2

    def as_images(self) -> "LayerShape":
        """Return a depthwise layer as ShiftAddViT's code prices it: each channel is an image of one channel.

        All images then share one filter, and its weights are loaded once for several.
        """
        if self.groups == 1 or self.inputs != 1 or self.outputs != 1:
            return self
        return replace(self, batch=self.batch * self.groups, groups=1)


def shape_of(plan: Plan, layer: Node, inputs: int, outputs: int, kernel: int) -> LayerShape:
    """Return the shape of a layer of one image.

    Args:
        plan: that the layer is of.
        layer: whose size, stride, dilation and kind it has.
        inputs: channels that it reads.
        outputs: channels that it computes.
        kernel: of the layer.
    """
    return LayerShape(
        batch=1,
        inputs=1 if layer.depthwise else inputs,
        outputs=1 if layer.depthwise else outputs,
        kernel=kernel,
        in_size=plan.by_name[layer.inputs[0]].size,
        out_size=layer.size,
        stride=layer.stride,
        dilation=layer.dilation,
        groups=outputs if layer.depthwise else 1,
        linear=layer.kind == "linear",
    )
