"""Our nets through timm's and smp's own doors."""

import logging
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from tests.build import NETS, images, read_yaml
from tests.nets.decoders import copy_decoder, plain
from torch import nn

import shiftaddaug.interop.timm_models  # noqa: F401
from shiftaddaug.errors import UserError
from shiftaddaug.interop.timm_models import TimmClassifier, TimmFeatures
from shiftaddaug.nets.extract import extract_target
from shiftaddaug.nets.tables import plan_net


def created(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return timm.create_model(f"shiftaddaug_{name}", **options)


def test_every_net_is_there() -> None:
    assert timm.list_models("shiftaddaug_*") == sorted(f"shiftaddaug_{net}" for net in NETS)


@pytest.mark.parametrize("op", ["mult", "shift", "add", "shift_ps"])
def test_a_classifier_is_the_target(op: str) -> None:
    net: TimmClassifier = created("mbv2_micro", op=op, num_classes=7, img_size=64).eval()
    x = images(2, size=64)
    assert net(x).shape == (2, net.num_classes) == (2, 7)
    assert torch.equal(net(x), extract_target(net.net).net(x))
    assert net.forward_features(x).shape == (2, net.num_features, 2, 2)
    assert net.net.plan == plan_net(read_yaml("net", "mbv2_micro"), 7, 3, 64)


@pytest.mark.parametrize("output_stride", [None, 16, 8])
@pytest.mark.parametrize("net", ["mcunet", "resnet18", "mbv3_w035"])
def test_feature_maps_have_the_strides_and_channels_that_are_told(net: str, output_stride: int | None) -> None:
    made: TimmFeatures = created(net, op="mult", features_only=True, output_stride=output_stride, img_size=64)
    maps = made(images(2, size=64))
    assert made.feature_info.reduction() == [min(2**i, output_stride or 32) for i in range(1, 6)]
    assert [tuple(x.shape[1:]) for x in maps] == [
        (channels, 64 // stride, 64 // stride)
        for channels, stride in zip(made.feature_info.channels(), made.feature_info.reduction(), strict=True)
    ]
    assert not any(name.startswith(("net.head", "net.classifier")) for name, _ in made.named_parameters())


def test_some_maps_alone() -> None:
    x = images(1, size=64)
    for indices, strides in (((1, 3), [4, 16]), (2, [16, 32]), ((-1,), [32])):
        made = created("mbv2_micro", features_only=True, out_indices=indices)
        assert made.feature_info.reduction() == strides
        assert [64 // y.shape[2] for y in made(x)] == strides


@pytest.mark.parametrize("model", [smp.Unet, smp.FPN, smp.DeepLabV3Plus, smp.Linknet])
def test_smp_decodes_them_and_trains_all_of_them(model: Any) -> None:
    torch.manual_seed(0)
    masks = model("tu-shiftaddaug_mbv2_micro", encoder_weights=None, classes=5, op="add")
    x = images(2, size=64)
    y = masks(x)
    assert y.shape == (2, 5, 64, 64)
    y.square().mean().backward()
    encoder: TimmFeatures = masks.encoder.model
    encoder.before_step()
    gradients = {name: p.grad for name, p in encoder.named_parameters()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
    expand = gradients["net.blocks.1.expand.conv.weight"]
    assert expand is not None
    torch.testing.assert_close(expand.norm(), torch.tensor(0.8 * expand.numel() ** 0.5))  # eta sqrt(k), AdderNet's
    encoder.after_step()


@pytest.mark.parametrize(
    ("arch", "model", "keys"),
    [
        ("unet", smp.Unet, {"decoder_channels": [16, 12, 8, 8, 4]}),
        ("deeplabv3plus", smp.DeepLabV3Plus, {"decoder_channels": 16, "decoder_atrous_rates": [1, 2, 3]}),
    ],
)
def test_our_network_of_masks_is_theirs_on_our_encoder(arch: str, model: Any, keys: dict[str, Any]) -> None:
    table, own = read_yaml("net", "mcunet"), {"decoder_highres_channels": 48} if arch == "deeplabv3plus" else {}
    table |= {"divisor": 4}
    net = plain(plan_net(table, 5, 3, 64, arch=read_yaml("arch", arch) | own | keys))
    theirs = model("tu-shiftaddaug_mcunet", encoder_weights=None, classes=5, op="mult", img_size=64, **keys).double()
    encoder = theirs.encoder.model.net
    encoder.load_state_dict({name: net.state_dict()[name] for name in encoder.state_dict()})
    copy_decoder(net, nn.ModuleList([theirs.decoder, theirs.segmentation_head]))
    x = images(2, size=(64, 96), dtype=torch.float64)
    wanted = theirs.eval()(x)
    assert (net.eval()(x) - wanted).abs().max() < 1e-9 * wanted.abs().max()


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("op", ["shift", "add", "shift_ps"])
def test_a_trace_computes_the_same(op: str) -> None:
    net = created("mbv2_micro", op=op, num_classes=5, img_size=32).eval()
    with torch.no_grad():
        traced = torch.jit.trace(net, images(1, size=(32, 32)))
        torch.testing.assert_close(traced(images(2, size=32)), net(images(2, size=32)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"out_indices": (0, 4)}, r"out_indices=\[0,4\]: shiftaddaug_resnet20 has 3 feature maps, at strides 1, 2, 4"),
        ({"out_indices": 4}, "out_indices=4: shiftaddaug_resnet20 has 3 feature maps"),
        ({"output_stride": 3}, "output_stride=3: net=resnet20 has feature maps at strides 1, 2 up to there"),
        ({"mult_layers": "stem"}, r"mult_layers=stem: must be a list .* such as \['stem'\]"),
    ],
)
def test_what_the_net_has_not_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        timm.create_model("shiftaddaug_resnet20", features_only=True, img_size=32, **keys)


def test_what_there_is_not_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        created("mbv2_micro", pretrained=True)
    assert "no pretrained weights: they are drawn" in caplog.text
    with pytest.raises(UserError, match="op=adder: no such operator; options: add, mult"):
        created("mbv2_micro", op="adder")
    with pytest.raises(UserError, match=r"op\.etta"):
        created("mbv2_micro", op="add", etta=1.0)
