"""What lies around a searched net in training: the deep sub-network of its search, as widths and extra blocks.

    {"channels": {"blocks.3.hidden": [24, 40, 56]}, "extra_blocks": {"blocks.3": 2}}

`channels` names spaces of the net's plan, and the widths that augmented sub-networks draw from, rising from the net's
own. `extra_blocks` names blocks, and how many extra ones follow each. Imports no torch.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from shiftaddaug.errors import UserError
from shiftaddaug.nets.plan import Plan
from shiftaddaug.settings import options_near, shown

KEYS = ("channels", "extra_blocks")

Channels = Mapping[str, Sequence[int]]
"""Widths that are drawn from, by space."""


def check_surroundings(key: str, surroundings: Mapping[str, Any], plan: Plan) -> None:
    """Refuse surroundings that are not those of a net.

    Args:
        key: where they stand.
        surroundings: as they were read; {} is none.
        plan: of the net.

    Raises:
        UserError: naming the first mistake.
    """
    for name in surroundings:
        if name not in KEYS:
            raise UserError(f"{key}.{name}: no such key; options: {', '.join(KEYS)}")
    check_channels(f"{key}.channels", surroundings.get("channels", {}), plan)
    check_blocks(f"{key}.extra_blocks", surroundings.get("extra_blocks", {}), plan)


def check_channels(key: str, channels: Any, plan: Plan) -> None:
    """Refuse widths to draw from that are not those of a net's spaces.

    Raises:
        UserError: naming the first mistake.
    """
    if not isinstance(channels, Mapping):
        raise UserError(f"{key}={shown(channels)}: must be widths by space, such as {{blocks.3.hidden: [24,40]}}")
    own = {space.name: space.channels for space in plan.spaces if space.kind != "fixed"}
    for space, widths in channels.items():
        if space not in own:
            raise UserError(f"{key}.{space}: no such space in net={plan.name}; {options_near(str(space), own)}")
        whole = isinstance(widths, list | tuple) and all(type(width) is int for width in widths) and len(widths) > 0
        if not whole or any(one >= next_one for one, next_one in pairwise(widths)) or widths[0] != own[space]:
            raise UserError(
                f"{key}.{space}={shown(widths)}: must be a list of whole numbers that rises from the net's own "
                f"{own[space]}, such as [{own[space]},{2 * own[space]}]"
            )


def check_blocks(key: str, blocks: Any, plan: Plan) -> None:
    """Refuse numbers of extra blocks that are none, or that do not follow the blocks of a net.

    Raises:
        UserError: naming the first mistake.
    """
    if not isinstance(blocks, Mapping):
        raise UserError(f"{key}={shown(blocks)}: must be numbers by block, such as {{blocks.3: 1}}")
    units = plan.units()
    for unit, count in blocks.items():
        if unit not in units:
            raise UserError(f"{key}.{unit}: no such block in net={plan.name}; {options_near(str(unit), units)}")
        if type(count) is not int or count < 1:
            raise UserError(f"{key}.{unit}={shown(count)}: must be a whole number >= 1")
