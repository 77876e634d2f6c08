"""Our nets as timm's models, and so as encoders of segmentation_models_pytorch. Importing this registers them.

    import shiftaddaug.interop.timm_models
    net = timm.create_model("shiftaddaug_mcunet", op="add", num_classes=10)
    maps = timm.create_model("shiftaddaug_mcunet", op="add", features_only=True, out_indices=(1, 2), output_stride=16)
    masks = smp.Unet("tu-shiftaddaug_mcunet", encoder_weights=None, op="add")

A model is the target, trained alone: nothing surrounds it. Layers and gradients are computed as their operators say.
What operators do besides is for the training loop to ask for: `before_step` once gradients are there, `after_step` once
weights have moved.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from omegaconf import OmegaConf
from timm.models import FeatureInfo, register_model
from torch import Tensor, nn

from shiftaddaug import operators
from shiftaddaug.catalogue import config_dir
from shiftaddaug.errors import UserError
from shiftaddaug.nets import own_terms
from shiftaddaug.nets.build import assign, build_supernet
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.nets.tables import plan_encoder, plan_net
from shiftaddaug.operators.base import Operator
from shiftaddaug.settings import shown

log = logging.getLogger(__name__)

PREFIX = "shiftaddaug_"
"""Begins the models' names, which end in the name of a yaml of configs/net."""

__all__: list[str] = []  # timm adds the names of what is registered


class TimmNet(nn.Module):
    """A target in a shape that timm knows.

    Args:
        net: its layers.
    """

    def __init__(self, net: Supernet) -> None:
        super().__init__()
        self.net = net

    @torch.no_grad()
    def before_step(self) -> None:
        """Turn gradients into the update directions that operators publish."""
        self.net.rescale_gradients()

    @torch.no_grad()
    def after_step(self) -> None:
        """Put trained tensors where their operators want them."""
        own_terms.project(self.net)


class TimmClassifier(TimmNet):
    """Logits (N, num_classes) of images."""

    def __init__(self, net: Supernet) -> None:
        super().__init__(net)
        self.num_classes = net.plan.num_classes
        last = net.plan.levels[-1]
        self.num_features, self._last = net.plan.channels()[last.space], last.node

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.net(x)
        return logits

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last feature map before head and pooling, (N, num_features, H, W)."""
        return self.net.values(x, [self._last])[self._last]


class TimmFeatures(TimmNet):
    """Feature maps of images, as timm's `features_only=True` has them.

    Args:
        net: whose outputs are all feature maps.
        out_indices: which of them, finest first; a number is that many of the last ones.
    """

    def __init__(self, net: Supernet, out_indices: int | Sequence[int]) -> None:
        super().__init__(net)
        plan, strides, channels = net.plan, net.plan.strides(), net.plan.channels()
        info = [
            {"num_chs": channels[plan.by_name[node].space], "reduction": strides[node], "module": node}
            for _, node in plan.outputs
        ]
        indices = out_indices if isinstance(out_indices, int) else tuple(out_indices)
        self.feature_info = FeatureInfo(info, indices)
        self._nodes = self.feature_info.module_name()

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the chosen maps (N, C, H, W)."""
        values = self.net.values(x, self._nodes)
        return [values[node] for node in self._nodes]


def create(
    name: str,
    op: str = "shift",
    *,
    num_classes: int = 1000,
    in_chans: int = 3,
    img_size: int | Sequence[int] = 224,
    features_only: bool = False,
    out_indices: int | Sequence[int] | None = None,
    output_stride: int | None = None,
    mult_layers: Sequence[str] | None = None,
    **keys: Any,
) -> TimmNet:
    """Return a net of configs/net.

    Args:
        name: of its yaml.
        op: operator; its keys are those of configs/op.
        num_classes: channels of the logits.
        in_chans: channels of images.
        img_size: side of images, or (height, width), that costs are told for; others are computed, too. A stem that
            says `auto` keeps the size of small ones.
        features_only: leave head and classifier away, and return feature maps.
        out_indices: which maps, finest first; all by default.
        output_stride: turns strides beyond it into dilation.
        mult_layers: groups or names of layers that multiply; as the operator's yaml says by default.
        keys: of the operator, in place of its yaml's.

    Raises:
        UserError: a key or a layer that is none; an operator that there is not.
    """
    if op not in operators.available():
        raise UserError(f"op={op}: no such operator; options: {', '.join(operators.available())}")
    operator = operators.from_config(_yaml("op", op) | keys)
    table = _yaml("net", name, op={"mult_layers": _yaml("op", op)["mult_layers"]})
    if isinstance(mult_layers, str):
        raise UserError(f"mult_layers={mult_layers}: must be a list of groups or names, such as ['{mult_layers}']")
    exempt = table["mult_layers"] if mult_layers is None else list(mult_layers)
    if not features_only:
        plan = plan_net(table | {"output_stride": output_stride}, num_classes, in_chans, img_size)
        return TimmClassifier(_target(plan, operator, exempt))
    plan = plan_encoder(table, in_chans, img_size, output_stride)
    indices = tuple(range(len(plan.outputs))) if out_indices is None else out_indices
    _check_indices(indices, plan, name)
    return TimmFeatures(_target(plan, operator, exempt), indices)


def _check_indices(indices: int | Sequence[int], plan: Plan, name: str) -> None:
    """Refuse maps that there are not.

    Raises:
        UserError: saying how many there are.
    """
    count = len(plan.outputs)
    if indices <= count if isinstance(indices, int) else all(-count <= i < count for i in indices):
        return
    strides = ", ".join(key.removeprefix("stride") for key, _ in plan.outputs)
    raise UserError(
        f"out_indices={shown(indices)}: {PREFIX}{name} has {count} feature maps, at strides {strides}; options: fewer "
        f"(a smaller encoder_depth of segmentation_models_pytorch), another net"
    )


def _target(plan: Plan, operator: Operator, exempt: Sequence[str]) -> Supernet:
    return build_supernet(plan, assign(plan, operator, exempt))


def _yaml(group: str, name: str, **around: Mapping[str, Any]) -> dict[str, Any]:
    """Return a yaml of configs/, interpolated from other groups."""
    path = config_dir() / group / f"{name}.yaml"
    cfg = OmegaConf.create({**around, group: OmegaConf.load(path)})
    content = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content[group].items() if key != "defaults"}


def _entry(name: str) -> Any:
    """Return what timm calls to create a model of that name."""

    def entry(
        pretrained: bool = False,
        pretrained_cfg: Any = None,
        pretrained_cfg_overlay: Any = None,
        cache_dir: Any = None,
        **options: Any,
    ) -> TimmNet:
        if pretrained:
            log.warning("%s%s: there are no pretrained weights: they are drawn", PREFIX, name)
        return create(name, **options)

    entry.__name__ = entry.__qualname__ = f"{PREFIX}{name}"
    entry.__doc__ = f"Return configs/net/{name}.yaml, as `create` does."
    return entry


for _path in sorted((config_dir() / "net").glob("[!_]*.yaml")):
    if "stem" in OmegaConf.load(_path):  # else its table is in a file that the user names
        register_model(_entry(_path.stem))
