"""What every operator of configs/op keeps to. A new yaml there is found and tested without a change here."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import nn

from shiftaddaug.errors import UserError
from shiftaddaug.operators import NO_FIELDS, available, build, check_config, from_config
from shiftaddaug.operators.base import Operator
from shiftaddaug.operators.fields import FIELDS

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "op").glob("*.yaml"))
CONV_SHAPES = {
    # input, weight, (stride, padding, dilation, groups)
    "dense": ((3, 6, 7, 5), (4, 6, 3, 3), (1, 1, 1, 1)),
    "stride 2": ((2, 6, 8, 7), (4, 6, 3, 3), (2, 1, 1, 1)),
    "dilated": ((2, 6, 8, 7), (4, 6, 3, 3), ((2, 1), (2, 3), 2, 1)),
    "1x1": ((2, 6, 3, 4), (5, 6, 1, 1), (1, 0, 1, 1)),
    "grouped": ((2, 6, 7, 5), (4, 3, 3, 3), (1, 1, 1, 2)),
    "depthwise": ((2, 6, 7, 5), (6, 1, 3, 3), (1, 1, 1, 6)),
    "batch 1": ((1, 6, 3, 3), (4, 6, 3, 3), (1, 0, 1, 1)),
}
conv_shapes = pytest.mark.parametrize(("x_shape", "w_shape", "geometry"), CONV_SHAPES.values(), ids=CONV_SHAPES.keys())


def from_yaml(path: Path) -> Operator:
    return from_config(yaml.safe_load(path.read_text()))


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def operator(request: pytest.FixtureRequest) -> Operator:
    torch.manual_seed(0)
    return from_yaml(request.param)


def parameters_of(operator: Operator, shape: tuple[int, ...]) -> nn.ParameterDict:
    return nn.ParameterDict(operator.init_parameters(shape))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_names_its_file_and_its_command(path: Path) -> None:
    assert path.read_text().splitlines()[0].startswith(f"# python src/train.py op={path.stem}")
    assert from_yaml(path).name == path.stem


def test_every_operator_has_a_config() -> None:
    assert {from_yaml(path).name for path in CONFIGS} == set(available())


def test_config_lists_every_field_and_builds_the_operator_again(operator: Operator) -> None:
    config = operator.config()
    assert build(**config) == operator
    written = yaml.safe_load(next(path for path in CONFIGS if path.stem == operator.name).read_text())
    assert set(written) - set(NO_FIELDS) == set(config)


def test_yaml_states_the_defaults(operator: Operator) -> None:
    assert build(operator.name) == operator


def test_fields_are_checked_without_the_operator(operator: Operator) -> None:
    """By the class that the operator inherits them from."""
    fields = check_config(operator.config() | {"mult_layers": []})
    assert type(fields) is FIELDS[operator.name]
    assert isinstance(operator, type(fields))
    assert fields.shareable == operator.shareable
    assert asdict(fields) | {"name": operator.name} == operator.config()


def test_an_operator_whose_fields_are_in_its_own_file_is_left_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(FIELDS, "add")
    assert check_config({"name": "add", "eta": -1}) is None


def test_unknown_operator_lists_the_options() -> None:
    with pytest.raises(UserError, match=r"^op=divide: .*options: add, mult, shift, shift_ps"):
        build("divide")


@pytest.mark.parametrize("name", ["quantize", "base", "__init__"])
def test_other_files_are_no_operators(name: str) -> None:
    with pytest.raises(UserError, match="no such operator"):
        build(name)


def test_unknown_key_lists_the_options() -> None:
    with pytest.raises(UserError, match=r"^op\.gain=3: operator add has no such key; options: eta, init_std"):
        build("add", gain=3)


def test_is_immutable(operator: Operator) -> None:
    with pytest.raises(AttributeError):
        operator.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (6, 1, 5, 5), (10, 7)])
def test_parameters(operator: Operator, shape: tuple[int, ...]) -> None:
    parameters = operator.init_parameters(shape)
    if operator.shareable:
        assert set(parameters) == {"weight"}
    for tensor in parameters.values():
        assert tensor.shape == shape
        assert tensor.dtype == torch.float32
        assert tensor.isfinite().all()
    assert operator.effective_weight(parameters).shape == shape


@conv_shapes
def test_conv2d_shape_and_batch_independence(
    operator: Operator, x_shape: tuple, w_shape: tuple, geometry: tuple
) -> None:
    x, weight = torch.randn(x_shape), operator.effective_weight(operator.init_parameters(w_shape))
    y = operator.conv2d(x, weight, *geometry)
    assert y.shape == F.conv2d(x, weight, None, *geometry).shape
    assert y.dtype == torch.float32
    assert y.isfinite().all()
    torch.testing.assert_close(y[:1], operator.conv2d(x[:1], weight, *geometry))


@conv_shapes
def test_every_parameter_and_the_input_get_a_gradient(
    operator: Operator, x_shape: tuple, w_shape: tuple, geometry: tuple
) -> None:
    x, parameters = torch.randn(x_shape, requires_grad=True), parameters_of(operator, w_shape)
    operator.conv2d(x, operator.effective_weight(parameters), *geometry).square().sum().backward()
    for tensor in (x, *parameters.values()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.any()


@conv_shapes
def test_linear_in_weight_means_a_convolution(
    operator: Operator, x_shape: tuple, w_shape: tuple, geometry: tuple
) -> None:
    x, weight = torch.randn(x_shape), operator.effective_weight(operator.init_parameters(w_shape))
    same = torch.allclose(operator.conv2d(x, weight, *geometry), F.conv2d(x, weight, None, *geometry), atol=1e-5)
    assert same == operator.linear_in_weight


@conv_shapes
@pytest.mark.parametrize("layout", ["channels_last", "transposed"])
def test_layout_of_the_input_does_not_matter(
    operator: Operator, x_shape: tuple, w_shape: tuple, geometry: tuple, layout: str
) -> None:
    x, weight = torch.randn(x_shape), operator.effective_weight(operator.init_parameters(w_shape))
    other = (
        x.contiguous(memory_format=torch.channels_last)
        if layout == "channels_last"
        else x.transpose(2, 3).contiguous().transpose(2, 3)
    )
    expected, actual = (operator.conv2d(t, weight, *geometry) for t in (x, other))
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_linear_equals_a_1x1_convolution(operator: Operator) -> None:
    x, weight = torch.randn(5, 7), operator.effective_weight(operator.init_parameters((4, 7)))
    expected = operator.conv2d(x[..., None, None], weight[..., None, None])[..., 0, 0]
    torch.testing.assert_close(operator.linear(x, weight), expected)
    batched = operator.linear(x.reshape(1, 5, 7), weight)
    torch.testing.assert_close(batched, expected[None])


def test_grouped_convolution_is_one_convolution_per_group(operator: Operator) -> None:
    x, weight = torch.randn(2, 6, 5, 5), operator.effective_weight(operator.init_parameters((4, 3, 3, 3)))
    parts = [operator.conv2d(a, b, padding=1) for a, b in zip(x.chunk(2, 1), weight.chunk(2, 0), strict=True)]
    torch.testing.assert_close(operator.conv2d(x, weight, padding=1, groups=2), torch.cat(parts, 1))


def test_filters_may_be_permuted(operator: Operator) -> None:
    x, weight = torch.randn(2, 3, 5, 5), operator.effective_weight(operator.init_parameters((6, 3, 3, 3)))
    order = torch.randperm(6)
    torch.testing.assert_close(operator.conv2d(x, weight[order]), operator.conv2d(x, weight)[:, order])


@conv_shapes
def test_nothing_given_is_written_to(operator: Operator, x_shape: tuple, w_shape: tuple, geometry: tuple) -> None:
    x, parameters = torch.randn(x_shape, requires_grad=True), parameters_of(operator, w_shape)
    given = {"x": x, **parameters}
    copies = {name: tensor.detach().clone() for name, tensor in given.items()}
    weight = operator.effective_weight(parameters)
    weight_copy = weight.detach().clone()
    operator.conv2d(x, weight, *geometry).sum().backward()
    for name, tensor in parameters.items():
        assert tensor.grad is not None
        gradient_copy = tensor.grad.clone()
        operator.rescale_gradient(tensor.grad)
        assert torch.equal(tensor.grad, gradient_copy), name
    assert torch.equal(weight, weight_copy)
    assert all(torch.equal(given[name], copies[name]) for name in given)


def test_state_dict_round_trip_gives_identical_outputs(operator: Operator, tmp_path: Path) -> None:
    x, shape = torch.randn(2, 3, 6, 6), (4, 3, 3, 3)
    saved = parameters_of(operator, shape)
    torch.save(saved.state_dict(), tmp_path / "layer.pt")
    loaded = parameters_of(operator, shape)
    loaded.load_state_dict(torch.load(tmp_path / "layer.pt", weights_only=True))
    again = build(**operator.config())
    expected, actual = (o.conv2d(x, o.effective_weight(p), padding=1) for o, p in ((operator, saved), (again, loaded)))
    assert torch.equal(actual, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_gives_finite_outputs_and_gradients(operator: Operator, dtype: torch.dtype) -> None:
    x, parameters = torch.randn(4, 32, 6, 6, requires_grad=True), parameters_of(operator, (8, 32, 3, 3))
    head = parameters_of(operator, (5, 8))
    with torch.autocast("cpu", dtype=dtype):
        y = F.batch_norm(
            operator.conv2d(x, operator.effective_weight(parameters), padding=1), None, None, training=True
        )
        logits = operator.linear(y.mean((2, 3)), operator.effective_weight(head))
    logits.float().sum().backward()
    assert logits.isfinite().all()
    for tensor in (x, *parameters.values(), *head.values()):
        assert tensor.grad is not None
        assert tensor.grad.dtype == torch.float32
        assert tensor.grad.isfinite().all()


def test_rescaled_gradient_is_finite_also_for_zeros(operator: Operator) -> None:
    for gradient in (torch.randn(3, 4), torch.zeros(3, 4)):
        rescaled = operator.rescale_gradient(gradient)
        assert rescaled.shape == gradient.shape
        assert rescaled.isfinite().all()
        assert bool(rescaled.any()) == bool(gradient.any())


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "geometry"),
    [
        ((2, 5, 6, 6), (4, 3, 3, 3), (1, 0, 1, 1)),
        ((2, 6, 6, 6), (4, 3, 3, 3), (1, 0, 1, 4)),
        ((2, 3, 2, 6), (4, 3, 3, 3), (1, 0, 1, 1)),
        ((2, 3, 6, 6), (4, 3, 3, 3), (0, 0, 1, 1)),
        ((2, 3, 6, 6), (4, 3, 3, 3), (1, -1, 1, 1)),
        ((2, 3, 6, 6), (4, 3, 3, 3), (1, 0, 0, 1)),
        ((2, 3, 6, 6), (4, 3, 9), (1, 0, 1, 1)),
    ],
)
def test_refuses_what_makes_no_convolution(operator: Operator, x_shape: tuple, w_shape: tuple, geometry: tuple) -> None:
    x = torch.randn(x_shape)
    with pytest.raises((ValueError, RuntimeError)):
        operator.conv2d(x, torch.randn(w_shape), *geometry)


def test_refuses_a_mix_of_dtypes(operator: Operator) -> None:
    with pytest.raises((ValueError, RuntimeError)):
        operator.conv2d(torch.randn(2, 3, 6, 6).double(), torch.randn(4, 3, 3, 3))


def test_linear_refuses_what_does_not_fit(operator: Operator) -> None:
    with pytest.raises((ValueError, RuntimeError)):
        operator.linear(torch.randn(2, 5), torch.randn(4, 6))
