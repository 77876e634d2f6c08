"""A network that begins with another one's weights: what is taken, what begins anew, what is refused."""

from typing import Any

import pytest
import torch
from tests.build import REMAPS, bottlenecks, images, make_supernet, plan_of, read_yaml, unsettled
from torch import Tensor

from shiftaddaug.errors import UserError
from shiftaddaug.hybrid.sharing import Sharing
from shiftaddaug.hybrid.transfer import with_inputs
from shiftaddaug.nets.extract import extract_target
from shiftaddaug.nets.init_from import encoder_parameters, freeze_encoder, init_from, is_encoder
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.nets.tables import plan_net

WIDER = {"width_multipliers": (1.0, 2.0), "expand_multipliers": (1.0, 2.0), "divisor": 2}
TABLE = bottlenecks() | {"stem_stride": 2}


def classifier(op: str, channels: int = 3, **arguments: Any) -> Supernet:
    return unsettled(make_supernet(plan_of(TABLE, 5, channels), op, **arguments))


def decoder_plan(channels: int = 3) -> Plan:
    arch = read_yaml("arch", "unet") | {"decoder_channels": [4]}
    return plan_net(TABLE, 3, channels, (16, 24), arch=arch)


def encoder_end(net: Any, x: Tensor) -> Tensor:
    last = net.plan.levels[-1].node
    return net.eval().values(x, [last])[last]


@pytest.mark.parametrize("op", ["mult", "shift", "add", "shift_ps"])
def test_the_encoder_computes_what_it_did(op: str) -> None:
    source, net = classifier(op), make_supernet(decoder_plan(), op)
    loaded = init_from(net, source)
    x = images(size=(16, 24))
    assert torch.equal(encoder_end(net, x), encoder_end(source, x))
    assert {name.split(".")[0] for name in loaded.taken} == {"stem", "blocks"}
    assert {name.split(".")[0] for name in loaded.fresh} == {"decoder", "segmentation_head"}
    assert loaded.whole


@pytest.mark.parametrize("op", ["mult", "shift", "add"])
def test_from_a_target_s_folder_it_computes_the_same(op: str) -> None:
    source, net = classifier(op, **WIDER), make_supernet(decoder_plan(), op, **WIDER)
    plain = extract_target(source).net
    loaded = init_from(net, plain)
    x = images(size=(16, 24))
    assert torch.allclose(encoder_end(net, x), encoder_end(plain, x), rtol=1e-5, atol=1e-6)
    assert not loaded.whole


def test_what_surrounds_the_target_is_taken_where_it_is_as_wide() -> None:
    source, net = (
        classifier("shift", **WIDER, extra_blocks=1),
        make_supernet(decoder_plan(), "shift", **WIDER, extra_blocks=1),
    )
    assert init_from(net, source).whole
    taken = {name for name in encoder_parameters(net) if "extra" in name or "blocks" in name}
    ours, theirs = dict(net.named_parameters()), dict(source.named_parameters())
    assert taken
    assert all(torch.equal(ours[name], theirs[name]) for name in taken)
    assert not init_from(make_supernet(decoder_plan(), "shift", width_multipliers=(1.0, 3.0), divisor=2), source).whole


@pytest.mark.parametrize(("op", "sharing"), [("shift", "plain"), ("add", "plain"), ("shift", "R"), ("add", "R")])
def test_an_operator_begins_with_weights_that_multiplied(op: str, sharing: str) -> None:
    source = classifier("mult")
    more = {"sharing": Sharing(REMAPS[op])} if sharing == "R" else {}
    net = make_supernet(decoder_plan(), op, **more)
    init_from(net, source)
    layers, theirs = net.hybrid_layers(), source.hybrid_layers()
    for name in theirs:
        if name in layers:
            assert torch.equal(layers[name].target_weight(), theirs[name].target_weight())


