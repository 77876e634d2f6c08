"""ResNet's bottleneck block (arXiv 1512.03385): 1x1, 3x3 and 1x1 convolutions and a shortcut.

NOTE: the 3x3 convolution has the stride, as in torchvision's and AdderNet's nets; the paper gives it to the first one.
"""

from shiftaddaug.nets.entry import Entry
from shiftaddaug.nets.writer import Writer

KEYS: dict[str, object] = {}

REDUCTION = 4
"""The block's channels over those of its 3x3 convolution."""


def write(writer: Writer, entry: Entry, value: str) -> str:
    """Write the block."""
    name, act, narrow = entry.name, entry.act, entry.scaled(entry.values["channels"] / REDUCTION)
    residual = entry.stride == 1 and writer.width(value) == entry.channels
    out = writer.space_of(value) if residual else writer.space(name, entry.channels, "width")
    reduced, hidden = (writer.space(f"{name}.{part}", narrow, "hidden", parent=out) for part in ("reduced", "hidden"))
    y = writer.conv_norm_act(f"{name}.conv1", value, out=reduced, act=act)
    y = writer.conv_norm_act(f"{name}.conv2", y, out=hidden, kernel=entry.kernel, stride=entry.stride, act=act)
    y = writer.conv_norm_act(f"{name}.conv3", y, out=out)
    shortcut = value
    if not residual:
        shortcut = writer.conv_norm_act(f"{name}.downsample", value, out=out, stride=entry.stride)
    return writer.act(f"{name}.act", writer.add(f"{name}.add", shortcut, y), act)
