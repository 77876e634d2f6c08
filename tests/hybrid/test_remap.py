"""The remap against its formula in float64, and against what any finite tensor could do to it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.remap import Remap, laplace_of_normal, laplace_slope, normal_of_laplace, piecewise_linear

KNOTS = {"knots_x": (-4.0, -1.0, 0.5, 3.0), "knots_y": (-5.0, -0.5, 0.25, 6.0)}
REMAPS = {
    "add": Remap("replace", 5.6),
    "shift": Remap("residual", 0.1, relative=True),
    "relative replace": Remap("replace", 0.8, 0.3, relative=True, **KNOTS),
    "absolute residual": Remap("residual", 2.0, -0.2, **KNOTS),
}
each = pytest.mark.parametrize("remap", REMAPS.values(), ids=REMAPS.keys())

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
weights = st.one_of(
    st.lists(finite, min_size=1, max_size=40),
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=200),
    st.lists(st.sampled_from([0.0, -0.0, 1.0, 1e30, -1e30, 1e-30, 1e-40, 3e38, -3e38, 1e-45]), min_size=1, max_size=9),
).map(lambda values: torch.tensor(values, dtype=torch.float32))


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def through_knots(v: float, remap: Remap) -> float:
    x, y = remap.knots_x, remap.knots_y
    if not x:
        return v
    i = min(max(sum(v >= knot for knot in x) - 1, 0), len(x) - 2)
    return y[i] + (v - x[i]) * (y[i + 1] - y[i]) / (x[i + 1] - x[i])


def by_formula(w: float, mean: float, std: float, remap: Remap) -> float:
    """METHOD's formula, one weight: q = cdf_Gauss(w), ppf_Laplace(q), FC. Good while q is far from 0 and 1."""
    q = (1 + math.erf((w - mean) / (std * math.sqrt(2)))) / 2
    sign = math.copysign(1, q - 0.5)
    u = remap.laplace_mean - remap.laplace_scale * sign * math.log(1 - 2 * abs(q - 0.5))
    mapped = through_knots(u, remap) * (std if remap.relative else 1)
    return mapped if remap.form == "replace" else w + mapped


def moments(w: Tensor) -> tuple[float, float]:
    return float(w.mean()), float(w.std(correction=0))


