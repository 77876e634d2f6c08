"""Fit the remap R to a pair of trained nets, one multiplicative and one multiplication-free (MF).

NOTE: ShiftAddAug (arXiv 2407.02881) does not say how its FC is fitted. Here b and mu_l are maximum-likelihood
estimates from the MF net's weights, and FC maps the quantiles of what they give to the quantiles that are wanted. The
layers of both nets are pooled, each weight counting the same, since a Remap serves all layers of an operator.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.remap import Remap, laplace_of_normal

Knots = tuple[tuple[float, ...], tuple[float, ...]]
Cdf = Callable[[Tensor], Tensor]

KNOTS, TRIM = 33, 1e-3
"""Number of FC's knots, and share of the weights beyond the last one on either side."""
RESIDUAL_LEVELS = 1001
"""Number of levels at which quantiles are compared, to see what a residual remap has to add."""
LEAST_STEP = 1e-4
"""Least step between knots, relative to their range: nearer ones are one."""
LEAST_SLOPE = 1e-3
"""Least slope of FC, relative to its slope from end to end: ties in what is wanted do not make it flat."""
ROUNDING = 64
"""Units of the last place between two knots, at least."""


@dataclass(frozen=True)
class Pool:
    """The weights of all layers of a pair of nets, flat, float64."""

    z: Tensor
    """(w - mu) / sigma of the multiplicative net's, mu and sigma each layer's own."""
    mult: Tensor
    """The multiplicative net's; in units of their layer's sigma if the pool is relative."""
    mf: Tensor
    """The MF net's, in the same units."""


@dataclass(frozen=True)
class LayerFit:
    """Kolmogorov-Smirnov distances of a layer's weights, in [0, 1]; of n weights that fit, about 0.9 / sqrt(n)."""

    layer: str
    weights: int
    mult_to_gauss: float
    """Multiplicative weights to the Gaussian of their mean and standard deviation."""
    mf_to_laplace: float
    """MF weights to the Laplacian of their median and mean absolute deviation."""
    mult_to_mf: float
    """Multiplicative weights as they are to MF weights: before."""
    laplace_remap_to_mf: float
    """Multiplicative weights remapped without FC to MF weights."""
    remap_to_mf: float
    """Multiplicative weights remapped to MF weights: after."""


def fit_map(source: Tensor, target: Tensor, knots: int = KNOTS, trim: float = TRIM) -> Knots:
    """The increasing map that gives `source` the distribution of `target`, by its knots.

    Args:
        source, target: values, not empty.
        knots: at most so many; fewer where values are few or tied.
        trim: share of the values beyond the last knot on either side (two values at least).

    Returns:
        x and y, strictly increasing; empty (the identity) if source and target have the same quantiles.
    """
    levels = _levels(knots, trim, min(source.numel(), target.numel()))
    x, y = quantiles(source, levels), quantiles(target, levels)
    return ((), ()) if torch.equal(x, y) else _increasing_knots(x, y)


def fit_remap(
    mult_weights: Mapping[str, Tensor],
    mf_weights: Mapping[str, Tensor],
    form: Literal["replace", "residual"],
    relative: bool,
    knots: int = KNOTS,
    trim: float = TRIM,
) -> Remap:
    """The remap under which the multiplicative net's weights are distributed as the MF net's.

    replace: b and mu_l are those of the MF weights; FC maps ppf_Laplace(cdf_Gauss(mult)) to them.
    residual: the same for what is added, the difference of the quantiles of MF and multiplicative weights. NOTE: FC
    increases, so that it can only widen: where MF weights are distributed more narrowly, next to nothing is added.

    Args:
        mult_weights, mf_weights: by layer; the layers that both have are fitted.
        form, relative: of the Remap.
        knots, trim: of FC, see `fit_map`.

    Raises:
        UserError: no layer in common, or one whose shapes differ.
    """
    pool = pool_weights(mult_weights, mf_weights, relative)
    if form == "replace":
        mean, scale = fit_laplace(pool.mf)
        return _replace_remap(Remap(form, scale, mean, relative), pool, knots, trim)
    levels = (torch.arange(RESIDUAL_LEVELS, dtype=torch.float64) + 0.5) / RESIDUAL_LEVELS
    added = _increasing(quantiles(pool.mf, levels) - quantiles(pool.mult, levels))
    mean, scale = fit_laplace(added)
    return _residual_remap(Remap(form, scale, mean, relative), pool, added, _levels(knots, trim, pool.z.numel()))


