"""What timm's models learned, as one of our networks: `net.init_from=timm:NAME`. timm is imported when it is asked for.

timm registers the layers and norms of these models in the order in which they compute, and our plans list them so: they
are matched one by one, and their shapes must agree. Nothing is matched by name.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue
from shiftaddaug.errors import UserError, reason_of
from shiftaddaug.nets.build import assign, build_plain
from shiftaddaug.nets.net import Net
from shiftaddaug.nets.nodes import WITH_MODULES, Node
from shiftaddaug.nets.sizes import Size
from shiftaddaug.nets.tables import plan_net
from shiftaddaug.operators.mult.operator import Mult

EQUAL = {
    "mobilenetv2_035": ("mbv2_w035", 0.35),
    "mobilenetv2_050": ("mbv2_w035", 0.5),
    "mobilenetv2_075": ("mbv2_w035", 0.75),
    "mobilenetv2_100": ("mbv2_w035", 1.0),
    "mobilenetv2_140": ("mbv2_w035", 1.4),
    "mobilenetv3_large_100": ("mbv3_w035", 1.0),
    "resnet18": ("resnet18", 1.0),
    "resnet50": ("resnet50", 1.0),
}
"""timm's models that compute what one of our nets does, by name: the net, and its `net.width_mult`. The classifier of a
net with `net.classifier_norm` is its own."""

FILES = (".safetensors", ".pth", ".pt", ".bin", ".tar")
"""Endings of files that hold a state dict."""
HELD = ("state_dict", "model")
"""Where the checkpoints of training scripts keep it."""
WRAPPED = "module."
"""Begins the names of what was trained by several processes."""


def timm_network(source: str, table: Mapping[str, Any], image_size: Size, catalogue: Catalogue = PACKAGE_ONLY) -> Net:
    """Return a multiplying network of ours with the weights of a timm model: it computes what that one does.

    Args:
        source: name of a timm model, whose weights timm fetches or has kept, or a file with its state dict
            (torch.save or safetensors).
        table: of our net.
        image_size: (H, W) that costs of the network would be told for.
        catalogue: of the package and the plugins in use.

    Raises:
        UserError: no such model or file, weights that cannot be fetched or read, or those of another network: naming
            the first module that differs.
    """
    if source.endswith(FILES):
        return _network(_state_in(Path(source).expanduser()), table, image_size, catalogue)
    _network(_drawn(source), table, image_size, catalogue)  # refuses another network before anything is fetched
    return _network(_fetched(source), table, image_size, catalogue)


def _network(state: Mapping[str, Tensor], table: Mapping[str, Any], image_size: Size, catalogue: Catalogue) -> Net:
    """Return a network with the tensors of a state dict.

    Raises:
        UserError: it is that of another network.
    """
    modules = _by_module(state)
    try:
        in_channels, classes = modules[0]["weight"].shape[1], len(modules[-1]["weight"])
    except (LookupError, TypeError):
        raise UserError("holds no state dict of a timm model") from None
    plan = plan_net({**table, "classifier_norm": False}, classes, in_channels, image_size, catalogue)
    net, nodes = build_plain(plan, assign(plan, Mult())), [node for node in plan.nodes if node.kind in WITH_MODULES]
    if len(modules) != len(nodes):
        raise UserError(f"has {len(modules)} layers and norms, and net={plan.name} has {len(nodes)}{_equal(plan.name)}")
    for node, tensors in zip(nodes, modules, strict=True):
        _load(net, node, tensors)
    return net.eval()


def _load(net: Net, node: Node, tensors: Mapping[str, Tensor]) -> None:
    """Put the tensors of one of timm's modules into one of ours; a 1x1 convolution may be linear here.

    Those without values (on the meta device) are only compared.

    Raises:
        UserError: they are of another shape.
    """
    module = net.module(node.name)
    assert module is not None
    for key, ours in module.state_dict().items():
        theirs = tensors.get(key)
        if theirs is None and key == "num_batches_tracked":
            continue
        if theirs is None or _squeezed(theirs) != _squeezed(ours):
            there = "is not there" if theirs is None else f"is {tuple(theirs.shape)} there"
            raise UserError(f"{node.name}.{key} {there}, and {tuple(ours.shape)} here{_equal(net.plan.name)}")
        if not theirs.is_meta:
            ours.copy_(theirs.reshape(ours.shape))
    extra = tensors.keys() - module.state_dict().keys()
    if extra:
        raise UserError(f"{node.name}.{min(extra)} is there, and not here{_equal(net.plan.name)}")


def _squeezed(tensor: Tensor) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    return shape[:2] if shape[2:] == (1, 1) else shape


def _equal(net: str) -> str:
    """Return the advice which of timm's models a net equals."""
    found = [f"timm:{name} (net.width_mult={width})" for name, (ours, width) in EQUAL.items() if ours == net]
    return f"; options: {', '.join(found)}" if found else f"; no model of timm is known to equal net={net}"


