"""What labels of several outputs say."""

from __future__ import annotations

from torch import Tensor

# Entries of a label that differ by less than this share of the largest are alike.
_ALIKE = 1e-9


def outputs_of(labels: Tensor) -> int:
    """Return the number of outputs that labels `(C,)` or `(C, O)` are for."""
    return 1 if labels.ndim == 1 else labels.shape[-1]


def classes_of(labels: Tensor) -> Tensor | None:
    """Return the classes that labels stand for, such as one-hot rows.

    Args:
        labels: of O outputs, shape `(..., O)`.

    Returns:
        The place of the largest entry of each label, whole numbers of shape `(...)`; or None if
        they are no classes: some label has another entry as large, or the others are not all alike.
    """
    if labels.shape[-1] < 2:
        return None
    ordered = labels.sort(-1).values
    smallest, second, largest = ordered[..., 0], ordered[..., -2], ordered[..., -1]
    room = _ALIKE * labels.abs().amax(-1)
    good = (second - smallest <= room) & (largest - second > room)
    return labels.argmax(-1) if bool(good.all()) else None
