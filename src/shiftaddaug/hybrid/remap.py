"""The remap R: shared weights are stored in Gaussian form, and read by an operator in the form that suits it.

    u = ppf_Laplace(cdf_Gauss(W_g))    replace   R(W_g) = FC(u)          add layers
                                       residual  R(W_g) = W_g + FC(u)    shift layers, before their rounding

ShiftAddAug (arXiv 2407.02881), heterogeneous weight sharing. mu and sigma of the Gaussian are measured over the tensor
at hand, without gradient; b and mu_l of the Laplacian are constants; FC is a fitted map (`hybrid/fit_remap.py`).

NOTE: the paper clamps cdf_Gauss away from 0 and 1. With z = (W - mu) / sigma the two functions together are
ppf(cdf) = mu_l - b sgn(z) (ln Phi(-|z|) + ln 2), which has finite values and slopes for every z: nothing is clamped.
NOTE: the paper does not say what its fully connected FC is; here it is element-wise, monotone and piecewise linear.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from shiftaddaug.operators.remap_settings import RemapSettings, slopes

NOISE = 4
"""A spread below so many units of rounding of the largest weight is none."""


@dataclass(frozen=True)
class Remap(RemapSettings):
    """The remap R for the weights of one operator.

    Raises:
        UserError: a constant outside its range.
    """

    def __call__(self, w: Tensor) -> Tensor:
        """Return R(w), without gradient.

        Finite for finite weights (saturated at the ends of their dtype). A tensor without spread, or whose sigma is
        no normal number, has z = 0 throughout. Equal weights give equal bits whatever their strides.

        Args:
            w: in Gaussian form, any shape, floating; half precision is computed in float32.

        Returns:
            Tensor of w's shape and dtype, contiguous.
        """
        return self.values([w])[0]

    def slope(self, w: Tensor) -> Tensor:
        """Return dR/dw of each element, mu and sigma held fixed; at a knot of FC, the slope to its right.

        A tensor without spread has the slope at z = 0 of one with sigma = 1.

        Returns:
            Positive and finite, w's shape, float32 or wider.
        """
        return self.slopes([w])[0]

    @torch.no_grad()
    def values(self, weights: Sequence[Tensor], measured: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Return R of each weight, as `__call__` has it but for rounding; of one dtype, on one device.

        They are computed together: the layers of a tiny net hold so few weights that forty operations for each would
        cost a quarter of a training step.

        Args:
            weights: in Gaussian form.
            measured: for each, the tensor whose mu and sigma are taken; by default itself.
        """
        limits = torch.finfo(weights[0].dtype)
        w, pieces = _joined(weights)
        z, std, _ = _standardise(w, pieces, measured)
        value = self._of_normal(z)
        if self.relative:
            value = value * std
        if self.form == "residual":
            value = w + value
        return _as_shaped(value.clamp(limits.min, limits.max).to(weights[0].dtype), weights)

    @torch.no_grad()
    def slopes(self, weights: Sequence[Tensor], measured: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Return the `slope` of each weight, of one dtype and on one device; `measured` as for `values`."""
        z, std, flat = _standardise(*_joined(weights), measured)
        slope = self._slope_of_normal(z)
        if not self.relative:
            slope = slope / std.masked_fill_(flat, 1.0)
        if self.form == "residual":
            slope = 1 + slope
        limits = torch.finfo(slope.dtype)
        return _as_shaped(slope.clamp(limits.tiny, limits.max), weights)

    def _of_normal(self, z: Tensor) -> Tensor:
        """Return FC(mu_l + b g(z))."""
        return piecewise_linear(self._laplace(z), self.knots_x, self.knots_y)[0]

    def _slope_of_normal(self, z: Tensor) -> Tensor:
        """Return the derivative of `_of_normal`."""
        slope = self.laplace_scale * laplace_slope(z)
        if not self.knots_x:
            return slope
        return slope * piecewise_linear(self._laplace(z), self.knots_x, self.knots_y)[1]

    def _laplace(self, z: Tensor) -> Tensor:
        return self.laplace_mean + self.laplace_scale * laplace_of_normal(z)

    @torch.no_grad()
    def inverse(self, w_l: Tensor, mean: float, std: float) -> Tensor:
        """Return weights in Gaussian form whose remap is `w_l`, if the remap measures `mean` and `std`.

        NOTE: it measures the tensor it is given. `R(inverse(w_l, mean, std))` is w_l only if the result's own mean and
        (population) standard deviation are these. With replace and absolute units R reaches no other tensors: its
        values depend on z alone, which always has mean 0 and standard deviation 1.

        Args:
            w_l: in the operator's form, any shape, floating; computed in float64.
            mean, std: of the result, std > 0.

        Returns:
            Tensor of w_l's shape and dtype.

        Raises:
            ValueError: std is not a positive number.
        """
        if not 0 < std < math.inf:
            raise ValueError(f"std={std}: must be a positive number")
        unit = std if self.relative else 1.0
        value = w_l.detach().double()
        if self.form == "residual":
            z = self._solve_residual(value, mean, std, unit)
        else:
            laplace, _ = piecewise_linear(value / unit, self.knots_y, self.knots_x)
            z = normal_of_laplace((laplace - self.laplace_mean) / self.laplace_scale)
        return (mean + std * z).to(w_l.dtype)

    def _solve_residual(self, value: Tensor, mean: float, std: float, unit: float) -> Tensor:
        """Return z with mean + std z + unit FC(mu_l + b g(z)) = value: Newton's method, bisecting where it is slow."""
        middle = mean + unit * self._of_normal(value.new_zeros(()))
        far = (value - middle) / std  # the slope is std at least
        low, high = far.clamp(max=0.0), far.clamp(min=0.0)
        z, step, last_step = (low + high) / 2, high - low, high - low
        for _ in range(200):
            error = mean + std * z + unit * self._of_normal(z) - value
            slope = std + unit * self._slope_of_normal(z)
            low, high = torch.where(error < 0, z, low), torch.where(error < 0, high, z)
            newton = z - error / slope
            slow = (newton < low) | (newton > high) | (2 * error.abs() > (last_step * slope).abs())
            moved = torch.where(slow, (low + high) / 2, newton)
            last_step, step, z = step, (moved - z).abs(), moved
            if not (step > 1e-15 * (1 + z.abs())).any():
                break
        return z


def laplace_of_normal(z: Tensor) -> Tensor:
    """Return g(z) = ppf_Laplace(0, 1)(cdf_Gauss(0, 1)(z)) = -sgn(z) (ln Phi(-|z|) + ln 2), without gradient.

    g is odd, smooth and about sgn(z) z^2 / 2 far out; g'(0) = sqrt(2 / pi). In the tail it comes from
    erfcx(a) = exp(a^2) erfc(a), which does not underflow; near 0, where the logarithm would cancel, from erf.
    """
    a = z.detach().abs().mul_(0.5**0.5)
    near, far = torch.erf(a).neg_().log1p_().neg_(), (a * a).sub_(torch.special.erfcx(a).log_())
    return torch.copysign(torch.where(a < 0.5, near, far), z.detach())


def laplace_slope(z: Tensor) -> Tensor:
    """Return g'(z) = phi(z) / Phi(-|z|), without gradient."""
    scaled_tail = torch.special.erfcx(z.detach().abs().mul_(0.5**0.5))
    return (2 / math.pi) ** 0.5 / scaled_tail


def normal_of_laplace(v: Tensor) -> Tensor:
    """The inverse of g: ppf_Gauss(cdf_Laplace(v)), to the last bits however far out.

    g is convex for z > 0 and g(z) >= max(z sqrt(2 / pi), z^2 / 2), so Newton's method descends to the root.
    """
    magnitude = v.abs()
    z = torch.minimum(magnitude * (math.pi / 2) ** 0.5, (2 * magnitude).sqrt())
    for _ in range(8):
        z = z - (laplace_of_normal(z) - magnitude) / laplace_slope(z)
    return torch.copysign(z, v)


def piecewise_linear(v: Tensor, x: tuple[float, ...], y: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """The map through the knots (x, y), and its slope (at a knot, that to its right); the identity without knots."""
    if not x:
        return v, v.new_ones(())
    knots_x, knots_y, slopes = _knot_tensors(x, y, v.dtype, v.device)
    i = (torch.searchsorted(knots_x, v, right=True) - 1).clamp(0, len(x) - 2)
    slope = slopes[i]
    return knots_y[i] + (v - knots_x[i]) * slope, slope


@lru_cache(maxsize=64)
def _knot_tensors(
    x: tuple[float, ...], y: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Knots and slopes as tensors, kept so that a forward pass copies nothing to the device."""
    with torch.inference_mode(False):
        make = [torch.tensor(values, dtype=dtype, device=device) for values in (x, y, slopes(x, y))]
    return make[0], make[1], make[2]


def _joined(weights: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """All weights in one row, float32 or wider, and each of them as a part (a view) of it."""
    assert len({(w.dtype, w.device) for w in weights}) == 1, "weights of several dtypes or devices"
    wide = torch.promote_types(weights[0].dtype, torch.float32)
    row = torch.cat([w.detach().reshape(-1) for w in weights]).to(wide)
    return row, list(row.split([w.numel() for w in weights]))


def _as_shaped(row: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    parts = row.split([w.numel() for w in weights])
    return [part.view(w.shape) for part, w in zip(parts, weights, strict=True)]


def _standardise(
    row: Tensor, parts: Sequence[Tensor], measured: Sequence[Tensor] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return z = (w - mu) / sigma; sigma, the population's; whether there is no spread (z = 0 then); each like `row`.

    Mu and sigma are each part's own, or those of `measured`; relative to the largest weight, whose square may overflow
    or vanish.
    """
    limits = torch.finfo(row.dtype)
    lengths = [part.numel() for part in parts]
    sizes = torch.tensor(lengths, device=row.device)

    def spread_out(one_each: Tensor) -> Tensor:
        return one_each.repeat_interleave(sizes, output_size=row.numel())

    magnitude = row.abs().split(lengths) if measured is None else [part.to(row.dtype).abs() for part in measured]
    peak = torch.stack([part.amax() for part in magnitude])
    unit = peak.masked_fill(peak < limits.tiny, 1.0)
    scaled = row / spread_out(unit)
    known = (
        scaled.split(lengths)
        if measured is None
        else [m.to(row.dtype) / u for m, u in zip(measured, unit, strict=True)]
    )
    moments = [torch.var_mean(part, correction=0) for part in known]
    scaled_std, mean = torch.stack([var for var, _ in moments]).sqrt_(), torch.stack([mean for _, mean in moments])
    std = scaled_std * peak
    flat = (scaled_std <= NOISE * limits.eps) | (std < limits.tiny)  # neither of NaN, which has to come through
    z = scaled.sub_(spread_out(mean)).div_(spread_out(scaled_std.masked_fill(flat, 1.0)))
    flat = spread_out(flat)
    return z.masked_fill_(flat, 0.0), spread_out(std), flat
