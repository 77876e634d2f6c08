"""Settings of add: what a net of l1 distances is trained with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from shiftaddaug.operators.remap_settings import RemapSettings, remap_settings_from
from shiftaddaug.operators.settings import Arithmetic, OperatorSettings
from shiftaddaug.settings import Scale

REMAP = RemapSettings("replace", laplace_scale=5.5)
"""R of these weights by default (b is ours: the paper names none)."""


@dataclass(frozen=True)
class AddSettings(OperatorSettings):
    """Keys of configs/op/add.yaml.

    Raises:
        UserError: a field outside its range.
    """

    name = "add"
    weight_prior = "laplace"
    replaced_by_remap = ("init_std",)
    scales_gradient = ("eta",)
    single_under_autocast = True
    computes_in_single = True

    eta: Scale = 0.8
    """Adaptive local learning rate: the root mean square of the rescaled weight gradient."""
    init_std: Scale = 8.0
    """Standard deviation of fresh weights, in units of the input's (batch-normalised inputs: 1)."""
    output_scale: bool = True
    """Whether outputs are multiplied by 2^-round(log2 sqrt(k)), k the inputs of a filter: a shift that keeps them
    comparable to a convolution's. NOTE: not in AdderNet; the batch norm that follows absorbs it."""
    weight_gradient: Literal["full", "sign"] = "full"
    """dY/dW: the difference X - W (full), or its sign, the derivative. `kernels/add/rules.py` has the formulas."""
    input_gradient: Literal["clipped", "full", "sign"] = "clipped"
    """dY/dX: HardTanh(W - X) (clipped), the difference W - X (full), or its sign, the derivative."""
    rate: Literal["adaptive", "uniform"] = "adaptive"
    """Whether each layer's weight gradient is rescaled to `eta` (adaptive), or left as it is (uniform), so that one
    learning rate serves all layers."""
    remap: RemapSettings | None = REMAP  # type: ignore[misc]

    def __post_init__(self) -> None:
        object.__setattr__(self, "remap", remap_settings_from(self.remap))
        super().__post_init__()

    @property
    def arithmetic(self) -> Arithmetic:
        """A difference and an accumulation; taking the magnitude chooses between adding and subtracting."""
        return Arithmetic({"add": 2})

    @property
    def without_effect(self) -> Mapping[str, str]:
        """Say that `eta` has no effect without the adaptive rate."""
        return {"eta": "op.rate=uniform leaves gradients as they are"} if self.rate == "uniform" else {}

    def check_precision(self, precision: str) -> str | None:
        """Warn of weights stored in half precision."""
        if precision not in ("16-true", "bf16-true"):
            return None
        return (
            f"trainer.precision={precision} with op=add: an output's mean is hundreds of times its spread, most of "
            f"which half precision rounds away (10 % of the digits right, and 96 % with bf16-mixed)"
        )

    def training_warning(self) -> str | None:
        """Warn of a gradient that no fast path computes."""
        if self.weight_gradient != "sign":
            return None
        return "op.weight_gradient=sign: computed in plain torch, on every device, which takes longer than full"

    def multiplied_warning(self) -> str | None:
        """Warn of weights that are far larger than a convolution's."""
        return (
            f"layers first multiply with weights as large as op.init_std={self.init_std}, beside which steps are tiny, "
            f"and hardly learn until they turn; sharing=heterogeneous does better"
        )


SETTINGS = AddSettings
