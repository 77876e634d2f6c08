"""Independent random streams from one seed."""

import random


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2^31) that depends on all parts, so that seed 0 at epoch 1 is not seed 1 at epoch 0."""
    return random.Random("/".join(map(str, parts))).getrandbits(31)
