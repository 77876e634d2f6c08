"""Data sets of images and masks in files: a folder of one's own, and those that many measure on."""

from shiftaddaug.data.mask_layouts import (
    Ade20kSettings,
    CamVidSettings,
    CityscapesSettings,
    MaskFolderSettings,
    OxfordPetSettings,
    Voc2012Settings,
)
from shiftaddaug.data.mask_settings import MaskFilesSettings
from shiftaddaug.data.masks import FileSamples, Samples
from shiftaddaug.data.segmentation import SegmentationDataModule, hold_out


class MaskFilesDataModule(SegmentationDataModule):
    """Images and masks in files, which its settings list."""

    settings: MaskFilesSettings

    def load(self) -> dict[str, Samples]:
        code, channels = self.settings.code(), self.settings.in_channels
        return {split: FileSamples(pairs, code, channels) for split, pairs in self.settings.pairs().items()}


class CamVidDataModule(MaskFilesDataModule):
    """CamVid in SegNet's split (arXiv 1511.00561): 367, 101 and 233 frames of driving, 11 classes."""

    settings: CamVidSettings


class MaskFolderDataModule(MaskFilesDataModule):
    """A folder of one's own. Where it says nothing of a test, images are kept for one by `split_seed`."""

    settings: MaskFolderSettings

    def load(self) -> dict[str, Samples]:
        found = super().load()
        if "test" not in found:
            hold_out(found, "test", self.settings.test_fraction, self.settings.split_seed)
        return found


class OxfordPetDataModule(MaskFilesDataModule):
    """Oxford-IIIT Pet (Parkhi et al., 2012): cats and dogs, their backgrounds, and the border between.

    With `num_classes: 2` and `ignore_index: 2` the border is not learned.
    """

    settings: OxfordPetSettings


class Voc2012DataModule(MaskFilesDataModule):
    """PASCAL VOC 2012 (Everingham et al.): 20 classes of objects, and the background; borders are not learned."""

    settings: Voc2012Settings


class CityscapesDataModule(MaskFilesDataModule):
    """Cityscapes (arXiv 1604.01685): streets, fine annotations, the 19 classes that its benchmark evaluates."""

    settings: CityscapesSettings


class Ade20kDataModule(MaskFilesDataModule):
    """ADE20K as of the scene parsing challenge of 2016 (arXiv 1608.05442): 150 classes."""

    settings: Ade20kSettings
