"""One prediction of an image: the net's head, a mean over all positions, the net's neck, and a linear layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from shiftaddaug.nets.arch import CLASSIFIER, ArchSettings, Encoder
from shiftaddaug.nets.entry import Scaling, act_of
from shiftaddaug.nets.writer import Writer


@dataclass(frozen=True)
class ClassifierSettings(ArchSettings):
    """Keys of configs/arch/classifier.yaml; the others are the net's: `head`, `neck`, `classifier_norm`."""

    dense: ClassVar[bool] = False
    without_effect: ClassVar[Mapping[str, str]] = {}


SETTINGS = ClassifierSettings


def write(writer: Writer, settings: ClassifierSettings, encoder: Encoder, outputs: int) -> str:
    """Write it all."""
    value = _write_head(writer, encoder.table, encoder.scaled, encoder.last)
    return _write_classifier(writer, encoder.table, encoder.scaled, value, outputs)


def _write_head(writer: Writer, table: Mapping[str, Any], scaled: Scaling, value: str) -> str:
    head = table.get("head")
    if not head:
        return value
    with writer.part("head"):
        out = writer.space("head", _channels(head, scaled), "width")
        return writer.conv_norm_act("head", value, out=out, act=act_of(head))


def _write_classifier(writer: Writer, table: Mapping[str, Any], scaled: Scaling, value: str, outputs: int) -> str:
    neck, parts = table.get("neck"), writer.parts(value)
    with writer.part(CLASSIFIER):
        names = ["pool"] if len(parts) == 1 else [f"pool.{i}" for i in range(len(parts))]
        pooled = [writer.pool(name, part) for name, part in zip(names, parts, strict=True)]
        if neck:
            y = writer.linear("neck", *pooled, out=writer.space("neck", _channels(neck, scaled), "width"))
            pooled = [writer.act("neck.act", y, act_of(neck))]
        classes = writer.space("classes", outputs, "fixed")
        if table.get("classifier_norm", False):
            return writer.conv_norm_act("classifier", *pooled, out=classes)
        return writer.linear("classifier", *pooled, out=classes)


def _channels(part: Mapping[str, Any], scaled: Scaling) -> int:
    return max(scaled(part["channels"]), int(part.get("min_channels", 0)))
