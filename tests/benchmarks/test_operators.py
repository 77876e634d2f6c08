"""The benchmark of the add convolution: its shapes, the formulations it compares with, its ratios, a tiny run."""

import csv
from pathlib import Path
from typing import Any

import candidates
import pytest
import torch
import torch.nn.functional as F
from candidates import SHAPES, Candidate, Layer, Shape
from measure import can_measure_memory

import operators
from shiftaddaug.kernels.add import naive

TOLERANCE = 3e-6
"""Of float32, over the largest value."""

TINY = {
    "dense": Shape("dense", 3, 4, 3, 7),
    "dense, stride 2": Shape("dense", 3, 4, 3, 7, stride=2),
    "1x1": Shape("1x1", 5, 6, 1, 4),
    "depthwise": Shape("depthwise", 5, 5, 5, 6, groups=5),
    "depthwise, stride 2": Shape("depthwise", 5, 5, 3, 7, stride=2, groups=5),
}


@pytest.mark.parametrize("shape", [*SHAPES.values(), *TINY.values()], ids=str)
def test_a_shape_knows_its_output_and_its_macs(shape: Shape) -> None:
    x = torch.empty(1, shape.channels, shape.size, shape.size)
    w = torch.empty(shape.filters, shape.channels // shape.groups, shape.kernel, shape.kernel)
    y = F.conv2d(x, w, None, shape.stride, shape.padding, 1, shape.groups)
    assert y.shape[2:] == (shape.output_size, shape.output_size)
    assert shape.macs == y.numel() * w[0].numel()


def test_documented_sizes() -> None:
    macs = {name: round(128 * SHAPES[name].macs / 1e6) for name in ("a1", "a2", "a3", "b1", "b2", "c1", "c2")}
    assert macs == {"a1": 302, "a2": 302, "a3": 302, "b1": 302, "b2": 377, "c1": 57, "c2": 193}


def names(shape: Shape) -> set[str]:
    return {candidate.name for candidate in candidates.candidates(shape)}


def test_candidates_of_a_shape() -> None:
    both = {"ours channels_last", "ours NCHW", "conv channels_last", "conv NCHW", "public"}
    assert names(TINY["dense"]) == both | {"cdist"}
    assert names(TINY["depthwise"]) - {"depthwise channels_last", "depthwise NCHW"} == both


@pytest.mark.parametrize("shape", TINY.values(), ids=TINY.keys())
def test_every_candidate_computes_its_formula(shape: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "CDIST_BLOCK_ELEMENTS", 2 * shape.inputs * shape.positions)  # two images
    arguments = (shape.stride, shape.padding, 1, shape.groups)
    for candidate in candidates.candidates(shape):
        layer = Layer(candidate, shape, batch=5)
        y, dx, dw = layer.forward_backward()
        g, x, w = (t.double() for t in (layer.g, layer.x, layer.w))
        if candidate.adds:
            expected = [naive.add_conv2d(x, w, *arguments)]
            expected += [f(g, x, w, *arguments) for f in (naive.add_conv2d_input_grad, naive.add_conv2d_weight_grad)]
        else:
            x.requires_grad_()
            w.requires_grad_()
            product = F.conv2d(x, w, None, *arguments)
            expected = [product, *torch.autograd.grad(product, (x, w), g)]
        for actual, e in zip((y, dx, dw), expected, strict=True):
            assert actual.shape == e.shape
            assert (actual - e).abs().max() <= TOLERANCE * e.abs().max(), candidate.name
        assert torch.equal(layer.forward(), y), candidate.name


def test_layouts_hold_the_same_problem() -> None:
    by_name = {c.name: c for c in candidates.candidates(TINY["dense"])}
    last, first = (Layer(by_name[f"ours {layout}"], TINY["dense"], 2) for layout in ("channels_last", "NCHW"))
    for name in ("x", "g"):
        assert getattr(last, name).is_contiguous(memory_format=torch.channels_last)
        assert getattr(first, name).is_contiguous()
        assert torch.equal(getattr(last, name), getattr(first, name))


def test_an_error_is_seen() -> None:
    shape = TINY["dense"]
    wrong = Candidate("wrong", lambda x, w, s: 1.5 * candidates.broadcasting(x, w, s))
    assert candidates.errors(wrong, shape, 2) == pytest.approx((0.5, 0.5, 0.5), rel=1e-4)


@pytest.mark.parametrize(("bytes_per_image", "wanted"), [(0, 128), (15e6, 128), (16e6, 64), (1e9, 2), (3e9, 0)])
def test_the_batch_is_halved_until_it_fits(bytes_per_image: float, wanted: int) -> None:
    candidate = Candidate("large", candidates.broadcasting, bytes_per_image=lambda shape: int(bytes_per_image))
    assert operators.fitting_batch(candidate, TINY["dense"], 128) == wanted


def figures(name: str, *values: float) -> dict[str, Any]:
    keys = ("fwd_min_ms", "fwd_bwd_min_ms", "memory_mib")
    return {"shape": "a1", "candidate": name, **dict(zip(keys, values, strict=False))}


def ratios(row: dict[str, Any]) -> list[float | None]:
    return [row[f"{key}_ratio"] for key in ("fwd", "fwd_bwd", "memory")]


class TestRatios:
    def test_are_to_the_better_layout_of_each_measure(self) -> None:
        rows = [figures("ours NCHW", 6, 8, 10), figures("conv NCHW", 2, 5, 8), figures("conv channels_last", 3, 4, 4)]
        operators.add_ratios(rows)
        assert [ratios(row) for row in rows] == [[3, 2, 2.5], [1, 1.25, 2], [1.5, 1, 1]]

    def test_what_was_not_measured_has_none(self) -> None:
        rows = [figures("ours NCHW", 6, 8), figures("conv NCHW", 2, 4), figures("public")]
        operators.add_ratios(rows)
        assert [ratios(row) for row in rows] == [[3, 2, None], [1, 1, None], [None] * 3]

    def test_memory_below_the_resolution_is_not_compared(self) -> None:
        rows = [figures("ours NCHW", 6, 8, 1.5), figures("conv NCHW", 2, 4, 0.5)]
        operators.add_ratios(rows)
        assert ratios(rows[0]) == [3, 2, None]

    def test_summary_shows_both_layouts(self) -> None:
        rows = [figures("ours NCHW", 6, 8, 10), figures("conv NCHW", 2, 4, 4)]
        operators.add_ratios(rows)
        (line,) = operators.summary(rows)
        assert list(line.values()) == [str(SHAPES["a1"]), None, None, None, "3.00", "2.00", "2.50"]


@pytest.mark.skipif(not can_measure_memory(), reason="needs Linux and write access to /proc/self/clear_refs")
def test_memory_holds_output_and_input_gradient() -> None:
    shape = Shape("1x1", 4, 4, 1, 512)  # 4 MiB an image, in and out
    assert 96 <= operators.peak_mib(shape, "ours NCHW", batch=12, threads=1) < 192


def test_path_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert operators.path_of_ours() not in ("", "unknown")
    monkeypatch.setattr(operators.add, "describe", lambda: "avx2", raising=False)
    assert operators.path_of_ours() == "avx2"


def test_a_tiny_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "--shapes s2,o2 --batch 1 --rounds 2 --threads 1 --no-memory --out"
    operators.main([*arguments.split(), str(tmp_path)])
    printed = capsys.readouterr().out
    for wanted in (str(SHAPES["s2"]), str(SHAPES["o2"]), operators.path_of_ours(), f"torch {torch.__version__}"):
        assert wanted in printed
    assert printed.count("load average") == 2
    with (tmp_path / "operators.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(r["shape"], r["candidate"]) for r in rows} == {(n, c) for n in ("s2", "o2") for c in names(SHAPES[n])}
    for row in rows:
        assert all(float(row[f"error_{key}"]) <= TOLERANCE for key in ("fwd", "dx", "dw"))
        assert float(row["fwd_min_ms"]) <= float(row["fwd_median_ms"])
        assert (row["memory_mib"], row["note"], row["batch"], row["threads"]) == ("", "", "1", "1")
        conv = [r for r in rows if r["shape"] == row["shape"] and r["candidate"].startswith("conv ")]
        least = min(float(r["fwd_bwd_min_ms"]) for r in conv)
        assert float(row["fwd_bwd_ratio"]) == pytest.approx(float(row["fwd_bwd_min_ms"]) / least)
    assert (tmp_path / "operators.png").stat().st_size > 0


def test_without_the_reference_there_are_no_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        operators.main(["--candidates", "ours,public"])
    assert exit_.value.code == 2
    assert capsys.readouterr().err == "error: --candidates ours,public: conv must be among them, ratios are to it\n"
