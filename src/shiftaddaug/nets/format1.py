"""Read the plans of architecture.json files of format 1, which held blocks in place of nodes. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.sizes import as_size
from shiftaddaug.nets.writer import IMAGE, Writer


def plan_of_format1(raw: Mapping[str, Any]) -> Plan:
    """Return the graph of a plan of format 1: the one that the same table is decoded into today.

    Raises:
        KeyError, TypeError, ValueError: containers that were no plan.
    """
    image, *spaces = raw["spaces"]
    writer = Writer(image["channels"], as_size(raw["image_size"]))
    for space in spaces:
        writer.space(**space)
    with writer.part("stem"):
        value = writer.level(_conv(writer, raw["stem"], "", IMAGE))
    for block in raw["blocks"]:
        with writer.part("blocks", block["name"]):
            value = writer.level(_block(writer, block, value))
    with writer.part("head"):
        for conv in raw["head"]:
            value = _conv(writer, conv, "", value)
    with writer.part("classifier"):
        value = writer.pool("pool", value)
        for linear in raw["classifier"]:
            y = writer.linear(linear["name"], value, out=linear["out"])
            value = writer.act(f"{linear['name']}.act", y, linear["act"])
    return writer.plan(raw["name"], {"logits": value})


def _block(writer: Writer, block: Mapping[str, Any], value: str) -> str:
    """Convolutions in sequence, the gate after one of them; then the shortcut is added, then the activation applied."""
    prefix, shortcut, gate, y = f"{block['name']}.", value, block["squeeze_excite"], value
    for i, conv in enumerate(block["convs"]):
        y = _conv(writer, conv, prefix, y)
        if gate is not None and gate["after"] == i:
            y = writer.squeeze_excite(f"{prefix}{gate['name']}", y, gate["mid"])
    if block["downsample"] is not None:
        shortcut = _conv(writer, block["downsample"], prefix, value)
    if block["shortcut"] != "none":
        y = writer.add(f"{prefix}add", shortcut, y)
    return writer.act(f"{prefix}act", y, block["act"])


def _conv(writer: Writer, conv: Mapping[str, Any], prefix: str, value: str) -> str:
    options = {key: conv[key] for key in ("out", "kernel", "stride", "depthwise", "act")}
    return writer.conv_norm_act(f"{prefix}{conv['name']}", value, **options)
