"""Depthwise separable block (MobileNet, arXiv 1704.04861): depthwise, then 1x1."""

from shiftaddaug.nets.entry import Entry
from shiftaddaug.nets.writer import Writer

KEYS = {"residual": bool | list[bool]}


def write(writer: Writer, entry: Entry, value: str) -> str:
    """Write the block; `residual: true` in the table adds the input in a stage's first block too (MobileNetV3's)."""
    name, stream = entry.name, writer.space_of(value)
    fits = entry.stride == 1 and writer.width(value) == entry.channels
    residual = bool(entry.values.get("residual", not entry.first)) and fits
    out = stream if residual else writer.space(name, entry.channels, "width")
    options = {"kernel": entry.kernel, "stride": entry.stride, "depthwise": True}
    y = writer.conv_norm_act(f"{name}.depthwise", value, out=stream, act=entry.act, **options)
    y = writer.conv_norm_act(f"{name}.project", y, out=out)
    return writer.add(f"{name}.add", value, y) if residual else y
