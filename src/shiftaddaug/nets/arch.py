"""What follows an encoder: the settings that every architecture has, and the parts that decoders are made of.

An architecture reads the feature maps that the encoder's table (configs/net) records, and ends in the logits: of an
image (N, classes), or of each of its pixels (N, classes, H, W). Imports no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from shiftaddaug.errors import UserError
from shiftaddaug.nets.entry import Scaling
from shiftaddaug.nets.settings import Stride
from shiftaddaug.nets.writer import Writer

CLASSIFIER = "classifier"
"""Group of the layers that yield logits, those of pixels too: what makes them multiply is said once."""

Interpolation = Literal["nearest", "bilinear"]
MODES: Mapping[Interpolation, str] = {"nearest": "nearest", "bilinear": ""}
"""Modes of an upsample node, by smp's names."""

READS_LEVELS = "decodes the encoder's feature maps, before head and classifier"


@dataclass(frozen=True)
class ArchSettings:
    """Keys of configs/arch/*.yaml that every architecture has, and what it says of itself."""

    dense: ClassVar[bool] = True
    """Whether its logits are of each pixel; the image is then padded to multiples of the coarsest stride."""
    without_effect: ClassVar[Mapping[str, str]] = dict.fromkeys(("head", "neck", "classifier_norm"), READS_LEVELS)
    """Keys of the net's table that it does not read, and why."""

    name: str

    @property
    def output_stride(self) -> int | None:
        """The stride beyond which the encoder's strides become dilation, if it has one."""
        return None

    def output_stride_with(self, table: Mapping[str, Any]) -> int | None:
        """Return the output stride of an encoder, of which its table may speak, too.

        Raises:
            UserError: both do, and do not agree.
        """
        theirs, ours = table.get("output_stride"), self.output_stride
        if theirs is not None and ours is not None and theirs != ours:
            raise UserError(
                f"net.output_stride={theirs}: arch={self.name} has arch.encoder_output_stride={ours}; options: "
                f"net.output_stride={ours}, or null for one of the two"
            )
        return theirs if ours is None else ours


@dataclass(frozen=True)
class DilatedSettings(ArchSettings):
    """Keys of architectures whose encoder keeps its resolution from some stride on."""

    encoder_output_stride: Stride | None

    @property
    def output_stride(self) -> int | None:
        """The key, under the name that all architectures have it by."""
        return self.encoder_output_stride


@dataclass(frozen=True)
class Encoder:
    """What an architecture follows: values of a writer, and the table that they were written from."""

    arch: str
    """Name of the architecture, for messages."""
    table: Mapping[str, Any]
    scaled: Scaling
    """How widths of the configuration become channels: as the table's."""
    image: str
    """The image, padded if need be: what the logits of pixels are as large as."""
    last: str
    """The last block's value."""
    levels: Mapping[int, str]
    """The last value at each stride, finest first."""
    lost_stride: int
    """The stem's own stride, if the size of the images has made it 1; else 1."""

    @property
    def coarsest(self) -> int:
        """The largest stride."""
        return max(self.levels)

    def refuse(self, needs: str, *options: str) -> UserError:
        """Return the answer to a net that has not the feature maps that an architecture needs.

        Args:
            needs: what it needs, in words that follow "needs".
            options: what helps besides another net.
        """
        has = ", ".join(map(str, self.levels))
        if self.lost_stride > 1:
            options = (*options, f"net.stem_stride={self.lost_stride}")
        return UserError(
            f"arch={self.arch}: needs {needs}; net={self.table.get('name')} has them at strides {has}; options: "
            f"{', '.join((*options, 'another net'))}"
        )


def separable(
    writer: Writer, name: str, *values: str, out: str, dilation: int = 1, depthwise_norm: bool = False
) -> str:
    """Write a depthwise 3x3 and a pointwise convolution, a batch-norm and relu, of one value or a concatenation.

    A depthwise layer reads one space: each part of a concatenation has its own, which computes the same.

    Args:
        writer: writes.
        name: begins the nodes' names.
        values: what is read.
        out: space of the result.
        dilation: of the 3x3 convolutions.
        depthwise_norm: whether a batch-norm follows each of them, too.
    """
    read = []
    for i, value in enumerate(values):
        own = f"{name}.depthwise" if len(values) == 1 else f"{name}.depthwise.{i}"
        options: dict[str, Any] = {"kernel": 3, "dilation": dilation, "depthwise": True}
        y = writer.conv(f"{own}.conv", value, out=writer.space_of(value), **options)
        read.append(writer.norm(f"{own}.norm", y) if depthwise_norm else y)
    return writer.conv_norm_act(f"{name}.pointwise", *read, out=out, act="relu")


def segmentation_head(writer: Writer, encoder: Encoder, *values: str, outputs: int, kernel: int = 1) -> str:
    """Write the convolution that yields logits, and enlarge them to the image's size unless they have it.

    Args:
        writer: writes.
        encoder: knows the image.
        values: what is read: one, or several as their concatenation.
        outputs: number of channels.
        kernel: side of the kernel.
    """
    with writer.part(CLASSIFIER):
        classes = writer.space("classes", outputs, "fixed")
        y = writer.conv("segmentation_head", *values, out=classes, kernel=kernel, bias=True)
        if writer.stride(y) == writer.stride(encoder.image):
            return y
        return writer.upsample("upsample", y, like=encoder.image, mode="aligned")