def _replace_remap(remap: Remap, pool: Pool, knots: int, trim: float) -> Remap:
    laplace = remap.laplace_mean + remap.laplace_scale * laplace_of_normal(pool.z)
    x, y = fit_map(laplace, pool.mf, knots, trim)
    return replace(remap, knots_x=x, knots_y=y)


def _residual_remap(remap: Remap, pool: Pool, added: Tensor, levels: Tensor) -> Remap:
    laplace = remap.laplace_mean + remap.laplace_scale * laplace_of_normal(quantiles(pool.z, levels))
    x, y = _increasing_knots(laplace, quantiles(added, levels))
    return replace(remap, knots_x=x, knots_y=y)


def pool_weights(mult_weights: Mapping[str, Tensor], mf_weights: Mapping[str, Tensor], relative: bool) -> Pool:
    """The layers that both nets have, in one; layers whose multiplicative weights are all equal are left out.

    Raises:
        UserError: no layer in common, none with weights that differ, or one whose shapes differ.
    """
    z, mult, mf = [], [], []
    for layer in common_layers(mult_weights, mf_weights):
        w, v = (weights[layer].detach().flatten().double() for weights in (mult_weights, mf_weights))
        std = float(w.std(correction=0))
        if std > ROUNDING * math.ulp(float(w.abs().max())):
            unit = std if relative else 1.0
            z.append((w - w.mean()) / std)
            mult.append(w / unit)
            mf.append(v / unit)
    if not z:
        raise UserError("in every layer the multiplicative weights are all equal: there is nothing to fit")
    return Pool(torch.cat(z), torch.cat(mult), torch.cat(mf))


def common_layers(mult_weights: Mapping[str, Tensor], mf_weights: Mapping[str, Tensor]) -> list[str]:
    """Names of the layers that both nets have, in the order of `mult_weights`.

    Raises:
        UserError: none, or one whose shapes differ.
    """
    layers = [layer for layer in mult_weights if layer in mf_weights]
    if not layers:
        raise UserError("the multiplicative and the multiplication-free net have no layer in common")
    for layer in layers:
        shapes = tuple(mult_weights[layer].shape), tuple(mf_weights[layer].shape)
        if shapes[0] != shapes[1]:
            raise UserError(f"layer {layer}: {shapes[0]} in the multiplicative net, {shapes[1]} in the other")
    return layers


def layer_fits(remap: Remap, mult_weights: Mapping[str, Tensor], mf_weights: Mapping[str, Tensor]) -> list[LayerFit]:
    """How well the assumptions hold, and the remap fits, in each layer that both nets have."""
    plain = replace(remap, knots_x=(), knots_y=())
    rows = []
    for layer in common_layers(mult_weights, mf_weights):
        w, v = (weights[layer].detach().flatten().double() for weights in (mult_weights, mf_weights))
        rows.append(
            LayerFit(
                layer,
                w.numel(),
                mult_to_gauss=ks_distance(w, gauss_cdf(float(w.mean()), float(w.std(correction=0)))),
                mf_to_laplace=ks_distance(v, laplace_cdf(*fit_laplace(v))),
                mult_to_mf=ks_two_samples(w, v),
                laplace_remap_to_mf=ks_two_samples(plain(w), v),
                remap_to_mf=ks_two_samples(remap(w), v),
            )
        )
    return rows


def fit_laplace(values: Tensor) -> tuple[float, float]:
    """Maximum-likelihood mean and scale of a Laplacian: the median, and the mean absolute deviation from it.

    The scale of values without spread is a millionth of them (of 1 if they are 0), since it has to be positive.
    """
    values = values.detach().flatten().double()
    median = float(quantiles(values, values.new_tensor([0.5])))
    return median, max(float((values - median).abs().mean()), 1e-6 * (abs(median) or 1.0))


def gauss_cdf(mean: float, std: float) -> Cdf:
    """Cumulative distribution function of a Gaussian."""
    return lambda x: torch.special.ndtr((x - mean) / (std or math.inf))


