"""Losses of the first steps of a run, committed: whatever changes them changes what every run computes.

The figures hold on every processor. The trace is computed in float64, from weights drawn in float64 (float32 draws
round differently where a processor multiplies and adds at once), and the net is small and does not amplify: it has no
maps of one or two pixels, whose batch-norms divide by a spread that may be nothing but rounding.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from shiftaddaug.report.results import read_metrics
from tests.commands.running import ROOT, run_little

STAGES = (
    "{block: inverted_bottleneck, channels: 16, expand: 1, kernels: 3, stride: 1, depth: 1}",
    "{block: inverted_bottleneck, channels: 24, expand: 6, kernels: 3, stride: 2, depth: 2}",
)
THREE_STEPS = (
    "aug=width_expand",
    "aug.weight=0.7",  # 1 would hide a forgotten factor
    "reorder=l1",
    "trainer.precision=64-true",
    "trainer.limit_train_batches=1",
    "trainer.max_epochs=3",
    "optim.lr=0.01",
    "data.crop_padding=0.125",
    f"net.stages=[{', '.join(STAGES)}]",
    "net.head.channels=160",
)
"""Three steps, each an epoch of its own. The channels are reordered before the second and the third step. Width
augmentation is over before the third."""

ROUNDING = 2.0**-52
LONGEST_SUM = 32 * 16 * 16
"""Terms of a batch-norm's mean and of a weight's gradient: images times pixels. Each may be rounded once."""
AMPLIFICATION = 1.0
"""Bound of (relative change of a loss) / (relative noise of the initial weights). Measured with noise of 2^-30 and
eight seeds: at most 0.06 for shift and 0.10 for add. `test_losses_do_not_amplify` repeats one seed."""
MARGIN = 8
"""Not every rounding is one of the initial weights: three steps of two passes round some layers in turn."""
TOLERANCE = ROUNDING * LONGEST_SUM * AMPLIFICATION * MARGIN
"""1.5e-11. Instruction sets differ by 1e-15. A lambda of 0.71 moves a loss by 2e-6, a forgotten reorder or a wrong sign
by 1e-4 and more."""


GOLDEN = {
    "shift": {
        "train/loss": [2.3433546103293, 2.3565038569605, 2.3551874202118],
        "train/loss_aug": [2.3272267486091, 2.3648646992203, 2.3588971276810],
    },
    "add": {
        "train/loss": [2.3813029205167, 2.3193679282154, 2.2795700944786],
        "train/loss_aug": [2.3617428396257, 2.3458679598798, 2.2828789743498],
    },
}
"""By operator and metric. A change of these numbers changes what every run computes: explain it in the change that
makes it."""
parametrize_operators = pytest.mark.parametrize("op", GOLDEN)


@pytest.fixture
def drawn_in_float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


class Noise(pl.Callback):
    """Multiply every parameter by 1 + u before the first step, u uniform in [-size, size]."""

    def __init__(self, size: float) -> None:
        self.size = size

    @torch.no_grad()
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        generator = torch.Generator().manual_seed(0)
        for parameter in pl_module.parameters():
            u = torch.rand(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.mul_(1 + self.size * (2 * u - 1))


def losses(folder: Path, *overrides: str) -> dict[str, list[float]]:
    """Train three steps; the losses of the target and of the augmented pass."""
    run_little(folder, *THREE_STEPS, *overrides)
    metrics = read_metrics(folder / "metrics.csv")
    return {name: list(metrics[name].values()) for name in ("train/loss", "train/loss_aug")}


@parametrize_operators
@pytest.mark.usefixtures("drawn_in_float64")
def test_golden_losses(op: str, tmp_path: Path) -> None:
    found = losses(tmp_path / "run", f"op={op}")
    for name, wanted in GOLDEN[op].items():
        assert found[name] == pytest.approx(wanted, rel=TOLERANCE, abs=0), name


@parametrize_operators
@pytest.mark.usefixtures("drawn_in_float64")
def test_losses_do_not_amplify(op: str, tmp_path: Path) -> None:
    """Noise far above the tolerance stays within `AMPLIFICATION`: no loss stands next to a jump."""
    noise = 2.0**-30
    assert noise > 10 * TOLERANCE
    callback = (f"+callbacks.noise._target_={__name__}.Noise", f"+callbacks.noise.size={noise}")
    found = losses(tmp_path / "run", f"op={op}", *callback)
    for name, wanted in GOLDEN[op].items():
        assert found[name] == pytest.approx(wanted, rel=AMPLIFICATION * noise, abs=0), name
        assert found[name] != pytest.approx(wanted, rel=TOLERANCE, abs=0), name  # the noise was there


needs_avx512 = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512",
    reason="needs a processor with AVX-512, and ATEN_CPU_CAPABILITY unset; with AVX2, test_golden_losses is this test",
)


@pytest.mark.parametrize(
    ("torch_set", "core_set"),
    [("default", "none"), pytest.param("avx2", "avx2", marks=needs_avx512)],
    ids=["plain torch without AVX2", "AVX2"],
)
@pytest.mark.slow
def test_other_instruction_sets_compute_these_losses(torch_set: str, core_set: str) -> None:
    """In a process of its own: torch and the native core choose their instructions when they are loaded."""
    command = [sys.executable, "-m", "pytest", __file__, "-k", "golden_losses", "-p", "no:cacheprovider"]
    process = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"ATEN_CPU_CAPABILITY": torch_set, "SHIFTADDAUG_ISA": core_set},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert f"{len(GOLDEN)} passed" in process.stdout
