"""The native CPU core: a small C library (c/), compiled when the package is installed, without torch headers."""

from shiftaddaug.kernels.native.library import Library, library, why_not
from shiftaddaug.kernels.native.problem import ADD, FORWARD, INPUT_GRAD, MULT, WEIGHT_GRAD, make_problem

__all__ = ["ADD", "FORWARD", "INPUT_GRAD", "MULT", "WEIGHT_GRAD", "Library", "library", "make_problem", "why_not"]
