"""The data sets themselves, as NumPy arrays split for training and testing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from .fetching import MNIST_FILES, cache_folder, is_present
from .idx import read_idx

Array = npt.NDArray[Any]
FOLD = 5  # every fifth image of a class is for testing


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled images, split for training and testing.

    Images are f32 in [0, 1], one a row: shape (count, features). Labels are i32 in [0, classes).
    """

    name: str
    image_shape: tuple[int, int]
    classes: int
    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array

    @property
    def features(self) -> int:
        """Pixels of an image."""
        return self.image_shape[0] * self.image_shape[1]


def digits() -> Dataset:
    """1,797 handwritten digits of 8 x 8 pixels, which travel with mlc: 1,442 for training, 355 for testing.

    They are the test set of E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository, 1998, https://doi.org/10.24432/C50P49, CC BY 4.0. The set is ordered by writer, so that of each class
    every fifth image in that order is for testing: the split is fixed, stratified, and has all writers on both sides.

    Example:
        >>> import mlc.data
        >>> mlc.data.digits().train_images.shape
        (1442, 64)
    """
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as file:
        pixels, labels = file["pixels"], file["labels"]
    images = pixels.astype(np.float32) / np.float32(16)
    place = np.zeros(len(labels), np.int64)  # of each image among those of its class
    for label in range(10):
        mine = labels == label
        place[mine] = np.arange(np.count_nonzero(mine))
    test = place % FOLD == FOLD - 1
    labels = labels.astype(np.int32)
    return Dataset("digits", (8, 8), 10, images[~test], labels[~test], images[test], labels[test])


def mnist() -> Dataset:
    """MNIST: 60,000 handwritten digits of 28 x 28 pixels for training and 10,000 for testing (LeCun, Cortes, Burges).

    Reads the files that ``mlc.data.fetch("mnist")`` or ``mlc data fetch mnist`` has brought into the cache folder.
    Raises DataError where they are missing or damaged.
    """
    folder = cache_folder("mnist")
    if not is_present("mnist"):
        raise DataError(
            f"mnist: the files are not in {folder}",
            hint="fetch them once with `mlc data fetch mnist`, or use mlc.data.mnist_or_digits()",
        )
    arrays = {name: read_idx(folder / name) for name in MNIST_FILES}
    parts = []
    for part, count in (("train", 60_000), ("t10k", 10_000)):
        images, labels = arrays[f"{part}-images-idx3-ubyte"], arrays[f"{part}-labels-idx1-ubyte"]
        if images.shape != (count, 28, 28) or labels.shape != (count,):
            raise DataError(f"mnist: {folder} holds images of {images.shape} and labels of {labels.shape} for {part!r}",
                            hint="fetch them again with `mlc data fetch mnist --force`")  # fmt: skip
        parts += [images.reshape(count, 784).astype(np.float32) / np.float32(255), labels.astype(np.int32)]
    return Dataset("mnist", (28, 28), 10, *parts)


def mnist_or_digits() -> Dataset:
    """MNIST where it has been fetched, else the digits that travel with mlc."""
    return mnist() if is_present("mnist") else digits()