def test_weights_stored_for_r_are_read_where_they_are_not() -> None:
    source = classifier("add", sharing=Sharing(REMAPS["add"]))
    net = make_supernet(decoder_plan(), "add")
    init_from(net, source)
    name = "blocks.0.expand.conv"
    wanted = source.hybrid_layers()[name].operator_weight()
    assert torch.allclose(net.hybrid_layers()[name].target_weight(), wanted, rtol=1e-5)
    assert not torch.allclose(wanted, source.hybrid_layers()[name].target_weight(), rtol=1e-2)


@pytest.mark.parametrize(
    ("source", "op", "more", "message"),
    [
        ("shift", "add", {}, "blocks.0.expand.conv computes with op=shift, and here with op=add"),
        ("mult", "shift_ps", {}, "blocks.0.expand.conv multiplies, and op=shift_ps trains shift, sign and no weight"),
        ("add", "add", {"sharing": Sharing(REMAPS["add"])}, "blocks.0.expand.conv stores op=add otherwise (its sh"),
    ],
)
def test_what_has_nothing_in_common_is_refused(source: str, op: str, more: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        init_from(make_supernet(decoder_plan(), op, **more), classifier(source))
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width_mult": 2.0}, "stem.conv has 4 channels there, and 8 here"),
        ({"stages": [TABLE["stages"][0] | {"depth": 3}]}, "blocks.2.expand.conv is not there"),
        ({"stages": [TABLE["stages"][0] | {"kernels": 5}]}, "blocks.0.depthwise.conv has kernel=3 there, and 5 here"),
    ],
)
def test_another_encoder_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        init_from(make_supernet(plan_of(TABLE | change, 5)), classifier("mult"))
    assert str(error.value) == message


def test_a_classifier_of_other_classes_begins_anew() -> None:
    source = classifier("mult")
    loaded = init_from(make_supernet(plan_of(TABLE, 9)), source)
    assert loaded.fresh == ("classifier",)
    assert "head.conv" in loaded.taken
    assert init_from(make_supernet(plan_of(TABLE, 5)), source).fresh == ()


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_an_image_of_other_channels_is_read_by_the_same_filters(channels: int) -> None:
    source, net = classifier("shift"), make_supernet(decoder_plan(channels), "shift")
    init_from(net, source)
    weight = source.hybrid_layers()["stem.conv"].target_weight()
    wanted = weight.sum(1, True) if channels == 1 else weight[:, torch.arange(channels) % 3] * (3 / channels)
    assert torch.equal(net.hybrid_layers()["stem.conv"].target_weight(), wanted)
    assert torch.equal(with_inputs(weight, 3), weight)


def test_an_operator_s_stem_is_not_adapted() -> None:
    source, net = classifier("add", kept=["classifier"]), make_supernet(decoder_plan(1), "add", kept=["classifier"])
    with pytest.raises(UserError, match=r"^stem\.conv reads 3 channels there, and 1 here, with op=add"):
        init_from(net, source)


def test_a_frozen_encoder_stays_as_it_is() -> None:
    net = unsettled(make_supernet(decoder_plan(), "shift", **WIDER, extra_blocks=1))
    freeze_encoder(net)
    frozen = encoder_parameters(net)
    assert {name.split(".")[0] for name in frozen} >= {"stem", "blocks"}
    assert not any(name.startswith(("decoder", "segmentation_head")) for name in frozen)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    spec = net.widening.uniform(2.0, 2.0)
    net.train()
    (net(images(size=(16, 24))).square().sum() + net(images(size=(16, 24)), spec).square().sum()).backward()
    assert {name for name, p in net.named_parameters() if p.grad is None} >= frozen
    encoder = {node.name for node in net.graph.nodes if is_encoder(node)}
    for name, value in net.state_dict().items():
        if name.rpartition(".")[0] in encoder:
            assert torch.equal(value, before[name]), name
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert any(name.startswith("decoder") and name.endswith("running_mean") for name in moved)
