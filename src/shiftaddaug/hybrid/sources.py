"""Layers that read several values as one concatenation: where a weight's columns lie, and how inputs are joined.

The columns hold the targets of all sources first, then what surrounds each, [t1 t2 | a1 a2]: so the target is the
leading slice of the weight, as it is with one source, and an operator is applied to all targets at once. Active widths
are `Widths` too: the channels of the target that take part, and all channels that do.
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


def active_part(widths: Widths, channels: int) -> Widths:
    """Return how many of so many active channels are the target's, and all of them.

    Raises:
        ValueError: there are not so many.
    """
    if not 1 <= channels <= widths.max:
        raise ValueError(f"{channels} channels: must be between 1 and {widths.max}")
    return Widths(min(widths.target, channels), channels)


def target_columns(weight: Tensor, sources: Sequence[Widths], active: Sequence[Widths]) -> Tensor:
    """Return the active columns of the target's slice (F, sum of the sources' target, ...): itself if all are."""
    if all(width.target == source.target for source, width in zip(sources, active, strict=True)):
        return weight
    return torch.cat(_target_slices(weight, sources, active), 1)


def active_columns(weight: Tensor, sources: Sequence[Widths], active: Sequence[Widths]) -> Tensor:
    """Return a weight whose first columns are the active ones, those of all targets first, then of what surrounds each.

    Args:
        weight: (F, sum of the sources' max, ...), as it is stored.
        sources: widths of the sources.
        active: of each source.
    """
    narrow = any(width.target < source.target for source, width in zip(sources, active, strict=True))
    if len(sources) == 1 or (not narrow and all(width.max == width.target for width in active)):
        return weight
    start = total(sources).target
    columns = _target_slices(weight, sources, active) if narrow else [weight[:, :start]]
    for source, width in zip(sources, active, strict=True):
        columns.append(weight[:, start : start + width.max - width.target])
        start += source.max - source.target
    return torch.cat(columns, 1)


def natural_order(active: Sequence[Widths]) -> Tensor | None:
    """Return the column of each channel of the concatenation, int64; None where one order is the other.

    A plain layer sums in the order of the concatenation; columns lie as `active_columns` says.
    """
    if len(active) == 1 or all(width.max == width.target for width in active):
        return None
    return torch.cat([positions(active, i) for i in range(len(active))])


def active_target_positions(sources: Sequence[Widths], active: Sequence[Widths]) -> Tensor:
    """Return the active columns of the target's slice, int64."""
    starts = [sum(source.target for source in sources[:i]) for i in range(len(sources))]
    return torch.cat([torch.arange(first, first + width.target) for first, width in zip(starts, active, strict=True)])


def in_natural_order(weight: Tensor, active: Sequence[Widths]) -> Tensor:
    """Return the active columns (F, sum of the active channels, ...) in the order of the concatenation."""
    order = natural_order(active)
    return weight if order is None else weight.index_select(1, order.to(weight.device))


def joined(xs: Sequence[Tensor]) -> Tensor:
    """Return the concatenation of inputs (N, C_i, ...), each with its target's channels first."""
    return xs[0] if len(xs) == 1 else torch.cat(list(xs), 1)


def targets_first(xs: Sequence[Tensor], active: Sequence[Widths]) -> Tensor:
    """Return one input of several, the targets of all first, as `active_columns` lie."""
    if natural_order(active) is None:
        return joined(xs)
    pairs = [split_channels(x, width.target) for x, width in zip(xs, active, strict=True)]
    return torch.cat([*(target for target, _ in pairs), *(rest for _, rest in pairs if rest.shape[1])], 1)


def _target_slices(weight: Tensor, sources: Sequence[Widths], active: Sequence[Widths]) -> list[Tensor]:
    slices, start = [], 0
    for source, width in zip(sources, active, strict=True):
        slices.append(weight[:, start : start + width.target])
        start += source.target
    return slices
