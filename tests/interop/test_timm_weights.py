"""A network of ours computes what the timm model does whose weights it was given."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from shiftaddaug.errors import UserError
from shiftaddaug.interop.timm_models import _yaml
from shiftaddaug.interop.timm_weights import EQUAL, timm_network

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"
SIDE = 64


def table_of(net: str, width_mult: float) -> dict[str, object]:
    return _yaml("net", net, op={"mult_layers": []}) | {"width_mult": width_mult}


def trained(name: str, **options: int) -> nn.Module:
    """A model of timm's with statistics as training leaves them."""
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(name, **options).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return model


@pytest.mark.parametrize("name", EQUAL)
@torch.no_grad()
def test_it_computes_what_the_timm_model_does(name: str, tmp_path: Path) -> None:
    model = trained(name, num_classes=7)
    torch.save(model.state_dict(), tmp_path / "saved.pth")
    net = timm_network(str(tmp_path / "saved.pth"), table_of(*EQUAL[name]), (SIDE, SIDE))
    images = torch.randn(2, 3, SIDE, SIDE)
    wanted = model(images)
    assert (net(images) - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_the_order_of_safetensors_does_not_matter(tmp_path: Path) -> None:
    state = trained("mobilenetv2_035", num_classes=4, in_chans=1).state_dict()
    save_file(state, tmp_path / "saved.safetensors")
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "saved.pth.tar")
    nets = [
        timm_network(str(tmp_path / name), table_of("mbv2_w035", 0.35), (SIDE, SIDE)).state_dict()
        for name in ("saved.safetensors", "saved.pth.tar")
    ]
    assert nets[0]["classifier.weight"].shape == (4, 1280)
    assert all(torch.equal(value, nets[1][key]) for key, value in nets[0].items())


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("mobilenet_v2_035", "timm has no such model; options: mobilenetv2_035"),
        (
            "mobilenetv2_100",
            "stem.conv.weight is (32, 3, 3, 3) there, and (16, 3, 3, 3) here; options: timm:mobilenetv2",
        ),
        ("mcunet", "timm has no such model; options: mobilenetv2_035"),
        ("nowhere.pth", "no such file"),
        ("torn.pth", "not a readable state dict"),
        ("list.pth", "not a readable state dict (AttributeError"),
        ("numbers.pth", "not a readable state dict (ValueError: it holds other things than tensors)"),
        ("wide.pth", "stem.conv.weight is (32, 3, 3, 3) there, and (16, 3, 3, 3) here; options: timm:mobilenetv2_035"),
        ("resnet.pth", "has 41 layers and norms, and net=mbv2_w035 has 105; options: timm:mobilenetv2_035"),
        ("norm.pth", "holds no state dict of a timm model"),
        ("other.safetensors", "holds the tensors of none of timm's mobilenetv2_035"),
    ],
)
def test_other_weights_are_refused(source: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("torn.pth").write_bytes(b"PK")
    torch.save([torch.zeros(1)], "list.pth")
    torch.save({"epoch": 3, "lr": 0.1}, "numbers.pth")
    torch.save({"norm.weight": torch.zeros(3)}, "norm.pth")
    save_file({"a.weight": torch.zeros(3, 3)}, "other.safetensors")
    if source in ("wide.pth", "resnet.pth"):
        torch.save(timm.create_model("mobilenetv2_100" if source == "wide.pth" else "resnet18").state_dict(), source)
    with pytest.raises(UserError) as error:
        timm_network(source, table_of("mbv2_w035", 0.35), (SIDE, SIDE))
    assert str(error.value).startswith(reason)


def test_the_docs_list_the_same() -> None:
    rows = [line.split("|")[1:4] for line in DOCS.read_text().splitlines() if line.startswith("| `timm:")]
    cells = [[cell.strip(" `").removeprefix("timm:") for cell in row] for row in rows]
    assert {name: (net, float(width)) for name, net, width in cells} == EQUAL
