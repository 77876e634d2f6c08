"""What `net.init_from` and `net.freeze_encoder` mean, from the path that is typed to the deployed target."""

import logging
from pathlib import Path

import pytest
import timm
import torch

from shiftaddaug.errors import UserError
from shiftaddaug.nets.extract import load_target
from shiftaddaug.nets.init_from import encoder_parameters
from shiftaddaug.runs.init_from import begin_from, source_of
from shiftaddaug.runs.settings import read_settings
from tests.build import make_supernet
from tests.commands.running import composed, run_little

STAGES = "[{block: inverted_bottleneck, channels: 8, expand: 2, stride: 2, depth: 1}]"
NET = (f"net.stages={STAGES}", "net.stem_stride=2", "op=shift", "optim.warmup_epochs=0")
MASKS = (*NET, "data=shapes", "arch.decoder_channels=[8,8]", "data.image_size=[24,32]", "data.train_images=16")
SHORT = ("trainer.max_epochs=1", "aug=none")


@pytest.fixture(scope="module")
def classified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on grey digits."""
    folder = tmp_path_factory.mktemp("runs") / "classified"
    run_little(folder, *NET, *SHORT, "data=digits")
    return folder


def encoder(folder: Path) -> dict[str, torch.Tensor]:
    state = load_target(folder / "target").net.state_dict()
    return {name: value for name, value in state.items() if name.startswith("blocks")}


@pytest.mark.parametrize("source", ["", "target", "checkpoints/last.ckpt"])
def test_a_frozen_encoder_is_deployed_as_it_was_loaded(source: str, classified: Path, tmp_path: Path) -> None:
    given = (*MASKS, *SHORT, f"net.init_from={classified / source}", "net.freeze_encoder=true", "bn=recalibrated")
    run_little(tmp_path / "run", *given)
    theirs, ours = encoder(classified), encoder(tmp_path / "run")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_resumed_run_needs_its_source_no_more(tmp_path: Path) -> None:
    given = (*MASKS, *SHORT, "net.init_from=/no/where", "net.freeze_encoder=true")
    settings = read_settings(composed(tmp_path / "run", *given, f"ckpt_path={tmp_path / 'last.ckpt'}"))
    net = make_supernet(settings.plan, "shift")
    begin_from(net, settings.config, settings.catalogue, resumed=True)
    frozen = {name for name, parameter in net.named_parameters() if not parameter.requires_grad}
    assert frozen == encoder_parameters(net) != set()


def test_another_operator_is_refused_before_training(classified: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        run_little(tmp_path / "run", *MASKS, *SHORT, "op=add", f"net.init_from={classified}")
    assert "blocks.0.expand.conv computes with op=shift, and here with op=add; options: " in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("nowhere", "no such file"),
        ("weights.pt", "is no .ckpt file"),
        ("empty", "holds neither checkpoints nor a target"),
        ("broken", "not a readable target"),
        ("torn.ckpt", "not a readable checkpoint"),
    ],
)
def test_what_is_no_source_is_refused(named: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").touch()
    (tmp_path / "torn.ckpt").write_bytes(b"PK")
    for folder in ("empty", "broken"):
        (tmp_path / folder).mkdir()
    (tmp_path / "broken" / "architecture.json").write_text("{}")
    with pytest.raises(UserError) as error:
        run_little(tmp_path / "run", *MASKS, *SHORT, f"net.init_from={tmp_path / named}")
    assert str(error.value).startswith(f"net.init_from={tmp_path / named}: {reason}")
    assert str(error.value).count(str(tmp_path)) == 1


def test_the_best_checkpoint_stands_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in ("last.ckpt", "best.ckpt"):
        (tmp_path / "checkpoints" / name).touch()
        assert source_of(str(tmp_path)).name == name


@pytest.mark.parametrize("mechanism", ["reorder=l1", "block_variant=layer"])
def test_what_would_change_a_frozen_encoder_is_refused(mechanism: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^net\.freeze_encoder=true: (reorder moves|block_variant turns)"):
        read_settings(composed(tmp_path / "run", mechanism, "net.freeze_encoder=true"))


def test_warnings(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    typed = ["net.freeze_encoder=true", "optim.encoder_lr_mult=0.1"]
    with caplog.at_level(logging.WARNING):
        read_settings(composed(tmp_path / "run", *typed), typed)
    assert "net.init_from=null, so that the encoder stays as it was drawn at random" in caplog.text
    assert "no effect, because net.freeze_encoder=true trains nothing of it: optim.encoder_lr_mult=0.1" in caplog.text


TIMM_NET = ("net=mbv2_w035", "net.width_mult=0.35", "data=digits", "optim.warmup_epochs=0", *SHORT)


@pytest.mark.parametrize("op", ["shift", "add"])
def test_a_state_dict_of_timm_is_the_beginning(op: str, tmp_path: Path) -> None:
    model = timm.create_model("mobilenetv2_035", num_classes=5, in_chans=1)
    torch.save(model.state_dict(), tmp_path / "saved.pth")
    given = (f"op={op}", f"net.init_from=timm:{tmp_path / 'saved.pth'}", "net.freeze_encoder=true")
    run_little(tmp_path / "run", *TIMM_NET, *given)
    net = load_target(tmp_path / "run" / "target").net
    theirs = model.blocks[1][0].bn2.weight
    assert torch.equal(net.state_dict()["blocks.1.depthwise.norm.weight"], theirs)
    assert net.state_dict()["classifier.weight"].shape[0] == 10


def test_files_of_timm_are_looked_for_before_torch(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^net.init_from=timm:/no/where\.pth: no such file"):
        read_settings(composed(tmp_path / "run", "net.init_from=timm:/no/where.pth"))
