"""Labelled images to fit a mixture to, and which of their classes have which label."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gmmdyn import checks
from gmmdyn.errors import ArgumentError, DataError, RangeError, ShapeError
from gmmdyn_mixtures.idx import find_idx, read_idx

Images = np.ndarray[Any, Any]
Targets = npt.NDArray[np.int64]

SOURCES = ("digits", "mnist", "fashion-mnist")
# Where Debian's package dataset-fashion-mnist puts them.
_SYSTEM_FOLDERS = {"fashion-mnist": Path("/usr/share/datasets/fashion-mnist")}


def load_source(source: str, folder: str | None = None) -> tuple[Images, Targets]:
    """Load the training images of a known data set; nothing is downloaded.

    IDX files are looked for in `folder`; without it in the subfolder of $GMMDYN_DATA with
    the name of the source, then where the system's packages put them.

    Args:
        source: `"digits"` (8 by 8 pixels, comes with scikit-learn), `"mnist"` or
            `"fashion-mnist"` (28 by 28).
        folder: with IDX files.

    Returns:
        Images `(n, D)` and classes `(n,)`.

    Raises:
        RangeError: if the source is unknown.
        ArgumentError: if a folder is given for a source that has none.
        DataError: if the files are missing, corrupt or do not fit together.
    """
    checks.choice("source", source, SOURCES)
    if source == "digits":
        if folder is not None:
            raise ArgumentError(
                "`folder` is for sources in IDX files, but `digits` comes with scikit-learn; "
                "leave one of the two out."
            )
        from sklearn.datasets import load_digits  # a second to import, and only needed here

        images, targets = load_digits(return_X_y=True)
        return images, targets.astype(np.int64)
    place = _folder(source) if folder is None else Path(folder)
    image_path, target_path = find_idx(place, "train-images"), find_idx(place, "train-labels")
    images, targets = read_idx(image_path), read_idx(target_path)
    if images.ndim < 2 or targets.ndim != 1 or targets.dtype.kind not in "ui":
        raise DataError(
            f"`{image_path}` and `{target_path}` hold arrays of shapes {images.shape} and "
            f"{targets.shape}, which are not images and their classes."
        )
    if len(images) != len(targets):
        raise DataError(
            f"`{image_path}` has {len(images)} images but `{target_path}` has {len(targets)} "
            "labels; they are not of one data set."
        )
    return images.reshape(len(images), -1), targets.astype(np.int64)


def _folder(source: str) -> Path | None:
    root = os.environ.get("GMMDYN_DATA")
    system = _SYSTEM_FOLDERS.get(source)
    # MNIST and its kin share their file names, so each needs a folder of its own.
    if root and (Path(root, source).is_dir() or system is None):
        return Path(root, source)
    return system


def check_arrays(images: Any, targets: Any) -> tuple[Images, Targets]:
    """Check labelled images that a caller gives.

    Args:
        images: numbers, shape `(n, D)` or `(n, h, w)`.
        targets: whole-number classes, shape `(n,)`.

    Returns:
        Images `(n, D)` and classes `(n,)`.

    Raises:
        ArgumentError: if one of the two is missing.
        ShapeError: if they are no arrays of fitting shapes.
        RangeError: if an entry is not finite or a class no whole number.
    """
    if images is None or targets is None:
        absent = "targets" if targets is None else "images"
        raise ArgumentError(f"`{absent}` is missing; give both `images` and `targets`.")
    images, targets = _numbers("images", images), _numbers("targets", targets)
    if images.ndim < 2 or images.size == 0:
        raise ShapeError(f"`images` has shape {images.shape}; give shape (n, D) or (n, h, w).")
    if targets.shape != (len(images),):
        raise ShapeError(
            f"`targets` has shape {targets.shape} but there are {len(images)} images; give one "
            "class to each."
        )
    if (targets != np.floor(targets)).any() or np.abs(targets).max() >= 2**53:
        raise RangeError("`targets` has an entry that is no whole number; give classes.")
    return images.reshape(len(images), -1), targets.astype(np.int64)


def _numbers(name: str, value: Any) -> np.ndarray[Any, Any]:
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    try:
        result = np.asarray(value)
    except ValueError:  # ragged lists
        result = np.empty(0, dtype=object)
    if result.dtype.kind not in "buif":
        raise ShapeError(f"`{name}` is no array of real numbers.")
    if result.dtype.kind == "f" and not np.isfinite(result).all():
        raise RangeError(f"`{name}` has an entry that is infinite or not a number.")
    return result


def class_labels(classes: Any, present: Sequence[int]) -> dict[int, int]:
    """Give each class of the data its label, or its number among the classes to be learnt.

    Args:
        classes: `"odd-even"` (even classes -1, odd ones +1), `"halves"` (the first half of the
            sorted classes -1, the rest +1), `"each"` (each is a class of its own), or a mapping
            from classes to ±1, or to numbers from 0 to O - 1; a class that is not in the mapping is
            left out.
        present: the classes in the data, increasing.

    Returns:
        Label ±1 or number of each class that is kept, the lowest first, each label increasing.

    Raises:
        RangeError: if the rule is unknown, a key is no class of the data, the labels are neither
            ±1 nor 0 to O - 1, or no class is kept.
    """
    if isinstance(classes, Mapping):
        labels = {}
        values = set(classes.values())
        numbered = len(values) > 1 and values == set(range(len(values)))
        for key, label in classes.items():
            # The keys of a YAML mapping may come as strings.
            if str(key) not in {str(name) for name in present}:
                names = ", ".join(str(name) for name in present)
                raise RangeError(f"`classes` names the class {key!r}; the data have {names}.")
            if label not in (-1, 1) and not numbered:
                raise RangeError(
                    f"`classes` gives class {key} the label {label!r}; give -1 or +1, or the "
                    "numbers from 0 to O - 1, each of them."
                )
            labels[int(key)] = int(label)
        if not labels:
            raise RangeError("`classes` is empty; give at least one class a label.")
    elif checks.choice("classes", classes, ("odd-even", "halves", "each")) == "odd-even":
        labels = {name: 1 if name % 2 else -1 for name in present}
    elif classes == "each":
        labels = {name: number for number, name in enumerate(present)}
    else:
        half = len(present) // 2
        labels = {name: -1 if i < half else 1 for i, name in enumerate(present)}
    return dict(sorted(labels.items(), key=lambda item: (item[1], item[0])))
