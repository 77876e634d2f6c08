"""Decoders: what they compute is what smp's and torchvision's do; what they need is said."""

import re
from typing import Any

import pytest
import torch
from segmentation_models_pytorch.base import SegmentationHead
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder
from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from tests.build import NETS, images, names, plan_of, read_yaml
from tests.nets.decoders import ARCHS, CLASSES, ODD, SIZE, TABLE, arch_of, copy_decoder, plain, plan_with
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from torchvision.models.segmentation.lraspp import LRASPPHead

from shiftaddaug.errors import UserError
from shiftaddaug.nets import archs
from shiftaddaug.nets.assignment import select_layers
from shiftaddaug.nets.cost import layer_macs, total_macs
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.tables import plan_net

SMP: dict[str, dict[str, Any]] = {
    "unet": {},
    "fpn": {"decoder_segmentation_channels": 32},
    "deeplabv3plus": {"decoder_highres_channels": 48},
    "lraspp": {},
}
"""Keys that are no choice there: 32 groups of group-norms, 48 channels beside the pyramid."""

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((arch, {}) for arch in ARCHS),
    ("unet", {"decoder_interpolation": "bilinear"}),
    ("fpn", {"decoder_merge_policy": "cat", "decoder_interpolation": "bilinear"}),
    ("deeplabv3plus", {"decoder_aspp_separable": False}),
]


class Smp(nn.Module):
    """Decoder and head of smp."""

    def __init__(self, decoder: nn.Module, width: int, kernel: int, upsampling: int = 1) -> None:
        super().__init__()
        self.decoder, self.head = decoder, SegmentationHead(width, CLASSES, kernel, upsampling=upsampling)

    def forward(self, image: Tensor, levels: dict[int, Tensor]) -> Tensor:
        logits: Tensor = self.head(self.decoder([image, *levels.values()]))
        return logits


class Torchvision(nn.Module):
    """LRASPP after its backbone."""

    def __init__(self, low: int, high: int, inter: int) -> None:
        super().__init__()
        self.classifier = LRASPPHead(low, high, CLASSES, inter)

    def forward(self, image: Tensor, levels: dict[int, Tensor]) -> Tensor:
        logits = self.classifier({"low": levels[8], "high": levels[16]})
        return interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)


def theirs(arch: str, channels: list[int], keys: dict[str, Any]) -> nn.Module:
    """Their module of a configuration, given the channels of image and levels."""
    width = keys.get("decoder_channels")
    if arch == "unet":
        return Smp(UnetDecoder(channels, width, 5, interpolation_mode=keys["decoder_interpolation"]), width[-1], 3)
    if arch == "fpn":
        pyramid, policy, mode = (
            keys[f"decoder_{key}"] for key in ("pyramid_channels", "merge_policy", "interpolation")
        )
        decoder = FPNDecoder(channels, 5, pyramid, 32, 0.0, policy, mode)
        for parent in list(decoder.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.GroupNorm):
                    parent.add_module(name, nn.BatchNorm2d(child.num_channels))
        return Smp(decoder, decoder.out_channels, 1, upsampling=4)
    if arch == "deeplabv3plus":
        rates, separable = keys["decoder_atrous_rates"], keys["decoder_aspp_separable"]
        return Smp(DeepLabV3PlusDecoder(channels, 4, width, rates, 16, separable, 0.0), width, 1, upsampling=4)
    return Torchvision(channels[3], channels[4], keys["inter_channels"])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("arch", "keys"), VARIANTS)
def test_a_decoder_computes_what_theirs_does(arch: str, keys: dict[str, Any], training: bool) -> None:
    plan = plan_with(arch, **SMP[arch], **keys)
    net, channels = plain(plan).train(training), plan.channels()
    other = theirs(arch, [3, *(channels[level.space] for level in plan.levels)], arch_of(arch, **SMP[arch], **keys))
    copy_decoder(net, other.double().train(training))
    x = images(2, size=SIZE, dtype=torch.float64)
    names_of = [level.node for level in plan.levels]
    values = net.values(x, [*names_of, plan.outputs[0][1]])
    wanted = other(x, {level.stride: values[level.node] for level in plan.levels})
    logits = values[plan.outputs[0][1]]
    assert logits.shape == (2, CLASSES, *SIZE)
    assert (logits - wanted).abs().max() < 1e-9 * wanted.abs().max()
    if not training:
        torch.testing.assert_close(net(x), logits, rtol=0, atol=0)