def laplace_cdf(mean: float, scale: float) -> Cdf:
    """Cumulative distribution function of a Laplacian."""

    def cdf(x: Tensor) -> Tensor:
        v = (x - mean) / scale
        tail = torch.exp(-v.abs()) / 2
        return torch.where(v < 0, tail, 1 - tail)

    return cdf


def ks_distance(sample: Tensor, cdf: Cdf) -> float:
    """Kolmogorov-Smirnov distance of a sample to a continuous distribution: sup |F_n - F|."""
    values = sample.detach().flatten().double().sort().values
    n, expected = values.numel(), cdf(values)
    steps = torch.arange(n + 1, dtype=torch.float64, device=values.device) / n
    return float(torch.maximum((steps[1:] - expected).max(), (expected - steps[:-1]).max()))


def ks_two_samples(a: Tensor, b: Tensor) -> float:
    """Kolmogorov-Smirnov distance of two samples: sup |F_a - F_b|, ties allowed."""
    a, b = (sample.detach().flatten().double().sort().values for sample in (a, b))
    at = torch.cat([a, b])
    counts = [torch.searchsorted(sample, at, right=True).double() / sample.numel() for sample in (a, b)]
    return float((counts[0] - counts[1]).abs().max())


def quantiles(values: Tensor, levels: Tensor) -> Tensor:
    """Quantiles of values, at levels in [0, 1]; the i-th of n sorted values is the quantile (i + 1/2) / n."""
    values = values.detach().flatten().double().sort().values
    position = (levels.to(values.device) * values.numel() - 0.5).clamp(0, values.numel() - 1)
    below = position.floor().long()
    above = (below + 1).clamp(max=values.numel() - 1)
    return values[below] + (values[above] - values[below]) * (position - below)


def _levels(knots: int, trim: float, values: int) -> Tensor:
    """Levels evenly spaced on the Gaussian's axis, where the tails get their share of the knots."""
    trim = min(max(trim, 2 / values), 0.25)
    far = torch.special.ndtri(torch.tensor(1 - trim, dtype=torch.float64))
    return torch.special.ndtr(torch.linspace(-1, 1, min(knots, max(values, 2)), dtype=torch.float64) * far)


def _increasing(y: Tensor) -> Tensor:
    """The non-decreasing sequence nearest to y in squares: neighbours that decrease share their mean."""
    runs: list[tuple[float, int]] = []
    for value in y.tolist():
        mean, count = value, 1
        while runs and runs[-1][0] >= mean:
            before, length = runs.pop()
            mean, count = (before * length + mean * count) / (length + count), length + count
        runs.append((mean, count))
    means, counts = zip(*runs, strict=True)
    return torch.tensor(means, dtype=y.dtype).repeat_interleave(torch.tensor(counts))


def _increasing_knots(x: Tensor, y: Tensor) -> Knots:
    """Knots through (x, y), both in order, without ties: near x are merged, y rise by `LEAST_SLOPE` at least."""
    width = float(x[-1] - x[0])
    near = max(LEAST_STEP * width, ROUNDING * math.ulp(float(x.abs().max())))
    if width <= near:
        middle = len(x) // 2
        return (float(x[middle]), float(x[middle]) + 1.0), (float(y[middle]), float(y[middle]) + 1.0)
    least_slope = LEAST_SLOPE * (float(y[-1] - y[0]) / width or 1.0)
    merged: list[list[tuple[float, float]]] = []
    for point in zip(x.tolist(), y.tolist(), strict=True):
        if merged and point[0] - merged[-1][0][0] < near:
            merged[-1].append(point)
        else:
            merged.append([point])
    knots_x: list[float] = []
    knots_y: list[float] = []
    for group in merged:
        middle_x, value = (sum(values) / len(group) for values in zip(*group, strict=True))
        if knots_y:
            least_rise = max(least_slope * (middle_x - knots_x[-1]), ROUNDING * math.ulp(knots_y[-1]))
            value = max(value, knots_y[-1] + least_rise)
        knots_x.append(middle_x)
        knots_y.append(value)
    return _rounded(knots_x), _rounded(knots_y)


def _rounded(values: list[float]) -> tuple[float, ...]:
    """Round to a ten-thousandth of the smallest step between them: a file of knots is for reading too."""
    step = min(high - low for low, high in pairwise(values))
    digits = 4 - math.floor(math.log10(step))
    return tuple(round(value, digits) for value in values)
