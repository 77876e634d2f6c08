"""ResNet's basic block (arXiv 1512.03385): two convolutions and a shortcut.

NOTE: a 1x1 convolution is the shortcut where the shape changes, as in AdderNet's nets (arXiv 1912.13200).
"""

from shiftaddaug.nets.entry import Entry
from shiftaddaug.nets.writer import Writer

KEYS: dict[str, object] = {}


def write(writer: Writer, entry: Entry, value: str) -> str:
    """Write the block."""
    name, channels, kernel = entry.name, entry.channels, entry.kernel
    residual = entry.stride == 1 and writer.width(value) == channels
    out = writer.space_of(value) if residual else writer.space(name, channels, "width")
    hidden = writer.space(f"{name}.hidden", channels, "hidden", parent=out)
    y = writer.conv_norm_act(f"{name}.conv1", value, out=hidden, kernel=kernel, stride=entry.stride, act=entry.act)
    y = writer.conv_norm_act(f"{name}.conv2", y, out=out, kernel=kernel)
    shortcut = value
    if not residual:
        shortcut = writer.conv_norm_act(f"{name}.downsample", value, out=out, stride=entry.stride)
    return writer.act(f"{name}.act", writer.add(f"{name}.add", shortcut, y), entry.act)
