"""Fits recover what synthetic weights were made with; distances are those of the textbook."""

import math
from itertools import pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.fit_remap import (
    fit_laplace,
    fit_map,
    fit_remap,
    gauss_cdf,
    ks_distance,
    ks_two_samples,
    laplace_cdf,
    layer_fits,
    pool_weights,
    quantiles,
)
from shiftaddaug.hybrid.remap import Remap, laplace_of_normal, piecewise_linear

SIGMAS = {"a": 0.02, "b": 0.3, "c": 1.0}


def normal(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def laplace(count: int, mean: float = 0.0, scale: float = 1.0, seed: int = 1) -> Tensor:
    return mean + scale * laplace_of_normal(normal(count, seed))


def mult(count: int = 4000) -> dict[str, Tensor]:
    """Gaussian layers of different scales."""
    return {name: (std * normal(count, i)).view(-1, 4, 5, 5) for i, (name, std) in enumerate(SIGMAS.items())}


def increasing(values: tuple[float, ...]) -> bool:
    return all(low < high for low, high in pairwise(values))


class TestQuantiles:
    def test_of_few_values(self) -> None:
        levels = torch.tensor([0.0, 0.125, 0.25, 0.5, 0.875, 1.0])
        assert quantiles(torch.tensor([4.0, 1.0, 3.0, 2.0]), levels).tolist() == [1.0, 1.0, 1.5, 2.5, 4.0, 4.0]

    def test_median_agrees_with_torch(self) -> None:
        values = normal(1001)
        assert quantiles(values, torch.tensor([0.5])).item() == pytest.approx(float(values.median()), abs=1e-9)


class TestMap:
    def test_recovers_a_known_map(self) -> None:
        source = normal(200_000)
        x, y = fit_map(source, torch.where(source < 0, source / 2, source**2 + source) + 3)
        v = torch.linspace(-2.5, 2.5, 101, dtype=torch.float64)
        wanted = torch.where(v < 0, v / 2, v**2 + v) + 3
        assert len(x) == len(y) == 33
        torch.testing.assert_close(piecewise_linear(v, x, y)[0], wanted, rtol=0, atol=0.02)

    def test_recovers_a_linear_map_between_independent_samples(self) -> None:
        x, y = fit_map(normal(100_000), 3 * normal(100_000, seed=1) + 1)
        v = torch.linspace(-2, 2, 9, dtype=torch.float64)
        torch.testing.assert_close(piecewise_linear(v, x, y)[0], 3 * v + 1, rtol=0, atol=0.1)

    def test_identity_where_source_and_target_agree(self) -> None:
        source = normal(1000)
        assert fit_map(source, source.flip(0)) == ((), ())

    def test_trimmed_tails_are_extrapolated(self) -> None:
        source = normal(10_000)
        target = source.clone()
        target[source.abs() > 2.4] *= 1000  # 1.6 % of wild values
        wild, trimmed = (fit_map(source, target, trim=trim) for trim in (1e-4, 0.02))
        assert max(wild[1]) > 1000
        assert trimmed == ((), ())

    @pytest.mark.parametrize("count", [1, 2, 3, 7])
    def test_few_values(self, count: int) -> None:
        x, y = fit_map(normal(count), normal(count, seed=1))
        assert len(x) == len(y) >= 2
        assert increasing(x) and increasing(y)

    def test_powers_of_two(self) -> None:
        """A deployed shift net's weights: a staircase becomes steep and gentle, never flat."""
        source = normal(5000)
        target = torch.copysign(torch.exp2(source.abs().log2().round()), source)
        x, y = fit_map(source, target)
        assert increasing(x) and increasing(y)
        mapped = piecewise_linear(source, x, y)[0]
        assert float((mapped - source).abs().mean()) < 0.2

    @given(
        source=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
        target=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
        ties=st.integers(1, 5),
        knots=st.integers(2, 40),
    )
    @settings(max_examples=200, deadline=None)
    def test_strictly_increasing_whatever_the_values(
        self, source: list[float], target: list[float], ties: int, knots: int
    ) -> None:
        x, y = fit_map(torch.tensor(source * ties), torch.tensor(target), knots)
        assert len(x) == len(y) <= max(knots, 2)
        assert increasing(x) and increasing(y)
        assert all(math.isfinite(value) for value in x + y)

    def test_constant_target_and_constant_source(self) -> None:
        for source, target in ((normal(100), torch.ones(100)), (torch.ones(100), normal(100)), (torch.ones(9),) * 2):
            x, y = fit_map(source, target)
            assert increasing(x) and increasing(y)
        x, y = fit_map(normal(100), torch.ones(100))
        assert piecewise_linear(normal(5), x, y)[0].tolist() == pytest.approx([1.0] * 5, abs=0.01)


class TestRemap:
    def test_recovers_b_and_the_mean_of_add_weights(self) -> None:
        mf = {name: laplace(4000, 0.5, 5.6, seed=9 + i).view(-1, 4, 5, 5) for i, name in enumerate(SIGMAS)}
        remap = fit_remap(mult(), mf, "replace", relative=False)
        assert (remap.form, remap.relative) == ("replace", False)
        assert remap.laplace_scale == pytest.approx(5.6, rel=0.02)
        assert remap.laplace_mean == pytest.approx(0.5, abs=0.15)
        v = torch.tensor([-8.0, -2.0, 0.5, 4.0, 9.0], dtype=torch.float64)
        torch.testing.assert_close(piecewise_linear(v, remap.knots_x, remap.knots_y)[0], v, rtol=0.05, atol=0.25)
        for row in layer_fits(remap, mult(), mf):
            assert row.mult_to_mf > 0.3
            assert row.remap_to_mf < 1.63 * math.sqrt(2 / row.weights)  # two samples, 1 %

    def test_the_map_takes_what_the_laplacian_leaves(self) -> None:
        """MF weights of two humps: Laplace alone is far from them, with FC they are met."""
        mf = {name: torch.copysign(4 + normal(4000, 5 + i).abs(), normal(4000, 50 + i)) for i, name in enumerate("abc")}
        source = {name: w.flatten() for name, w in mult().items()}
        remap = fit_remap(source, mf, "replace", relative=False)
        for row in layer_fits(remap, source, mf):
            assert row.mf_to_laplace > 0.1
            assert row.laplace_remap_to_mf > 0.1
            assert row.remap_to_mf < 0.3 * row.laplace_remap_to_mf

    @pytest.mark.parametrize("b", [0.05, 0.3])
    def test_recovers_a_residual_remap_in_units_of_sigma(self, b: float) -> None:
        true = Remap("residual", b, relative=True)
        source = mult(40_000)
        mf = {
            name: true(std * normal(40_000, 20 + i)).view(-1, 4, 5, 5) for i, (name, std) in enumerate(SIGMAS.items())
        }
        remap = fit_remap(source, mf, "residual", relative=True)
        assert (remap.form, remap.relative) == ("residual", True)
        w = 0.7 * normal(2000, 30)
        torch.testing.assert_close(remap(w)[w.abs() < 1.4], true(w)[w.abs() < 1.4], rtol=0, atol=0.02)
        for row in layer_fits(remap, source, mf):
            assert row.remap_to_mf < 1.63 * math.sqrt(2 / row.weights)

    def test_residual_of_the_very_same_weights_recovers_the_constants(self) -> None:
        true = Remap("residual", 0.3, 0.1, relative=True)
        remap = fit_remap(mult(40_000), {name: true(w) for name, w in mult(40_000).items()}, "residual", relative=True)
        assert remap.laplace_scale == pytest.approx(0.3, rel=0.03)
        assert remap.laplace_mean == pytest.approx(0.1, abs=0.01)

    @pytest.mark.parametrize("relative", [False, True])
    def test_narrower_weights_are_left_nearly_as_they_are(self, relative: bool) -> None:
        """A residual can only widen."""
        source = mult()
        remap = fit_remap(source, {name: w / 2 for name, w in source.items()}, "residual", relative)
        for w in source.values():
            unit = float(w.std()) if relative else 1.0
            torch.testing.assert_close(remap(w), w, rtol=0, atol=0.01 * unit)

    def test_identity_where_residual_weights_agree(self) -> None:
        source = mult()
        remap = fit_remap(source, source, "residual", relative=True)
        for w in source.values():
            torch.testing.assert_close(remap(w), w, rtol=1e-4, atol=1e-6)

    def test_identity_where_replaced_weights_agree(self) -> None:
        """Gaussian to the same Gaussian: FC undoes the Laplacian, but for its knots."""
        source = {"a": normal(50_000)}
        remap = fit_remap(source, source, "replace", relative=True)
        inside = source["a"].abs() < 3
        torch.testing.assert_close(remap(source["a"])[inside], source["a"][inside], rtol=0, atol=0.03)

    def test_layers_of_one_net_alone_do_not_count(self) -> None:
        mf = {"a": laplace(4000, scale=5.0).view(-1, 4, 5, 5)}
        both = fit_remap(mult(), mf | {"only mf": 1e9 * normal(5)}, "replace", relative=False)
        assert both == fit_remap({"a": mult()["a"]}, mf, "replace", relative=False)

    def test_layers_without_spread_do_not_count(self) -> None:
        mf = {name: laplace(4000, scale=5.0).view(-1, 4, 5, 5) for name in SIGMAS}
        flat = mult() | {"b": torch.full((40, 4, 5, 5), 0.1)}
        wanted = fit_remap({k: v for k, v in mult().items() if k != "b"}, mf, "replace", relative=False)
        assert fit_remap(flat, mf, "replace", relative=False) == wanted

    @pytest.mark.parametrize("kind", ["few", "constant", "zeros", "powers"])
    def test_odd_weights_still_give_a_remap(self, kind: str) -> None:
        w = normal(3 if kind == "few" else 300) + 0.5
        powers = torch.copysign(torch.exp2(w.abs().log2().round()), w)
        mf = {"few": w.flip(0) * 2, "constant": torch.full_like(w, 7.0), "zeros": 0 * w, "powers": powers}[kind]
        for form, relative in product(("replace", "residual"), (False, True)):
            remap = fit_remap({"a": w}, {"a": mf}, form, relative)  # type: ignore[arg-type]
            assert remap(w).isfinite().all()
            assert (remap.slope(w) > 0).all()

    def test_mistakes(self) -> None:
        with pytest.raises(UserError, match="no layer in common"):
            fit_remap(mult(), {"x": normal(3)}, "replace", relative=False)
        with pytest.raises(UserError, match=r"layer a: \(40, 4, 5, 5\) in the multiplicative net, \(3,\) in the other"):
            fit_remap(mult(), {"a": normal(3)}, "replace", relative=False)
        with pytest.raises(UserError, match="the multiplicative weights are all equal"):
            fit_remap({"a": torch.ones(9)}, {"a": normal(9)}, "replace", relative=False)

    def test_pool_is_in_units_of_the_layers_sigma(self) -> None:
        mf = {name: laplace(4000).view(-1, 4, 5, 5) for name in SIGMAS}
        absolute, relative = (pool_weights(mult(), mf, units) for units in (False, True))
        assert float(relative.mult[:4000].std(correction=0)) == pytest.approx(1)
        std = float(mult()["b"].std(correction=0))
        torch.testing.assert_close(relative.mf[4000:8000], absolute.mf[4000:8000] / std)
        assert torch.equal(absolute.mult[4000:8000], mult()["b"].flatten())
        assert torch.equal(relative.z, absolute.z)


class TestDistances:
    def test_laplace_by_maximum_likelihood(self) -> None:
        values = torch.tensor([1.0, 2.0, 4.0, 9.0, 100.0])
        assert fit_laplace(values) == pytest.approx((4.0, (3 + 2 + 0 + 5 + 96) / 5))
        assert fit_laplace(torch.full((5,), 3.0)) == pytest.approx((3.0, 3e-6))

    def test_of_a_sample_to_a_distribution(self) -> None:
        """By hand: F_n jumps from 0 to 1/2 at 0.2, where F is 0.2, and to 1 at 0.6."""
        assert ks_distance(torch.tensor([0.6, 0.2]), lambda x: x) == pytest.approx(0.4)

    @pytest.mark.parametrize("name", ["gauss", "laplace"])
    def test_to_the_two_families(self, name: str) -> None:
        """By brute force: just before and at every value, with the distribution functions of `math`."""
        sample = laplace(300, 0.3, 2.0)
        ours = {"gauss": gauss_cdf(0.1, 2.5), "laplace": laplace_cdf(0.3, 1.5)}[name]
        wanted = 0.0
        for x in sample.tolist():
            v = (x - 0.3) / 1.5
            laplace_value = math.exp(v) / 2 if v < 0 else 1 - math.exp(-v) / 2
            expected = {"gauss": (1 + math.erf((x - 0.1) / 2.5 / math.sqrt(2))) / 2, "laplace": laplace_value}[name]
            below, at = float((sample < x).double().mean()), float((sample <= x).double().mean())
            wanted = max(wanted, abs(below - expected), abs(at - expected))
        assert ks_distance(sample, ours) == pytest.approx(wanted, abs=1e-12)

    def test_of_two_samples_with_ties(self) -> None:
        a, b = laplace(300, 0.3, 2.0).round(), (normal(200) * 4).round()
        grid = torch.cat([a, b]).unique()
        wanted = max(abs(float((a <= x).double().mean()) - float((b <= x).double().mean())) for x in grid)
        assert ks_two_samples(a, b) == pytest.approx(wanted, abs=1e-12)

    def test_of_a_sample_to_itself(self) -> None:
        assert ks_two_samples(normal(100), normal(100).flip(0)) == 0
        assert ks_two_samples(torch.zeros(5), torch.ones(3)) == 1

    def test_rows(self) -> None:
        source, mf = {"a": normal(5000) * 0.1}, {"a": laplace(5000, scale=3.0)}
        remap = Remap("replace", 3.0, knots_x=(0.0, 1.0), knots_y=(0.0, 2.0))
        (row,) = layer_fits(remap, source, mf)
        assert (row.layer, row.weights) == ("a", 5000)
        assert row.mult_to_gauss < 0.02
        assert row.mf_to_laplace < 0.02
        assert row.mult_to_mf == ks_two_samples(source["a"], mf["a"]) > 0.3
        assert row.laplace_remap_to_mf == ks_two_samples(Remap("replace", 3.0)(source["a"]), mf["a"]) < 0.03
        assert row.remap_to_mf == ks_two_samples(remap(source["a"]), mf["a"]) > 0.1
