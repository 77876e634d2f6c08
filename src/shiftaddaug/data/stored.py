"""A data module from what a checkpoint or a target says of its data, without executing anything that it names."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shiftaddaug.catalogue import Catalogue
from shiftaddaug.errors import DAMAGE, UserError

if TYPE_CHECKING:
    from shiftaddaug.data.base import ClassificationDataModule


def data_module_of(stored: Mapping[str, Any], catalogue: Catalogue) -> "ClassificationDataModule":
    """The data module that `stored["_target_"]` names, built from the other values as they are.

    Nothing is instantiated or resolved: a value that looks like a node of Hydra's (`_target_`) or like an interpolation
    is a dictionary or a string to the data module, which refuses it.

    Raises:
        UserError: no data module of the package or of a plugin, or values that it refuses.
    """
    from lightning import LightningDataModule

    target = stored.get("_target_")
    data_class = catalogue.load("data", target if isinstance(target, str) else "", LightningDataModule)
    try:
        module: ClassificationDataModule = data_class(**{key: stored[key] for key in stored if key != "_target_"})
    except UserError:
        raise
    except DAMAGE as error:
        raise UserError(f"data, as stored: {' '.join(str(error).split())[:200]}") from error
    return module
