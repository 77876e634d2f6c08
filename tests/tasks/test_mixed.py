"""A net whose layers add, shift and multiply: one supernet, every mechanism, an exact target."""

import itertools
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from tests.build import bottlenecks
from tests.build import plan_of as make_plan
from tests.tasks.little import CLASSES, SIDE, classification, loader, make_batch, quiet_trainer
from torch import Tensor

from shiftaddaug import operators
from shiftaddaug.callbacks.block_variant import BlockVariant
from shiftaddaug.callbacks.depth import RetireDepth
from shiftaddaug.callbacks.operator_epochs import UpdateOperators
from shiftaddaug.callbacks.reorder import ReorderChannels
from shiftaddaug.callbacks.sampling import SampleSubnets
from shiftaddaug.callbacks.stored_scale import KeepStoredScale
from shiftaddaug.hybrid.remap import Remap
from shiftaddaug.hybrid.sharing import PLAIN, Heterogeneous, NetSharing
from shiftaddaug.nets.assignment import Assignment
from shiftaddaug.nets.build import build_supernet
from shiftaddaug.nets.cost import net_cost
from shiftaddaug.nets.extract import (
    extract_target,
    load_target,
    max_difference,
    save_target,
    unexpected_multiplications,
)
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.supernet import Supernet
from shiftaddaug.operators.base import Operator
from shiftaddaug.operators.proof import Use, why_it_multiplies
from shiftaddaug.tasks.training import Training

OPS = ("shift", "add", "mult")
EPOCHS, STEPS = 5, 4


def plan_of() -> Plan:
    return make_plan(bottlenecks(depth=3, se=True), CLASSES, 1, SIDE)


def mixed(plan: Plan) -> Assignment[Operator]:
    """Operators in turn; what no batch-norm follows, and the stem, multiply."""
    turns, mult = itertools.cycle(operators.build(name) for name in OPS), operators.build("mult")
    names = {layer.name: layer.group in ("stem", "se", "classifier") for layer in plan.layers()}
    return Assignment({name: mult if exempt else next(turns) for name, exempt in names.items()})


def make(sharing: NetSharing, extra_blocks: int = 1) -> Supernet:
    torch.manual_seed(0)
    plan = plan_of()
    return build_supernet(plan, mixed(plan), (1.0, 2.0), (1.0, 3.0), 2, extra_blocks, sharing=sharing)


def task_of(net: Supernet) -> Training:
    sgd = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
    return Training(net, classification(CLASSES), optimizer=sgd, distill_weight=0.5)


def mechanisms(blend: bool) -> list[pl.Callback]:
    return [
        BlockVariant(0.0, 0.8, blend=blend),
        RetireDepth(0.2, 0.8),
        SampleSubnets(0, width_until=0.6),
        KeepStoredScale(4.0),
        ReorderChannels(),
        UpdateOperators(),
    ]


@pytest.mark.parametrize(("sharing", "blend"), [(PLAIN, False), (Heterogeneous(), True)], ids=["stored", "through R"])
def test_it_trains_with_every_mechanism_and_deploys_exactly(sharing: NetSharing, blend: bool, tmp_path: Path) -> None:
    net = make(sharing)
    before = {name: layer.weight.detach().clone() for name, layer in net.hybrid_layers().items()}
    trainer = quiet_trainer(max_epochs=EPOCHS, callbacks=mechanisms(blend))
    trainer.fit(task_of(net), loader([make_batch(seed, 8) for seed in range(STEPS)]))
    for name, layer in net.hybrid_layers().items():
        assert not torch.equal(layer.weight, before[name]), name
        assert layer.weight.isfinite().all(), name
    target = extract_target(net)
    assert unexpected_multiplications(target) == {}
    save_target(target, tmp_path)
    loaded = load_target(tmp_path)
    assert loaded.assignment == net.assignment
    assert max_difference(net, loaded.net, make_batch(9, 16)[0]) == 0


def test_each_operator_reads_the_shared_weight_in_its_own_way() -> None:
    net = make(Heterogeneous())
    state = extract_target(net).net.state_dict()
    for name, operator in net.assignment.layers.items():
        layer = net.hybrid_layers()[name]
        stored = layer.target_parameters()["weight"].detach()
        read = stored if operator.remap is None else Remap(**operator.remap.config())(stored)
        wanted = operator.effective_weight({"weight": read})
        torch.testing.assert_close(state[f"{name}.weight"], wanted, rtol=1e-5, atol=1e-6, msg=name)


def test_each_operator_publishes_its_own_update() -> None:
    net = make(PLAIN, extra_blocks=0)
    images, labels = make_batch(0, 8)
    torch.nn.functional.cross_entropy(net(images), labels).backward()
    received: dict[str, Tensor] = {}
    for name, layer in net.hybrid_layers().items():
        assert layer.weight.grad is not None
        received[name] = layer.weight.grad[: layer.target_shape[0], : layer.target_shape[1]].clone()
    net.rescale_gradients()
    for name, layer in net.hybrid_layers().items():
        gradient = layer.weight.grad
        assert gradient is not None
        target = gradient[: layer.target_shape[0], : layer.target_shape[1]]
        if layer.operator.name == "add":
            assert target.square().mean().sqrt().item() == pytest.approx(layer.operator.eta, rel=1e-5)  # type: ignore[attr-defined]
        else:
            assert torch.equal(target, received[name]), name


def test_its_cost_counts_every_operation() -> None:
    plan = plan_of()
    assignment = mixed(plan)
    cost = net_cost(plan, assignment)
    shares = {op: net_cost(plan, Assignment(dict.fromkeys(assignment, operators.build(op)))).macs for op in OPS}
    assert set(shares.values()) == {cost.macs}
    by_operator = dict.fromkeys(OPS, 0)
    for name in assignment:
        alone = {n: operators.build("shift" if n == name else "mult") for n in assignment}
        by_operator[assignment[name].name] += net_cost(plan, Assignment(alone)).operations["shift"]
    assert cost.operations["mult"] == by_operator["mult"]
    assert cost.operations["shift"] == by_operator["shift"]
    assert cost.operations["add"] == cost.macs + by_operator["add"]
    assert cost.multiplication_free_macs == by_operator["shift"] + by_operator["add"]


def test_every_layer_is_proven_by_its_own_operator() -> None:
    target = extract_target(make(Heterogeneous()))
    for layer in target.net.plan.layers():
        tensors = {"weight": target.net.state_dict()[f"{layer.name}.weight"]}
        groups = tensors["weight"].shape[0] if layer.depthwise else 1
        reason = why_it_multiplies(target.assignment[layer.name], tensors, Use(groups=groups))
        assert (reason is None) == (target.assignment[layer.name].name != "mult")
