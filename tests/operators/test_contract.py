"""What every operator of configs/op keeps to. A new yaml there is found and tested without a change here."""

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from tests.build import CONFIGS, OPS
from tests.operators.toy import write_plugin
from torch import Tensor, nn

from shiftaddaug.catalogue import PACKAGE_ONLY, Catalogue, catalogue_of
from shiftaddaug.errors import UserError
from shiftaddaug.operators import NO_FIELDS, available, build, from_config, settings_from
from shiftaddaug.operators.base import Operator
from shiftaddaug.operators.proof import Use, why_it_multiplies

YAMLS = [CONFIGS / "op" / f"{op}.yaml" for op in OPS]
TODAY = {"add", "mult", "shift", "shift_ps"}
TOY = "toy, a plugin's"
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
parametrization = ("x_shape", "w_shape", "geometry")
conv_shapes = pytest.mark.parametrize(parametrization, CONV_SHAPES.values(), ids=CONV_SHAPES.keys())
FEW = ("stride 2", "grouped", "depthwise")
few_shapes = pytest.mark.parametrize(parametrization, [CONV_SHAPES[name] for name in FEW], ids=FEW)
"""For what does not depend on the geometry."""


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plugin(tmp_path_factory.mktemp("plugin"))


@pytest.fixture(params=[*YAMLS, TOY], ids=lambda path: getattr(path, "stem", path))
def path(request: pytest.FixtureRequest, toy: Path) -> Path:
    """The yaml of each operator."""
    return toy / "configs/op/toy.yaml" if request.param == TOY else request.param


@pytest.fixture
def catalogue(path: Path) -> Catalogue:
    plugin = path.parents[2]
    return catalogue_of([str(plugin)]) if (plugin / "operators").is_dir() else PACKAGE_ONLY


@pytest.fixture
def operator(path: Path, catalogue: Catalogue) -> Operator:
    torch.manual_seed(0)
    return from_config(yaml.safe_load(path.read_text()), catalogue)


