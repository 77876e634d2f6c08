"""Blocks by name: a new kind is a file, of the package or of a plugin, and a table that uses it; nothing else."""

from typing import Any

import pytest
from tests.build import images, make_supernet, widest

from shiftaddaug.catalogue import Catalogue, catalogue_of
from shiftaddaug.errors import UserError
from shiftaddaug.nets import blocks
from shiftaddaug.nets.extract import extract_target, max_difference
from shiftaddaug.nets.tables import plan_net

FORK = '''
"""Two branches, of kernels 1 and 3, and a concatenation."""

def write(writer, entry, value):
    name, options = entry.name, {"stride": entry.stride, "act": entry.act}
    half = entry.scaled(entry.values["channels"] / 2)
    narrow = writer.conv_norm_act(f"{name}.narrow", value, out=writer.space(f"{name}.narrow", half, "width"), **options)
    out = writer.space(f"{name}.wide", half, "width")
    wide = writer.conv_norm_act(f"{name}.wide", value, out=out, kernel=entry.kernel, **options)
    return writer.concat(f"{name}.concat", narrow, wide)
'''

TABLE: dict[str, Any] = {
    "name": "forked",
    "divisor": 2,
    "stem": {"channels": 4},
    "stages": [
        {"block": "fork", "channels": 8},
        {"block": "basic", "channels": 8, "stride": 2, "act": "relu"},
        {"block": "fork", "channels": 8, "depth": 2},
    ],
}


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """With a plugin that holds the fork."""
    plugin = tmp_path_factory.mktemp("blocks") / "fork_plugin"
    for folder in (plugin, plugin / "nets", plugin / "nets" / "blocks"):
        folder.mkdir()
        (folder / "__init__.py").touch()
    (plugin / "nets" / "blocks" / "fork.py").write_text(FORK)
    return catalogue_of([str(plugin)])


def test_every_file_of_the_folder_is_a_block() -> None:
    assert set(blocks.available()) >= {"basic", "depthwise_separable", "inverted_bottleneck"}
    assert all(callable(blocks.find(name)) for name in blocks.available())
    for name in ("no_such", None, ["basic"]):
        with pytest.raises(UserError, match=r"net\.stages: block=.*: no such block; options: .*basic, .*plugins=\["):
            blocks.find(name)


@pytest.mark.parametrize("op", ["mult", "shift", "add"])
def test_a_new_kind_of_block_trains_and_is_extracted(op: str, catalogue: Catalogue) -> None:
    assert set(blocks.available(catalogue)) == {*blocks.available(), "fork"}
    plan = plan_net(TABLE, 5, 3, 16, catalogue)
    assert plan.by_name["blocks.1.conv1.conv"].inputs == ("blocks.0.narrow.act", "blocks.0.wide.act")
    assert plan.by_name["classifier"].inputs == ("pool.0", "pool.1")
    widths = {"width_multipliers": (1.0, 2.0), "expand_multipliers": (1.0, 2.0), "divisor": 2}
    net, x = make_supernet(plan, op, ["stem"], **widths), images(4)
    (net(x).square().sum() + net(x, widest(net)).square().sum()).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert max_difference(net, extract_target(net).net, x) == 0


def test_a_block_that_adds_to_a_concatenation_is_refused(catalogue: Catalogue) -> None:
    stages = [{"block": "fork", "channels": 8}, {"block": "basic", "channels": 8}]
    with pytest.raises(UserError, match=r"net=forked: no network can be built .*reads the concatenation"):
        plan_net(TABLE | {"stages": stages}, 5, 3, 16, catalogue)
