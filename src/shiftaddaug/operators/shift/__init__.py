"""shift: weights are signed powers of two."""
