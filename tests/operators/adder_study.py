"""What AdderNet's paper compares (sections 3.2 and 3.3), by field of add's settings; the published choice first."""

from typing import get_args, get_type_hints

from shiftaddaug.operators.add.settings import AddSettings

STUDY = {key: get_args(get_type_hints(AddSettings)[key]) for key in ("weight_gradient", "input_gradient", "rate")}
