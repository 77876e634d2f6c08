"""Which tile a kernel of `gpu` works with: timed once for every class of sizes, and remembered on disk by Triton."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import triton
import triton.testing

FORWARD_TILES = (
    (8, 8, 16, 8, 1),
    (8, 8, 16, 8, 2),
    (8, 8, 8, 8, 1),
    (8, 8, 16, 4, 1),
    (8, 8, 32, 2, 1),
    (8, 8, 32, 1, 1),
    (4, 4, 16, 8, 1),
)
"""A, B, LANES_A, LANES_B, STAGES: (A * LANES_A) positions x (B * LANES_B) filters, and steps in flight."""
INPUT_GRAD_TILES = (
    (8, 4, 16, 8, 1),
    (8, 4, 16, 8, 2),
    (8, 4, 8, 8, 1),
    (8, 4, 16, 4, 1),
    (8, 4, 16, 2, 1),
    (4, 4, 16, 8, 1),
)
"""Tiles of positions x channels; smaller, because a thread also holds the inputs of its results."""
DEPTHWISE_TILES = ((4, 128), (16, 64), (32, 64))
"""BLOCK_C, BLOCK_P: channels x positions."""
INTERPRETED_TILES = {5: (2, 2, 64, 4, 1), 2: (8, 64)}
"""What Triton's interpreter (TRITON_INTERPRET=1) works with, by the numbers that a tile has."""

SPARE = 1.25
"""Not tried are tiles that, together, are wider than this times the narrowest cover of all filters or channels..."""
NARROW = 2
"""...nor those more than this many times narrower than the widest that is left."""


def size_class(*sizes: int) -> int:
    """Class of at most five sizes: problems whose sizes have equal bit lengths share a tile.

    Every width that is drawn at random would otherwise be tuned for."""
    result = 0
    for size in sizes:
        result = 64 * result + size.bit_length()
    return result


def columns_of(tile: Mapping[str, Any]) -> int:
    """Filters or channels of a tile, given the numbers that a kernel takes."""
    columns: int = tile["BLOCK_C"] if "BLOCK_C" in tile else tile["B"] * tile["LANES_B"]
    return columns


def positions_of(tile: Mapping[str, Any]) -> int:
    """Positions of a tile, given the numbers that a kernel takes."""
    positions: int = tile["BLOCK_P"] if "BLOCK_P" in tile else tile["A"] * tile["LANES_A"]
    return positions


def fitting(configs: Sequence[triton.Config], columns: int) -> list[triton.Config]:
    """The configurations worth trying for that many filters or channels."""
    widths = [columns_of(config.kwargs) for config in configs]
    covers = [-(-columns // width) * width for width in widths]
    widest = max(width for width, cover in zip(widths, covers, strict=True) if cover <= SPARE * min(covers))
    return [
        config
        for config, width, cover in zip(configs, widths, covers, strict=True)
        if cover <= SPARE * min(covers) and NARROW * width >= widest
    ]


def tuned(tiles: tuple[tuple[int, ...], ...], across: str) -> Callable[[Any], Any]:
    """Decorates a kernel whose argument `across` counts the filters or channels that tiles divide among them."""

    def prune(configs: list[triton.Config], arguments: dict[str, Any], **_: Any) -> list[triton.Config]:
        return fitting(configs, arguments[across])

    return triton.autotune(
        [_config(tile) for tile in _tiles(tiles)],
        key=["size_class"],
        prune_configs_by={"early_config_prune": prune},
        do_bench=_milliseconds,
        cache_results=True,
    )


def _tiles(tiles: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    return (INTERPRETED_TILES[len(tiles[0])],) if triton.knobs.runtime.interpret else tiles


def _config(tile: tuple[int, ...]) -> triton.Config:
    if len(tile) == 2:
        return triton.Config({"BLOCK_C": tile[0], "BLOCK_P": tile[1]}, num_warps=4)
    names = ("A", "B", "LANES_A", "LANES_B", "STAGES")
    return triton.Config(dict(zip(names, tile, strict=True)), num_warps=tile[2] * tile[3] // 32)


def _milliseconds(call: Callable[[], None], quantiles: Sequence[float]) -> Any:
    """Time a call with a fifth of Triton's own patience: there are many classes of sizes."""
    return triton.testing.do_bench(call, warmup=5, rep=20, quantiles=quantiles)
