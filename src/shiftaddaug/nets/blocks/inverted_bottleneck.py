"""Inverted bottleneck (MobileNetV2, arXiv 1801.04381): expand 1x1, depthwise, [squeeze-excite], project 1x1.

NOTE: the input is added only after a stage's first block, as NetAug builds it (arXiv 2110.08890, in its code).
"""

from shiftaddaug.nets.entry import Entry, make_divisible
from shiftaddaug.nets.writer import Writer
from shiftaddaug.settings import PositiveInt, PositiveNumber

KEYS = {
    "expand": PositiveNumber | list[PositiveNumber],
    "hidden": PositiveNumber | list[PositiveNumber],
    "se": bool | PositiveInt | list[bool | PositiveInt],
}

SE_RATIO, SE_MIN_CHANNELS = 4, 16
"""Squeeze-excite reduction, and its least width (MobileNetV3 as NetAug builds it)."""


def write(writer: Writer, entry: Entry, value: str) -> str:
    """Write the block; `hidden` or `expand` in the table says how wide it is inside, `se: true` adds the gate.

    `se: 24` adds a gate that is computed through so many channels, scaled as all widths are.
    """
    name, stream, scaled = entry.name, writer.space_of(value), entry.scaled
    if "hidden" in entry.values:
        channels = scaled(entry.values["hidden"])
    else:
        channels = make_divisible(round(writer.width(value) * entry.values["expand"]), scaled.divisor)
    residual = not entry.first and entry.stride == 1 and writer.width(value) == entry.channels
    hidden = writer.space(f"{name}.hidden", channels, "hidden", parent=stream)
    out = stream if residual else writer.space(name, entry.channels, "width")
    y = writer.conv_norm_act(f"{name}.expand", value, out=hidden, act=entry.act)
    options = {"kernel": entry.kernel, "stride": entry.stride, "depthwise": True}
    y = writer.conv_norm_act(f"{name}.depthwise", y, out=hidden, act=entry.act, **options)
    se = entry.values.get("se")
    if se:
        own = max(make_divisible(channels / SE_RATIO, scaled.divisor), SE_MIN_CHANNELS)
        mid = own if se is True else scaled(se)
        y = writer.squeeze_excite(f"{name}.se", y, writer.space(f"{name}.se", mid, "fixed"))
    y = writer.conv_norm_act(f"{name}.project", y, out=out)
    return writer.add(f"{name}.add", value, y) if residual else y
