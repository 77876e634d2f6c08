"""shift_ps: weights are signed powers of two, whose sign and exponent are trained."""
