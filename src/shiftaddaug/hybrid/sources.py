"""Layers that read several values as one concatenation: where a weight's columns lie, and how inputs are joined.

The columns hold the targets of all sources first, then what surrounds each, [t1 t2 | a1 a2]: so the target is the
leading slice of the weight, as it is with one source, and an operator is applied to all targets at once.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from shiftaddaug.hybrid.channels import split_channels
from shiftaddaug.hybrid.widths import Widths


def total(sources: Sequence[Widths]) -> Widths:
    """Return how wide the concatenation is."""
    return Widths(sum(source.target for source in sources), sum(source.max for source in sources))


def positions(widths: Sequence[Widths], source: int) -> Tensor:
    """Return the columns of one source's channels, in the channels' order; int64 (widths[source].max,)."""
    own, beside = widths[source], [width.max - width.target for width in widths]
    first = sum(width.target for width in widths[:source])
    rest = total(widths).target + sum(beside[:source])
    return torch.cat([torch.arange(first, first + own.target), torch.arange(rest, rest + beside[source])])


def join(
    xs: Sequence[Tensor], sources: Sequence[Widths], weight: Tensor | None, natural: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Make one input of several, and choose the columns of the weight that read it.

    Args:
        xs: (N, C_i, ...) of each source, its target's channels first.
        sources: widths of the sources.
        weight: (F, sum of the sources' max, ...); None where nothing but targets is ever read.
        natural: leave the channels in the order of the concatenation, in which a plain layer sums.

    Returns:
        The input; the weight's columns, those of all targets first, then of what surrounds each; and, where the input
        keeps another order than they, the column of each of its channels (int64).
    """
    active = [Widths(source.target, x.shape[1]) for x, source in zip(xs, sources, strict=True)]
    if weight is None or all(width.max == width.target for width in active):  # one order is the other
        return torch.cat(list(xs), 1), weight, None
    start = total(sources).target
    columns = [weight[:, :start]]
    for source, width in zip(sources, active, strict=True):
        columns.append(weight[:, start : start + width.max - width.target])
        start += source.max - source.target
    chosen = torch.cat(columns, 1)
    if natural:
        order = torch.cat([positions(active, i) for i in range(len(active))])
        return torch.cat(list(xs), 1), chosen, order.to(weight.device)
    pairs = [split_channels(x, source.target) for x, source in zip(xs, sources, strict=True)]
    parts = [*(target for target, _ in pairs), *(rest for _, rest in pairs if rest.shape[1])]
    return torch.cat(parts, 1), chosen, None
