"""Settings of mult: there are none."""

from dataclasses import dataclass

from shiftaddaug.operators.settings import Arithmetic, OperatorSettings


@dataclass(frozen=True)
class MultSettings(OperatorSettings):
    """Keys of configs/op/mult.yaml."""

    name = "mult"
    weight_prior = "normal"

    @property
    def arithmetic(self) -> Arithmetic:
        """A multiplication and an accumulation."""
        return Arithmetic({"mult": 1, "add": 1})


SETTINGS = MultSettings
