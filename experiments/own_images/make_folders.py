"""Write folders of classes to try `experiment=own_images` on: `make_folders.py CIFAR DEST`.

CIFAR holds cifar-100-python/, as torchvision unpacks it. DEST gets cifar_20/, cifar_100/ and cifar_500/, with so many
training images of each of the first ten classes as PNG files, and digits/, scikit-learn's 1,797 digits at 32 px.
"""

import pickle
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

CLASSES, SIZES = 10, (20, 100, 500)


def write(folder: Path, name: str, number: int, image: Image.Image) -> None:
    """Save one image of a class."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    image.save(folder / name / f"{number:04d}.png")


def main(cifar: Path, dest: Path) -> None:
    """Write all four folders."""
    record = pickle.loads((cifar / "cifar-100-python" / "train").read_bytes())
    names = pickle.loads((cifar / "cifar-100-python" / "meta").read_bytes())["fine_label_names"]
    pixels, labels = record["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), np.array(record["fine_labels"])
    for size in SIZES:
        for label in range(CLASSES):
            for number, index in enumerate(np.flatnonzero(labels == label)[:size]):
                write(dest / f"cifar_{size}", names[label], number, Image.fromarray(pixels[index]))
    digits = load_digits()
    for number, (grey, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        image = Image.fromarray((grey / 16 * 255).round().astype(np.uint8))
        write(dest / "digits", str(label), number, image.resize((32, 32), Image.Resampling.BILINEAR))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
