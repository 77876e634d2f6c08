"""VGG's layer (arXiv 1409.1556): a convolution, and a max-pooling behind some of them."""

from shiftaddaug.nets.entry import Entry
from shiftaddaug.nets.writer import Writer
from shiftaddaug.settings import PositiveInt

KEYS = {"pool": PositiveInt | list[PositiveInt]}


def write(writer: Writer, entry: Entry, value: str) -> str:
    """Write the block; `pool: 2` in the table adds a 2x2 max-pooling of stride 2."""
    name, pool = entry.name, int(entry.values.get("pool", 1))
    out = writer.space(name, entry.channels, "width")
    y = writer.conv_norm_act(name, value, out=out, act=entry.act, kernel=entry.kernel, stride=entry.stride)
    return y if pool == 1 else writer.max_pool(f"{name}.pool", y, kernel=pool, stride=pool)