def _drawn(name: str) -> Mapping[str, Tensor]:
    """Return the state dict of a timm model, without values.

    Raises:
        UserError: there is no such model, or timm has no weights of it.
    """
    import timm

    if not timm.is_model(name.partition(".")[0]):
        near = get_close_matches(name, timm.list_models(), n=3, cutoff=0.8) or list(EQUAL)
        raise UserError(
            f"timm has no such model; options: {', '.join(near)}, or a file of a state dict ({', '.join(FILES)})"
        )
    if not timm.is_model_pretrained(name):
        raise UserError(f"timm has no weights of it; options: {', '.join(filter(timm.is_model_pretrained, EQUAL))}")
    with torch.device("meta"):
        state: Mapping[str, Tensor] = timm.create_model(name).state_dict()
    return state


def _fetched(name: str) -> Mapping[str, Tensor]:
    """Return the pretrained state dict of a timm model.

    Raises:
        UserError: it cannot be fetched.
    """
    import timm

    try:
        state: Mapping[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # whatever the network and the hub answer with
        raise UserError(
            f"its weights could not be fetched ({reason_of(error, 120)}); options: fetch them on a machine that can, "
            f"torch.save(timm.create_model({name!r}, pretrained=True).state_dict(), 'FILE.pth'), and timm:FILE.pth"
        ) from None
    return state


def _state_in(path: Path) -> Mapping[str, Tensor]:
    """Return the state dict in a file, in the order in which timm registers it.

    Raises:
        UserError: no such file, or none that holds one.
    """
    if not path.is_file():
        raise UserError("no such file")
    try:
        state = _read(path)
        state = next((state[key] for key in HELD if isinstance(state.get(key), Mapping)), state)
        state = {str(key).removeprefix(WRAPPED): value for key, value in state.items()}
        if not state or not all(isinstance(value, Tensor) for value in state.values()):
            raise ValueError("it holds other things than tensors")
    except Exception as error:  # damaged bytes make the unpickler raise almost anything
        raise UserError(f"not a readable state dict ({reason_of(error, 120)})") from None
    return _ordered(state) if path.suffix == ".safetensors" else state


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _ordered(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return tensors in timm's order, which safetensors does not keep.

    Raises:
        UserError: they are those of no model that equals one of our nets.
    """
    names = {key for key in state if not key.endswith("num_batches_tracked")}
    for model in ("mobilenetv2_100", "mobilenetv3_large_100", "resnet18", "resnet50"):
        keys = list(_drawn(model))
        if names == {key for key in keys if not key.endswith("num_batches_tracked")}:
            return {key: state[key] for key in keys if key in state}
    raise UserError(f"holds the tensors of none of timm's {', '.join(EQUAL)}; options: a file of torch.save")


def _by_module(state: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return tensors by their names within their module, module by module."""
    modules: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        module, _, key = name.rpartition(".")
        modules.setdefault(module, {})[key] = tensor
    return list(modules.values())