def tensors_of(operator: Operator, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Parameters that are trained, and buffers after a moment between epochs."""
    parameters = {name: nn.Parameter(value) for name, value in operator.init_parameters(shape).items()}
    tensors = {**parameters, **operator.init_buffers(shape)}
    with torch.no_grad():
        operator.between_epochs(tensors, 1)
    return tensors


def weight_of(operator: Operator, shape: tuple[int, ...]) -> Tensor:
    return operator.effective_weight(tensors_of(operator, shape)).detach()


def parameters_of(operator: Operator, shape: tuple[int, ...]) -> nn.ParameterDict:
    return nn.ParameterDict(operator.init_parameters(shape))


def test_no_operator_of_today_is_missing() -> None:
    """All tests here run over what is found: over nothing, they would pass."""
    assert set(OPS) == set(available()) >= TODAY


def test_config_names_its_file_and_its_command(path: Path, operator: Operator) -> None:
    assert path.read_text().splitlines()[0].startswith(f"# python src/train.py op={path.stem}")
    assert operator.name == path.stem


def test_config_lists_every_field_and_builds_the_operator_again(
    operator: Operator, path: Path, catalogue: Catalogue
) -> None:
    assert from_config(operator.config(), catalogue) == operator
    written = yaml.safe_load(path.read_text())
    assert set(written) - set(NO_FIELDS) == {field.name for field in dataclasses.fields(operator)}


def test_yaml_states_the_defaults(operator: Operator, catalogue: Catalogue) -> None:
    assert build(operator.name, catalogue=catalogue) == operator


def test_settings_are_read_without_the_operator(operator: Operator, catalogue: Catalogue) -> None:
    """By the class that the operator inherits them from."""
    settings = settings_from(operator.config() | {"mult_layers": []}, catalogue)
    assert isinstance(operator, type(settings))
    for name in ("shareable", "remap", "turns", "arithmetic", "replaced_by_remap", "without_effect"):
        assert getattr(settings, name) == getattr(operator, name)
    assert settings.config() == operator.config()
    assert settings.check_precision("32-true") is None
    assert settings.training_warning() is None  # by default
    fields = {field.name for field in dataclasses.fields(settings)}
    assert fields >= {*settings.replaced_by_remap, *settings.without_effect}


def test_settings_state_an_arithmetic(operator: Operator) -> None:
    arithmetic = operator.arithmetic
    assert arithmetic.operations
    assert 1 <= arithmetic.weight_bits <= 32 and 1 <= arithmetic.input_bits <= 32
    assert operator.multiplication_free == ("mult" not in arithmetic.operations) == (operator.name != "mult")


def test_unknown_operator_lists_the_options() -> None:
    with pytest.raises(UserError, match=r"^op=divide: .*options: add, .*mult, .*; .* needs plugins="):
        build("divide")


@pytest.mark.parametrize("name", ["quantize", "base", "__init__", "settings"])
def test_other_files_are_no_operators(name: str) -> None:
    with pytest.raises(UserError, match="no such operator"):
        build(name)


def test_unknown_key_lists_the_options() -> None:
    with pytest.raises(UserError, match=r"^op\.gain=3: operator add has no such key; options: .*eta, init_std"):
        build("add", gain=3)


def test_is_immutable(operator: Operator) -> None:
    with pytest.raises(AttributeError):
        operator.name = "other"  # type: ignore[misc]


SHAPES = [(4, 3, 3, 3), (6, 1, 5, 5), (10, 7)]


@pytest.mark.parametrize("shape", SHAPES)
def test_parameters(operator: Operator, shape: tuple[int, ...]) -> None:
    parameters = operator.init_parameters(shape)
    assert {name: tuple(value.shape) for name, value in parameters.items()} == operator.parameter_shapes(shape)
    assert ("weight" in parameters) == operator.shareable
    assert parameters.get("weight", torch.empty(shape)).shape == shape
    for tensor in parameters.values():
        assert tensor.dtype == torch.float32
        assert tensor.isfinite().all()
    assert not set(parameters) & set(operator.init_buffers(shape))
    assert set(operator.input_tensors) <= set(parameters) | set(operator.init_buffers(shape))
    assert weight_of(operator, shape).shape == shape


@pytest.mark.parametrize("shape", SHAPES)
def test_names_and_buffers_draw_nothing(operator: Operator, shape: tuple[int, ...]) -> None:
    before = torch.get_rng_state()
    operator.parameter_shapes(shape)
    operator.init_buffers(shape)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("shape", SHAPES)
def test_codes_decode_to_the_weight(operator: Operator, shape: tuple[int, ...]) -> None:
    weight = weight_of(operator, shape)
    codes = operator.codes(weight)
    if codes is None:
        assert operator.name in ("add", "mult")
        return
    assert torch.equal(codes.decode(), weight)
    packed = torch.stack([codes.signs.int(), torch.where(codes.signs == 0, 0, codes.exponents.int())])
    assert len(packed.flatten(1).unique(dim=1).T) <= 2**operator.arithmetic.weight_bits
    assert torch.equal(operator.codes(weight.double()).decode(), weight.double())  # type: ignore[union-attr]


@pytest.mark.parametrize("shape", SHAPES)
def test_what_says_that_it_multiplies_nothing_is_proven(operator: Operator, shape: tuple[int, ...]) -> None:
    groups = 6 if shape[1] == 1 else 1
    reason = why_it_multiplies(operator, {"weight": weight_of(operator, shape)}, Use(2, 1, 1, groups))
    assert (reason is None) == operator.multiplication_free, reason


@conv_shapes
def test_a_convolution_is_its_reference(operator: Operator, x_shape: tuple, w_shape: tuple, geometry: tuple) -> None:
    """In shape and value, image by image, in whatever layout, and linear in the weight or not as it says."""
    x, weight = torch.randn(x_shape), weight_of(operator, w_shape)
    y, convolution = operator.conv2d(x, weight, *geometry), F.conv2d(x, weight, None, *geometry)
    assert (y.shape, y.dtype) == (convolution.shape, torch.float32)
    wanted = operator.reference_conv2d(x.double(), weight.double(), *geometry)
    torch.testing.assert_close(y.double(), wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(y[:1], operator.conv2d(x[:1], weight, *geometry))
    transposed = x.transpose(2, 3).contiguous().transpose(2, 3)
    for other in (x.contiguous(memory_format=torch.channels_last), transposed):
        torch.testing.assert_close(operator.conv2d(other, weight, *geometry), y, rtol=1e-5, atol=1e-5)
    assert torch.allclose(y, convolution, atol=1e-5) == operator.linear_in_weight


def test_prepared_inputs_keep_their_shape(operator: Operator) -> None:
    x = torch.randn(2, 3, 5, 5)
    prepared = operator.prepare_input(x, tensors_of(operator, (4, 3, 3, 3)))
    assert (prepared.shape, prepared.dtype) == (x.shape, x.dtype)


@few_shapes
def test_every_parameter_and_the_input_get_a_gradient(
    operator: Operator, x_shape: tuple, w_shape: tuple, geometry: tuple
) -> None:
    x, tensors = torch.randn(x_shape, requires_grad=True), tensors_of(operator, w_shape)
    operator.conv2d(x, operator.effective_weight(tensors), *geometry).square().sum().backward()
    for tensor in (x, *(tensors[name] for name in operator.parameter_shapes(w_shape))):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.any()


def test_linear_equals_a_1x1_convolution(operator: Operator) -> None:
    x, weight = torch.randn(5, 7), weight_of(operator, (4, 7))
    expected = operator.conv2d(x[..., None, None], weight[..., None, None])[..., 0, 0]
    torch.testing.assert_close(operator.linear(x, weight), expected)
    batched = operator.linear(x.reshape(1, 5, 7), weight)
    torch.testing.assert_close(batched, expected[None])


def test_grouped_convolution_is_one_convolution_per_group(operator: Operator) -> None:
    x, weight = torch.randn(2, 6, 5, 5), weight_of(operator, (4, 3, 3, 3))
    parts = [operator.conv2d(a, b, padding=1) for a, b in zip(x.chunk(2, 1), weight.chunk(2, 0), strict=True)]
    torch.testing.assert_close(operator.conv2d(x, weight, padding=1, groups=2), torch.cat(parts, 1))


def test_filters_may_be_permuted(operator: Operator) -> None:
    x, weight = torch.randn(2, 3, 5, 5), weight_of(operator, (6, 3, 3, 3))
    order = torch.randperm(6)
    torch.testing.assert_close(operator.conv2d(x, weight[order]), operator.conv2d(x, weight)[:, order])


@few_shapes
def test_nothing_given_is_written_to(operator: Operator, x_shape: tuple, w_shape: tuple, geometry: tuple) -> None:
    x, parameters = torch.randn(x_shape, requires_grad=True), tensors_of(operator, w_shape)
    given = {"x": x, **parameters}
    copies = {name: tensor.detach().clone() for name, tensor in given.items()}
    weight = operator.effective_weight(parameters)
    weight_copy = weight.detach().clone()
    operator.conv2d(x, weight, *geometry).sum().backward()
    for name in operator.parameter_shapes(w_shape):
        tensor = parameters[name]
        assert tensor.grad is not None
        gradient_copy = tensor.grad.clone()
        operator.rescale_gradient(name, tensor.detach(), tensor.grad)
        assert torch.equal(tensor.grad, gradient_copy), name
    assert torch.equal(weight, weight_copy)
    assert all(torch.equal(given[name], copies[name]) for name in given)


def test_state_dict_round_trip_gives_identical_outputs(
    operator: Operator, catalogue: Catalogue, tmp_path: Path
) -> None:
    x, shape = torch.randn(2, 3, 6, 6), (4, 3, 3, 3)
    buffers = operator.init_buffers(shape)
    saved = parameters_of(operator, shape)
    torch.save(saved.state_dict(), tmp_path / "layer.pt")
    loaded = parameters_of(operator, shape)
    loaded.load_state_dict(torch.load(tmp_path / "layer.pt", weights_only=True))
    again = from_config(operator.config(), catalogue)
    both = ((operator, saved), (again, loaded))
    expected, actual = (o.conv2d(x, o.effective_weight({**p, **buffers}), padding=1) for o, p in both)
    assert torch.equal(actual, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_gives_finite_outputs_and_gradients(operator: Operator, dtype: torch.dtype) -> None:
    x, parameters = torch.randn(4, 32, 6, 6, requires_grad=True), tensors_of(operator, (8, 32, 3, 3))
    head = tensors_of(operator, (5, 8))
    with torch.autocast("cpu", dtype=dtype):
        y = F.batch_norm(
            operator.conv2d(x, operator.effective_weight(parameters), padding=1), None, None, training=True
        )
        logits = operator.linear(y.mean((2, 3)), operator.effective_weight(head))
    logits.float().sum().backward()
    assert logits.isfinite().all()
    for tensor in (x, *parameters.values(), *head.values()):
        if not tensor.requires_grad:
            continue
        assert tensor.grad is not None
        assert tensor.grad.dtype == torch.float32
        assert tensor.grad.isfinite().all()


def test_rescaled_gradient_is_finite_also_for_zeros(operator: Operator) -> None:
    for name, parameter in operator.init_parameters((3, 4)).items():
        for gradient in (torch.randn_like(parameter), torch.zeros_like(parameter)):
            rescaled = operator.rescale_gradient(name, parameter, gradient)
            assert rescaled.shape == gradient.shape
            assert rescaled.isfinite().all()
            assert bool(rescaled.any()) == bool(gradient.any())


def test_refuses_what_makes_no_convolution(operator: Operator) -> None:
    for x_shape, w_shape, geometry in (
        ((2, 5, 6, 6), (4, 3, 3, 3), (1, 0, 1, 1)),
        ((2, 6, 6, 6), (4, 3, 3, 3), (1, 0, 1, 4)),
        ((2, 3, 2, 6), (4, 3, 3, 3), (1, 0, 1, 1)),
        ((2, 3, 6, 6), (4, 3, 3, 3), (0, 0, 1, 1)),
        ((2, 3, 6, 6), (4, 3, 3, 3), (1, -1, 1, 1)),
        ((2, 3, 6, 6), (4, 3, 3, 3), (1, 0, 0, 1)),
        ((2, 3, 6, 6), (4, 3, 9), (1, 0, 1, 1)),
    ):
        with pytest.raises((ValueError, RuntimeError)):
            operator.conv2d(torch.randn(x_shape), torch.randn(w_shape), *geometry)


def test_refuses_a_mix_of_dtypes(operator: Operator) -> None:
    with pytest.raises((ValueError, RuntimeError)):
        operator.conv2d(torch.randn(2, 3, 6, 6).double(), torch.randn(4, 3, 3, 3))


def test_linear_refuses_what_does_not_fit(operator: Operator) -> None:
    with pytest.raises((ValueError, RuntimeError)):
        operator.linear(torch.randn(2, 5), torch.randn(4, 6))
