"""Settings of shift_ps: those of shift; what it trains cannot be shared."""

from dataclasses import dataclass

from shiftaddaug.operators.shift.settings import PowerOfTwoSettings


@dataclass(frozen=True)
class ShiftPSSettings(PowerOfTwoSettings):
    """Keys of configs/op/shift_ps.yaml. Two tensors are trained, of which none is a multiplicative weight.

    Raises:
        UserError: a field outside its range.
    """

    name = "shift_ps"
    shareable = False


SETTINGS = ShiftPSSettings
