"""The supernet's invariants, for every net, operator and augmentation."""

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.build import (
    AUGS,
    KINDS,
    NETS,
    OPS,
    REMAPS,
    SHAREABLE,
    SIDE,
    assert_same_state,
    images,
    make_supernet,
    narrowed,
    unsettled,
    widest,
)

from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.remap import Remap
from shiftaddaug.hybrid.sharing import Sharing
from shiftaddaug.nets.build import assign, build_plain
from shiftaddaug.nets.cost import net_cost
from shiftaddaug.nets.extract import extract_target, load_target, max_difference, save_target
from shiftaddaug.nets.net import Net
from shiftaddaug.nets.plain import plain_factory
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.operators.mult.operator import Mult


def make(net: str, op: str, aug: str = "none") -> Supernet:
    return unsettled(make_supernet(net, op, **AUGS[aug]))


COMBINATIONS = [(net, op, "width_expand" if op in SHAREABLE else "none") for net in NETS for op in OPS]
COMBINATIONS += [("mbv3_w035", op, aug) for op in SHAREABLE for aug in ("width", "expand")]


@pytest.mark.parametrize(("net", "op", "aug"), COMBINATIONS)
def test_extracted_target_equals_the_supernets_target(net: str, op: str, aug: str) -> None:
    """Every net with every operator; `aug=none` is in the tests below."""
    supernet = unsettled(make_supernet(narrowed(net), op, **AUGS[aug]))
    target = extract_target(supernet)
    assert max_difference(supernet, target.net, images()) == 0
    assert supernet.training  # max_difference left it as it was
    assert not any(isinstance(module, Supernet) for module in target.net.modules())
    cost = net_cost(supernet.plan, supernet.assignment)
    assert sum(p.numel() for p in target.net.parameters()) == cost.params


@pytest.mark.parametrize("net", KINDS)
@pytest.mark.parametrize("op", ["mult", "add"])
def test_target_evaluation_forgets_augmented_passes(net: str, op: str) -> None:
    supernet = make(net, op, "width_expand")
    supernet.eval()
    before = supernet(images())
    supernet.train()
    for step in range(2):
        supernet(images(seed=step + 5), supernet.widening.sample(random.Random(step)))
    supernet.eval()
    assert torch.equal(supernet(images()), before)


@pytest.mark.parametrize("net", KINDS)
@pytest.mark.parametrize("op", ["mult", "shift", "add"])
def test_aug_none_is_the_plain_network_in_training_too(net: str, op: str) -> None:
    """Same outputs, bit for bit, and the same gradients and batch-norm statistics."""
    supernet = make(net, op)
    assert net_cost(supernet.plan, supernet.assignment).params == sum(p.numel() for p in supernet.parameters())
    plain = extract_target(supernet).net
    y, wanted = supernet(images()), plain.train()(images())
    assert torch.equal(y, wanted)
    y.square().sum().backward()
    wanted.square().sum().backward()
    ours, theirs = dict(supernet.named_parameters()), dict(plain.named_parameters())
    assert ours.keys() == theirs.keys()
    for name, parameter in ours.items():
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, theirs[name].grad), name  # type: ignore[arg-type]
    buffers = dict(plain.named_buffers())
    assert all(torch.equal(value, buffers[name]) for name, value in supernet.named_buffers())


@pytest.mark.parametrize("net", KINDS)
@pytest.mark.parametrize("op", ["mult", "shift", "add"])
def test_every_parameter_gets_a_finite_gradient(net: str, op: str) -> None:
    supernet = make(net, op, "width_expand")
    (supernet(images()).square().sum() + supernet(images(), widest(supernet)).square().sum()).backward()
    for name, parameter in supernet.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("net", KINDS)
def test_one_seed_one_target_whatever_the_augmentation(net: str) -> None:
    alone, *augmented = (extract_target(make_supernet(net, "add", **AUGS[aug])).net for aug in AUGS)
    for target in augmented:
        assert_same_state(target, alone)


