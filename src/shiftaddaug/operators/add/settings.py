"""Settings of add: what a net of l1 distances is trained with."""

from dataclasses import dataclass

from shiftaddaug.operators.remap_settings import RemapSettings, remap_settings_from
from shiftaddaug.operators.settings import Arithmetic, OperatorSettings, check_boolean, check_positive

REMAP = RemapSettings("replace", laplace_scale=5.5)
"""R of these weights by default (b is ours: the paper names none)."""


@dataclass(frozen=True)
class AddSettings(OperatorSettings):
    """Keys of configs/op/add.yaml.

    Raises:
        UserError: a field outside its range.
    """

    name = "add"
    replaced_by_remap = ("init_std",)

    eta: float = 0.8
    """Adaptive local learning rate: the root mean square of the rescaled weight gradient."""
    init_std: float = 8.0
    """Standard deviation of fresh weights, in units of the input's (batch-normalised inputs: 1)."""
    output_scale: bool = True
    """Whether outputs are multiplied by 2^-round(log2 sqrt(k)), k the inputs of a filter: a shift that keeps them
    comparable to a convolution's. NOTE: not in AdderNet; the batch norm that follows absorbs it."""
    remap: RemapSettings | None = REMAP  # type: ignore[misc]

    def __post_init__(self) -> None:
        for key in ("eta", "init_std"):
            check_positive(key, getattr(self, key))
        check_boolean("output_scale", self.output_scale)
        object.__setattr__(self, "remap", remap_settings_from(self.remap))

    @property
    def arithmetic(self) -> Arithmetic:
        """A difference and an accumulation; taking the magnitude chooses between adding and subtracting."""
        return Arithmetic({"add": 2})

    def check_precision(self, precision: str) -> str | None:
        """Warn of weights stored in half precision."""
        if precision not in ("16-true", "bf16-true"):
            return None
        return (
            f"trainer.precision={precision} with op=add: an output's mean is hundreds of times its spread, most of "
            f"which half precision rounds away (10 % of the digits right, and 96 % with bf16-mixed)"
        )

    def multiplied_warning(self) -> str | None:
        """Warn of weights that are far larger than a convolution's."""
        return (
            f"layers first multiply with weights as large as op.init_std={self.init_std}, beside which steps are tiny, "
            f"and hardly learn until they turn; sharing=heterogeneous does better"
        )


SETTINGS = AddSettings