@pytest.mark.parametrize("arch", ARCHS)
def test_an_image_that_strides_do_not_divide_is_padded_and_its_logits_cropped(arch: str) -> None:
    plan = plan_with(arch, ODD)
    coarsest = plan.total_stride
    whole = tuple(-(-side // coarsest) * coarsest for side in ODD)
    net, padded = plain(plan).eval(), plain(plan_with(arch, whole)).eval()
    padded.load_state_dict(net.state_dict())
    x = images(2, size=ODD, dtype=torch.float64)
    below, right = (side - was for side, was in zip(whole, ODD, strict=True))
    wanted = padded(pad(x, (0, right, 0, below)))[:, :, : ODD[0], : ODD[1]]
    assert below > 0 and right > 0
    assert net(x).shape == (2, CLASSES, *ODD)
    torch.testing.assert_close(net(x), wanted, rtol=0, atol=0)
    assert total_macs(plan) == total_macs(padded.plan)
    other = images(2, size=(52, 70), dtype=torch.float64)
    assert net(other).shape == (2, CLASSES, 52, 70)
    torch.testing.assert_close(padded(other), net(other), rtol=0, atol=0)


def test_a_decoder_has_a_group_and_its_logits_the_classifiers() -> None:
    for arch in ARCHS:
        plan = plan_with(arch)
        groups = dict.fromkeys(node.group for node in plan.layers())
        assert list(groups)[-2:] == ["decoder", "classifier"] or arch == "lraspp"
        assert {*groups} == {"stem", "blocks", "se", "decoder", "classifier"}
        heads = select_layers(plan, ["classifier"])
        assert heads and all(name.startswith("segmentation_head") for name in heads)
        units = list(plan.units())
        assert units == [*(u for u in units if u.startswith("blocks")), *(u for u in units if u.startswith("decoder"))]


def test_widths_are_scaled_as_the_tables_are() -> None:
    narrow = plan_net(TABLE | {"width_mult": 0.5}, CLASSES, 3, SIZE, arch=arch_of("unet"))
    wide = plan_with("unet")
    assert [narrow.channels()[f"decoder.blocks.{i}"] for i in range(5)] == [4, 4, 4, 2, 2]
    assert [wide.channels()[f"decoder.blocks.{i}"] for i in range(5)] == [8, 6, 6, 4, 4]
    assert narrow.num_classes == wide.num_classes == CLASSES


def test_a_classifier_is_what_networks_were_before_there_were_others() -> None:
    for net in NETS:
        table = read_yaml("net", net)
        assert plan_net(table, 7, 3, 64, arch=read_yaml("arch", "classifier")) == plan_of(net, side=64)


@pytest.mark.parametrize("net", ["mbv2_micro", "mcunet", "mbv3_w035", "resnet18"])
def test_every_arch_follows_nets_at_camvids_size(net: str) -> None:
    for arch in names("arch"):
        plan = plan_net(read_yaml("net", net), 12, 3, (180, 240), arch=read_yaml("arch", arch))
        assert (plan.num_classes, plan.image_size) == (12, (180, 240))
        dense = arch != "classifier"
        assert plan.by_name[plan.outputs[0][1]].size == ((180, 240) if dense else (1, 1))
        assert Plan.from_dict(plan.to_dict()) == plan


def test_deeplabs_encoder_is_dilated_and_its_decoder_is_not() -> None:
    plan = plan_with("deeplabv3plus")
    dilated = {node.name: node.dilation for node in plan.layers() if node.dilation > 1}
    rates = {f"decoder.aspp.convs.{i}.depthwise.conv": rate for i, rate in ((2, 2), (3, 3))}
    assert plan.total_stride == 16
    assert {name: rate for name, rate in dilated.items() if name.startswith("decoder")} == rates
    more = plan_with("deeplabv3plus", encoder_output_stride=8)
    blocks = [
        node.dilation for node in more.layers() if node.name.endswith("depthwise.conv") and node.unit == "blocks.6"
    ]
    assert (more.total_stride, blocks) == (8, [2])


class TestMistakes:
    @pytest.mark.parametrize(
        ("net", "arch", "message"),
        [
            (
                "mbv2_micro",
                {"name": "unet", "decoder_channels": [32, 24, 16, 12, 8]},
                "arch=unet: needs feature maps at strides 2, 4, 8, 16, 32, as arch.decoder_channels holds 5 widths; "
                "net=mbv2_micro has them at strides 1, 2, 4, 8, 16; options: arch.decoder_channels=[24,16,12,8], "
                "net.stem_stride=2, another net",
            ),
            (
                "resnet20",
                read_yaml("arch", "fpn"),
                "arch=fpn: needs feature maps at 4 strides; net=resnet20 has them at strides 1, 2, 4; options: "
                "another net",
            ),
            (
                "resnet20",
                read_yaml("arch", "lraspp"),
                "arch=lraspp: needs a feature map at stride 8 and a coarser one; net=resnet20 has them at strides 1, "
                "2, 4; options: another net",
            ),
            ("resnet20", {"name": "unett"}, "arch.name=unett: no such arch; options: classifier, deeplabv3plus, fpn"),
            ("resnet20", {"name": "unet"}, "arch.decoder_channels: is missing"),
            ("resnet20", {"name": "lraspp", "encoder_output_stride": 0, "inter_channels": 8}, "output_stride=0: must"),
            ("resnet20", {"name": "classifier", "decoder_channels": 8}, "arch.decoder_channels=8: no such key"),
        ],
    )
    def test_a_line_says_what_is_needed(self, net: str, arch: dict[str, Any], message: str) -> None:
        with pytest.raises(UserError, match=re.escape(message)):
            plan_net(read_yaml("net", net), 5, 3, 32, arch=arch)

    def test_net_and_arch_may_not_differ_in_the_output_stride(self) -> None:
        table = read_yaml("net", "mcunet") | {"output_stride": 8}
        with pytest.raises(UserError, match=r"net.output_stride=8: arch=lraspp has arch.encoder_output_stride=16"):
            plan_net(table, 5, 3, 64, arch=read_yaml("arch", "lraspp"))
        arch = read_yaml("arch", "lraspp") | {"encoder_output_stride": None}
        with pytest.raises(UserError, match="needs a feature map at stride 8 and a coarser one"):
            plan_net(table, 5, 3, 64, arch=arch)


def test_archs_say_whether_their_logits_are_of_pixels() -> None:
    assert archs.dense(True) == sorted(ARCHS)
    assert archs.dense(False) == ["classifier"]
    assert archs.available() == sorted(names("arch"))


def test_macs_of_a_head_are_of_every_pixel_it_computes() -> None:
    plan = plan_with("unet", ODD)
    assert layer_macs(plan, plan.by_name["segmentation_head"]) == 3 * 4 * 9 * 64 * 64
