"""The plan of the network that net, arch, data and task of a configuration describe. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from shiftaddaug.catalogue import Catalogue
from shiftaddaug.data.checks import settings_of
from shiftaddaug.data.settings import ClassesSettings
from shiftaddaug.errors import DAMAGE, UserError
from shiftaddaug.nets import archs
from shiftaddaug.nets.arch import ArchSettings
from shiftaddaug.nets.plan import Plan
from shiftaddaug.nets.sizes import shown_size
from shiftaddaug.nets.tables import plan_net
from shiftaddaug.tasks.settings import TaskSettings


def target_plan(config: Mapping[str, Any], arch: ArchSettings, task: TaskSettings, catalogue: Catalogue) -> Plan:
    """Return the plan of the target network; its data need not be there.

    Args:
        config: of a run, as plain containers, its groups checked.
        arch: its architecture.
        task: its task.
        catalogue: of the package and the plugins in use.

    Raises:
        UserError: outputs that the task does not want; data that do not say how many; as `plan_net`.
    """
    if task.dense is not None and task.dense != arch.dense:
        gives, wants = (f"outputs of each {'pixel' if dense else 'image'}" for dense in (arch.dense, task.dense))
        options = ", ".join(archs.dense(task.dense, catalogue))
        raise UserError(
            f"arch={arch.name}: gives {gives}, and task={task.name} wants {wants}; options: {options}, or other data"
        )
    data = config["data"]
    images = data["in_channels"], data["image_size"]
    return plan_net(config["net"], outputs_of(data, task), *images, catalogue, config["arch"])


def check_batch(config: Mapping[str, Any], arch: ArchSettings, plan: Plan) -> None:
    """Refuse batches that leave a batch-norm less than two values of each channel.

    Raises:
        UserError: naming the norm, or the size of the images.
    """
    trainer, diagnostics = config["trainer"], config["callbacks"].get("diagnostics") or {}
    synchronised = trainer.get("sync_batchnorm") and trainer.get("devices") != 1
    alone = config["data"]["batch_size"] == 1 and not synchronised
    if alone and max(plan.image_size) <= plan.total_stride:
        raise UserError(
            f"data.batch_size=1: leaves batch-norm one value of each channel, for net={plan.name} makes one pixel of "
            f"data.image_size={shown_size(plan.image_size)}; options: a larger batch, or larger images"
        )
    pooled = [node for node in plan.nodes if node.kind == "norm" and node.size == (1, 1)]
    reads_norm = config["net"].get("classifier_norm") and "classifier_norm" not in arch.without_effect
    other = "net.classifier_norm=false" if reads_norm else f"another arch than {arch.name}"
    why = "leaves the batch-norm {}, of pooled values, one value of each channel; options:"
    if alone and pooled:
        raise UserError(f"data.batch_size=1: {why.format(pooled[0].name)} a larger batch, or {other}")
    blocks = [node for node in pooled if node.unit]
    if blocks and diagnostics.get("images") == 1:
        raise UserError(f"callbacks.diagnostics.images=1: {why.format(blocks[0].name)} 2 and more, or {other}")


def norm_of_one_pixel(plan: Plan) -> str | None:
    """Return the first batch-norm that an image has one value of each channel for; None if there is none."""
    return next((node.name for node in plan.nodes if node.kind == "norm" and node.size == (1, 1)), None)


def outputs_of(config: Mapping[str, Any], task: TaskSettings) -> int:
    """Return how many channels a network of these data and this task ends in.

    Raises:
        UserError: the data do not say what the task reads.
    """
    data = dict(config)
    if data.get("num_classes", 0) is None:
        data["num_classes"] = _held_classes(data)
    try:
        outputs = task.outputs(data)
        if isinstance(outputs, bool) or not isinstance(outputs, int) or outputs < 1:
            raise ValueError(f"it says {outputs}")
        return outputs
    except KeyError as error:
        raise UserError(
            f"data={data['name']}: has no {error.args[0]}, which task={task.name} reads; options: other data, or that "
            "task for which these are made"
        ) from error
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"data={data['name']}: task={task.name} cannot tell the number of outputs ({reason})"
        ) from error


def _held_classes(data: Mapping[str, Any]) -> int:
    """Return the number of classes that the configuration leaves open."""
    settings = settings_of(data)
    if not isinstance(settings, ClassesSettings):
        raise UserError(
            f"data.num_classes=null: data={data['name']} does not say it beforehand; must be a whole number"
        )
    return settings.classes()
