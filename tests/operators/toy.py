"""A plugin with an operator of its own: ternary weights, with a scale, a buffer and a gradient."""

from pathlib import Path

SETTINGS = '''"""Settings of ternary."""

from dataclasses import dataclass

from shiftaddaug.operators.settings import Arithmetic, OperatorSettings
from shiftaddaug.settings import PositiveNumber


@dataclass(frozen=True)
class TernarySettings(OperatorSettings):
    """Keys of configs/op/toy.yaml."""

    name = "toy"
    ratio: PositiveNumber = 0.7

    @property
    def arithmetic(self) -> Arithmetic:
        return Arithmetic({"add": 1}, weight_bits=2)


SETTINGS = TernarySettings
'''

OPERATOR = '''"""ternary: weights -s, 0 and s, s a trained scalar of each layer (as TWN, arXiv 1605.04711)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from shiftaddaug.operators.base import Operator
from shiftaddaug.operators.codes import Codes
from shiftaddaug.operators.mult.operator import kaiming_uniform
from ternary_plugin.operators.toy.settings import TernarySettings


class _Ternary(torch.autograd.Function):
    """Its own gradient: that of the weight is cut where |w| > 1, that of the scale is the sum over the signs."""

    @staticmethod
    def forward(ctx, weight, scale, threshold):
        signs = torch.where(weight.abs() > threshold, weight.sign(), torch.zeros_like(weight))
        ctx.save_for_backward(weight, signs, scale)
        return signs * scale

    @staticmethod
    def backward(ctx, gradient):
        weight, signs, scale = ctx.saved_tensors
        return gradient * (weight.abs() <= 1), (gradient * signs).double().sum().to(scale.dtype), None


@dataclass(frozen=True)
class Ternary(TernarySettings, Operator):
    @property
    def linear_in_weight(self):
        return True

    def parameter_shapes(self, shape):
        return {"weight": shape, "scale": ()}

    def init_parameters(self, shape):
        weight = kaiming_uniform(shape)
        return {"weight": weight, "scale": weight.abs().mean()}

    def init_buffers(self, shape):
        return {"threshold": torch.zeros(())}

    def between_epochs(self, tensors, epoch):
        tensors["threshold"].copy_(self.ratio * tensors["weight"].abs().mean())

    def effective_weight(self, tensors):
        return _Ternary.apply(tensors["weight"], tensors["scale"], tensors["threshold"])

    def conv2d(self, x, weight, stride=1, padding=0, dilation=1, groups=1):
        return F.conv2d(x, weight, None, stride, padding, dilation, groups)

    def linear(self, x, weight):
        return F.linear(x, weight)

    def codes(self, weight):
        signs, exponents = weight.sign().to(torch.int8), torch.zeros_like(weight, dtype=torch.int16)
        return Codes(signs[None], exponents[None], weight.abs().max(), weight.dtype)

    def rescale_gradient(self, name, parameter, gradient):
        return 0.1 * gradient if name == "scale" else gradient


OPERATOR = Ternary
'''

YAML = """# python src/train.py op=toy plugins=[ternary_plugin]
name: toy
ratio: 0.7
mult_layers: [stem, se, classifier]
"""


def write_plugin(folder: Path, operator: str = OPERATOR) -> Path:
    """The package `ternary_plugin` in that folder."""
    plugin = folder / "ternary_plugin"
    files = {
        "__init__.py": "",
        "operators/toy/__init__.py": "",
        "operators/toy/settings.py": SETTINGS,
        "operators/toy/operator.py": operator,
        "configs/op/toy.yaml": YAML,
    }
    for name, content in files.items():
        (plugin / name).parent.mkdir(parents=True, exist_ok=True)
        (plugin / name).write_text(content)
    return plugin