class TestFormula:
    @each
    def test_values(self, remap: Remap) -> None:
        w = normal(7, 5, 3) * 0.3 + 0.1
        mean, std = moments(w)
        wanted = torch.tensor([by_formula(v, mean, std, remap) for v in w.flatten().tolist()], dtype=torch.float64)
        torch.testing.assert_close(remap(w), wanted.view_as(w), rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(remap(w.float()), wanted.view_as(w).float(), rtol=1e-5, atol=1e-5)

    @each
    def test_slope_is_the_finite_difference_at_fixed_moments(self, remap: Remap) -> None:
        w = normal(300) * 0.3 + 0.1
        mean, std = moments(w)
        h = 1e-6
        wanted = [(by_formula(v + h, mean, std, remap) - by_formula(v - h, mean, std, remap)) / (2 * h) for v in w]
        torch.testing.assert_close(remap.slope(w), torch.tensor(wanted, dtype=torch.float64), rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_tails_against_the_asymptotic_expansion(self, dtype: torch.dtype) -> None:
        """Phi(-z) = phi(z) / z (1 - 1/z^2 + 3/z^4 - 15/z^6 + ...), so far out that q would be 1."""
        z = torch.tensor([12.0, 40.0, 200.0, 1000.0], dtype=dtype)
        series = 1 - z**-2 + 3 * z**-4 - 15 * z**-6
        value, slope = laplace_of_normal(z), laplace_slope(z)
        wanted = z.square() / 2 + 0.5 * math.log(2 * math.pi) + z.log() - series.log() - math.log(2)
        torch.testing.assert_close(value, wanted, rtol=1e-6, atol=0)
        torch.testing.assert_close(slope, z / series, rtol=1e-6, atol=0)

    def test_between_the_two_branches_and_near_zero(self) -> None:
        z = torch.tensor([1e-12, 1e-6, 1e-3, 0.5**0.5 - 1e-9, 0.5**0.5 + 1e-9, 1.0, 3.0], dtype=torch.float64)
        wanted = -(torch.special.log_ndtr(-z) + math.log(2))
        torch.testing.assert_close(laplace_of_normal(z), wanted, rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(laplace_of_normal(-z), -wanted, rtol=1e-12, atol=1e-15)
        relative = laplace_of_normal(z)[:2] / (z[:2] * (2 / math.pi) ** 0.5)  # no cancellation at 0
        torch.testing.assert_close(relative, torch.ones(2, dtype=torch.float64), rtol=1e-6, atol=0)

    def test_the_map_goes_through_its_knots_and_on_beyond_them(self) -> None:
        v = torch.tensor([-10.0, -4.0, -2.5, 0.5, 3.0, 5.0], dtype=torch.float64)
        value, slope = piecewise_linear(v, KNOTS["knots_x"], KNOTS["knots_y"])
        assert value.tolist() == pytest.approx([-14.0, -5.0, -2.75, 0.25, 6.0, 10.6])
        assert slope.tolist() == pytest.approx([1.5, 1.5, 1.5, 2.3, 2.3, 2.3])


class TestAtTheCentre:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_slope_at_z_zero(self, dtype: torch.dtype) -> None:
        """b sqrt(2 / pi) / sigma, where sgn and |z| have no derivative of their own."""
        w = torch.tensor([-2.0, 0.0, 2.0, -0.0], dtype=dtype)
        sigma = math.sqrt(2)
        wanted = 5.6 * math.sqrt(2 / math.pi) / sigma
        assert Remap("replace", 5.6).slope(w)[[1, 3]].tolist() == pytest.approx([wanted] * 2, rel=1e-6)
        relative = Remap("residual", 0.25, relative=True).slope(w)
        assert relative[[1, 3]].tolist() == pytest.approx([1 + 0.25 * math.sqrt(2 / math.pi)] * 2, rel=1e-6)

    @pytest.mark.parametrize("relative", [False, True])
    def test_odd_about_the_mean(self, relative: bool) -> None:
        half = normal(50)
        w = 3 + torch.cat([half, -half])  # so that mu is 3
        y = Remap("replace", 1.5, relative=relative)(w)
        torch.testing.assert_close(y[:50], -y[50:], rtol=1e-9, atol=1e-12)
        y = Remap("residual", 1.5, relative=relative)(w) - w
        torch.testing.assert_close(y[:50], -y[50:], rtol=1e-9, atol=1e-12)


class TestAnyTensor:
    @given(w=weights, name=st.sampled_from(sorted(REMAPS)))
    @settings(max_examples=300, deadline=None)
    def test_finite_and_increasing(self, w: Tensor, name: str) -> None:
        remap = REMAPS[name]
        w = w.sort().values
        y, slope = remap(w), remap.slope(w)
        assert y.isfinite().all() and slope.isfinite().all()
        assert (slope > 0).all()
        assert slope.shape == y.shape == w.shape
        rounding = 1e-5 * y.abs().max()
        assert (y.diff() >= -rounding).all()

    @pytest.mark.parametrize("value", [0.0, 0.1, -7.0, 1e30, 1e-30, 1e-40])
    @pytest.mark.parametrize("count", [1, 1000])
    def test_no_spread_is_the_centre(self, value: float, count: int) -> None:
        w = torch.full((count,), value)
        assert torch.equal(Remap("replace", 5.6, 0.25)(w), torch.full((count,), 0.25))
        assert torch.equal(Remap("residual", 0.1, relative=True)(w), w)
        assert Remap("replace", 5.6).slope(w).tolist() == pytest.approx([5.6 * math.sqrt(2 / math.pi)] * count)

    @pytest.mark.parametrize("scale", [1e30, 1e-30, 2.0**100])
    def test_scale_of_the_weights_does_not_matter(self, scale: float) -> None:
        w = normal(1000, dtype=torch.float32)
        remap = Remap("replace", 5.6)
        torch.testing.assert_close(remap(w * scale), remap(w), rtol=1e-4, atol=1e-4)
        relative = Remap("residual", 0.3, 0.1, relative=True, **KNOTS)
        torch.testing.assert_close(relative(w * scale) / scale, relative(w), rtol=1e-4, atol=1e-4)

    def test_a_spread_below_rounding_is_none(self) -> None:
        w = torch.full((1000,), 0.1)
        w[::2] = torch.nextafter(w[0], torch.tensor(1.0))
        assert Remap("replace", 5.6)(w).eq(0).all()

    def test_a_weight_that_is_no_number_shows(self) -> None:
        for bad in (math.nan, math.inf):
            w = torch.tensor([1.0, 2.0, bad])
            assert Remap("replace", 5.6, **KNOTS)(w).isnan().all()

    def test_slopes_beyond_float32_stay_positive_and_finite(self) -> None:
        w = normal(100, dtype=torch.float32)
        for remap, scale in ((Remap("replace", 1e12), 1e-30), (Remap("replace", 1e-12), 1e37)):
            slope = remap.slope(w * scale)
            assert slope.isfinite().all()
            assert (slope > 0).all()

    def test_equal_bits_whatever_the_strides(self) -> None:
        """The order of a sum follows the strides, and a slice of the supernet's weight has others than its copy."""
        remap = REMAPS["relative replace"]
        for seed in range(20):
            w = normal(7, 5, 3, 3, seed=seed, dtype=torch.float32)
            wide = torch.zeros(9, 8, 3, 3)
            wide[:7, :5] = w
            for view in (
                w.to(memory_format=torch.channels_last),
                w.transpose(0, 1).contiguous().transpose(0, 1),
                wide[:7, :5],
            ):
                assert torch.equal(remap(view), remap(w))
                assert torch.equal(remap.slope(view), remap.slope(w))


class TestPrecision:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    @each
    def test_half_precision_is_computed_in_float32(self, remap: Remap, dtype: torch.dtype) -> None:
        w = normal(500).to(dtype)
        assert remap(w).dtype == dtype
        assert torch.equal(remap(w), remap(w.float()).to(dtype))
        assert remap.slope(w).dtype == torch.float32

    @each
    def test_autocast_changes_nothing(self, remap: Remap) -> None:
        w = normal(500, dtype=torch.float32)
        plain, slope = remap(w), remap.slope(w)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(remap(w), plain)
            assert torch.equal(remap.slope(w), slope)

    def test_half_precision_saturates(self) -> None:
        w = torch.tensor([-6e4, 6e4], dtype=torch.float16)
        assert Remap("residual", 100.0, relative=True)(w).tolist() == [-65504.0, 65504.0]


class TestDistribution:
    def test_gaussian_quantiles_become_laplace_quantiles(self) -> None:
        levels = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
        w = 0.05 * torch.special.ndtri(levels) + 0.01
        y = Remap("replace", 5.6)(w)
        cdf = torch.where(y < 0, torch.exp(y / 5.6) / 2, 1 - torch.exp(-y / 5.6) / 2)
        assert (cdf - levels).abs().max() < 1e-3  # sigma of the quantiles is slightly below 0.05
        assert float(y.abs().mean()) == pytest.approx(5.6, rel=2e-3)  # of Laplace(b): b

    def test_a_large_sample(self) -> None:
        y = (Remap("replace", 2.0, 1.0)(normal(100_000)).sort().values - 1) / 2
        cdf = torch.where(y < 0, torch.exp(-y.abs()) / 2, 1 - torch.exp(-y.abs()) / 2)
        levels = (torch.arange(100_000) + 0.5) / 100_000
        assert (cdf - levels).abs().max() < 1.63 / 100_000**0.5  # Kolmogorov-Smirnov at 1 %


class TestInverse:
    @each
    def test_round_trip(self, remap: Remap) -> None:
        w = normal(20, 30) * 0.3 + 0.1
        torch.testing.assert_close(remap.inverse(remap(w), *moments(w)), w, rtol=1e-12, atol=1e-12)

    @each
    def test_of_any_value_at_fixed_moments(self, remap: Remap) -> None:
        wanted = torch.tensor([-300.0, -3.0, -1e-9, 0.0, 0.25, 4.0, 1e4], dtype=torch.float64)
        z = (remap.inverse(wanted, 0.1, 0.3) - 0.1) / 0.3
        unit = 0.3 if remap.relative else 1.0
        u = remap.laplace_mean + remap.laplace_scale * laplace_of_normal(z)
        back = unit * torch.tensor([through_knots(float(v), remap) for v in u], dtype=torch.float64)
        if remap.form == "residual":
            back = back + 0.1 + 0.3 * z
        torch.testing.assert_close(back, wanted, rtol=1e-10, atol=1e-10)

    def test_normal_of_laplace(self) -> None:
        v = torch.tensor([-700.0, -20.0, -1.0, -1e-9, 0.0, 1e-300, 0.3, 5.0, 1e5], dtype=torch.float64)
        torch.testing.assert_close(laplace_of_normal(normal_of_laplace(v)), v, rtol=1e-13, atol=0)

    def test_keeps_the_dtype_and_refuses_no_spread(self) -> None:
        assert Remap("replace", 5.6).inverse(torch.randn(3), 0.0, 1.0).dtype == torch.float32
        with pytest.raises(ValueError, match="std=0"):
            Remap("replace", 5.6).inverse(torch.randn(3), 0.0, 0.0)


class TestMistakes:
    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"form": "add"}, "op.remap.form=add: no such option; options: replace, residual"),
            ({"laplace_scale": 0}, "op.remap.laplace_scale=0: must be a number >= 1e-12"),
            ({"laplace_scale": math.nan}, "op.remap.laplace_scale=nan: must be a number >= 1e-12"),
            ({"laplace_scale": True}, "op.remap.laplace_scale=true: must be a number >= 1e-12"),
            ({"laplace_scale": 1e300}, "op.remap.laplace_scale=1e+300: must be a number >= 1e-12"),
            ({"laplace_mean": "zero"}, "op.remap.laplace_mean=zero: must be a number"),
            ({"relative": 1}, "op.remap.relative=1: must be true or false"),
            ({"knots_x": 3}, "op.remap.knots_x=3: must be a list of numbers"),
            ({"knots_x": (0, math.inf)}, "op.remap.knots_x=[0,inf]: must be a list of numbers"),
            ({"knots_x": (1,), "knots_y": (1,)}, "op.remap.knots_x=[1]: must hold two numbers at least"),
            ({"knots_x": (0, 1), "knots_y": (1, 1)}, "op.remap.knots_y: 1 before 1: must be strictly increasing"),
            ({"knots_x": (0, 1)}, "op.remap.knots_y=[]: must hold as many numbers as op.remap.knots_x, 2"),
            ({"knots_x": (0, 1), "knots_y": (0, 1e-13)}, "a slope of 1e-13 is too flat or too steep"),
        ],
    )
    def test_one_line(self, fields: dict[str, object], message: str) -> None:
        with pytest.raises(UserError) as caught:
            Remap(**({"form": "replace", "laplace_scale": 1.0} | fields))  # type: ignore[arg-type]
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_config_makes_the_same_remap(self) -> None:
        remap = REMAPS["relative replace"]
        config = remap.config()
        assert type(config["knots_x"]) is list
        assert Remap(**config) == remap


class TestAllAtOnce:
    """Weights remapped together, each by its own moments."""

    WEIGHTS = (
        normal(7, 5, 3, 3, dtype=torch.float32),
        3 + 0.01 * normal(40, 1, 3, 3, seed=1, dtype=torch.float32),
        torch.full((4, 4), 0.1),
        1e30 * normal(100, 8, seed=2, dtype=torch.float32),
        1e-40 * normal(9, seed=3, dtype=torch.float32),
    )

    @each
    def test_equal_those_remapped_alone(self, remap: Remap) -> None:
        for w, value, slope in zip(self.WEIGHTS, remap.values(self.WEIGHTS), remap.slopes(self.WEIGHTS), strict=True):
            torch.testing.assert_close(value, remap(w), rtol=2e-6, atol=2e-6 * float(remap(w).abs().max()))
            torch.testing.assert_close(slope, remap.slope(w), rtol=2e-6, atol=0)

    def test_a_weight_that_is_no_number_stays_in_its_layer(self) -> None:
        values = Remap("replace", 5.6).values([torch.tensor([1.0, math.nan]), torch.tensor([1.0, 2.0])])
        assert values[0].isnan().all()
        assert values[1].isfinite().all()