def test_a_widened_multiplicative_net_at_its_widest_is_the_wide_net() -> None:
    """With op=mult a sub-network is an ordinary network of its widths."""
    net = make_supernet("mcunet", width_multipliers=(1.0, 2.0), expand_multipliers=(1.0, 3.0))
    channels = zip(net.plan.spaces, net.widening.max_channels(), strict=True)
    plan = replace(net.plan, spaces=tuple(replace(space, channels=count) for space, count in channels))
    wide = build_plain(plan, assign(plan, Mult()))
    state = {name: value for name, value in net.state_dict().items() if "running" not in name}
    wide.load_state_dict(state, strict=False)
    torch.testing.assert_close(net(images(), widest(net)), wide.train()(images()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("aug", ["width", "expand", "width_expand"])
def test_unshareable_operator_is_refused(aug: str) -> None:
    with pytest.raises(UserError, match=r"op=shift_ps: .* cannot be augmented; options: aug=none"):
        make("mbv2_micro", "shift_ps", aug)


def test_spec_can_make_layers_multiply() -> None:
    supernet = make("mbv2_micro", "shift")
    everything = frozenset(layer.name for layer in supernet.plan.layers())
    spec = replace(supernet.target_spec, multiplied=everything)
    plain = Net(supernet.plan, plain_factory(supernet.plan, assign(supernet.plan, Mult())))
    plain.load_state_dict(supernet.state_dict())
    supernet.eval()
    assert torch.equal(supernet(images(), spec), plain.eval()(images()))
    assert not torch.equal(supernet(images()), plain(images()))


@pytest.mark.parametrize("net", KINDS)
def test_levels_halve(net: str) -> None:
    supernet = make(net, "mult")
    target = extract_target(supernet).net
    supernet.eval()
    maps, theirs = supernet.levels(images()), target.levels(images())
    assert {stride: m.shape[-1] for stride, m in maps.items()} == {2**i: SIDE // 2**i for i in range(len(maps))}
    assert list(maps)[-1] == supernet.plan.total_stride
    assert maps.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[stride]) for stride, value in maps.items())


class TestSavedTarget:
    @pytest.mark.parametrize("op", OPS)
    def test_round_trip(self, tmp_path: Path, op: str) -> None:
        supernet = make("mbv3_w035", op)
        target = extract_target(supernet, {"data": {"name": "x"}})
        save_target(target, tmp_path)
        loaded = load_target(tmp_path)
        assert max_difference(supernet, loaded.net, images()) == 0
        assert (loaded.assignment, loaded.config) == (target.assignment, {"data": {"name": "x"}})

    def test_never_overwrites(self, tmp_path: Path) -> None:
        supernet = make("mbv2_micro", "mult")
        target = extract_target(supernet)
        save_target(target, tmp_path)
        with pytest.raises(FileExistsError):
            save_target(target, tmp_path)

    @pytest.mark.parametrize("damage", ["truncate", "garbage", "missing", "other_net", "json"])
    def test_damage_is_one_line(self, tmp_path: Path, damage: str) -> None:
        supernet = make("mbv2_micro", "mult")
        save_target(extract_target(supernet), tmp_path)
        weights = tmp_path / "model.safetensors"
        if damage == "truncate":
            weights.write_bytes(weights.read_bytes()[:1000])
        elif damage == "garbage":
            weights.write_bytes(b"garbage")
        elif damage == "missing":
            weights.unlink()
        elif damage == "json":
            (tmp_path / "architecture.json").write_text("{")
        else:
            other = make("resnet20", "mult")
            (tmp_path / "other").mkdir()
            save_target(extract_target(other), tmp_path / "other")
            (tmp_path / "other" / "model.safetensors").replace(weights)
        with pytest.raises(UserError, match=r"^ckpt_path=.*") as caught:
            load_target(tmp_path)
        assert "\n" not in str(caught.value)


class TestReadingOnce:
    """Operator weights, read once for all passes of a step."""

    @pytest.mark.parametrize(("op", "net"), [("add", "mbv3_w035"), ("shift", "resnet20")])
    def test_shared_by_passes_equals_read_by_each(self, op: str, net: str) -> None:
        """Losses, and all gradients, to the bit."""
        gradients = []
        for once in (True, False):
            made = make_supernet(net, op, sharing=Sharing(REMAPS[op]), **AUGS["expand"])
            weights = made.operator_weights() if once else None
            passes = [made(images(), spec, weights) for spec in (None, widest(made))]
            sum(y.square().sum() for y in passes).backward()  # type: ignore[union-attr]
            made.rescale_gradients()
            gradients.append([*passes, *(p.grad for p in made.parameters())])
        for ours, wanted in zip(*gradients, strict=True):
            assert torch.equal(ours, wanted)

    def test_a_pass_computes_with_what_it_is_given(self) -> None:
        made = make_supernet("mbv2_micro", "add", sharing=Sharing(REMAPS["add"]), **AUGS["expand"])
        weights = made.operator_weights()
        for spec in (None, widest(made)):
            plain = made(images(), spec)
            for name in list(weights)[::4]:
                assert not torch.equal(made(images(), spec, weights | {name: weights[name] + 1}), plain), name

    def test_layers_that_multiply_are_not_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made = make_supernet("mbv2_micro", "add", sharing=Sharing(REMAPS["add"]))
        names = frozenset(made.operator_weights())
        monkeypatch.setattr(Remap, "values", lambda *_: pytest.fail("was read"))
        made(images(), replace(made.target_spec, multiplied=names))

    def test_all_together_equal_layer_by_layer(self) -> None:
        """What the layers compute by themselves, and the updates they make of their gradients."""
        made = make_supernet("mbv3_w035", "add", sharing=Sharing(REMAPS["add"]), **AUGS["expand"])
        layers, weights = made.hybrid_layers(), made.operator_weights()
        assert weights.keys() == {name for name, layer in layers.items() if layer.operator.name == "add"}
        for name, weight in weights.items():
            torch.testing.assert_close(weight, layers[name].state()[1]["weight"], rtol=2e-6, atol=2e-5)
        made(images()).square().sum().backward()
        kept, turned = list(weights)[:2]
        before = {name: layers[name].weight.grad.clone() for name in (kept, turned)}  # type: ignore[union-attr]
        made.rescale_gradients(replace(made.target_spec, multiplied=frozenset({kept})))
        assert torch.equal(layers[kept].weight.grad, before[kept])  # type: ignore[arg-type]
        together = layers[turned].weight.grad.clone()  # type: ignore[union-attr]
        layers[turned].weight.grad = before[turned]
        layers[turned].rescale_gradients()
        torch.testing.assert_close(together, layers[turned].weight.grad, rtol=2e-6, atol=0)


@pytest.mark.parametrize("op", ["mult", "shift", "add"])
def test_the_target_may_start_as_part_of_the_widest_layers(op: str) -> None:
    """Kaiming-uniform weights reach 1 / sqrt(fan_in) of the shape they are drawn for; an adder's know no fan-in."""
    for as_widest in (False, True):
        supernet = make_supernet("mbv2_micro", op, width_multipliers=(1.0, 2.0), init_widest=as_widest)
        for name, layer in supernet.hybrid_layers().items():
            drawn, fan_in = (
                layer.target_weight(),
                math.prod((layer.full_shape if as_widest else layer.target_shape)[1:]),
            )
            if layer.operator.name == "add":
                assert drawn.std() > 4, name
            else:
                assert 0.8 < drawn.abs().max() * math.sqrt(fan_in) <= 1 + 1e-6, name
