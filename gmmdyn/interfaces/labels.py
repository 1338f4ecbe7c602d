"""What labels of one output and of several say."""

from __future__ import annotations

from torch import Tensor

# Entries of labels that differ by less than this share of the largest are alike.
_ALIKE = 1e-9


def outputs_of(labels: Tensor) -> int:
    """Return the number of outputs that labels `(C,)` or `(C, O)` are for."""
    return 1 if labels.ndim == 1 else int(labels.shape[-1])


def classes_of(labels: Tensor) -> Tensor | None:
    """Return the classes that labels stand for.

    Args:
        labels: of one output, shape `(C,)`, each -1 or +1; or of O outputs, shape `(C, O)`.

    Returns:
        Whole numbers from 0, shape `(C,)`: 0 and 1 for -1 and +1, the place of the largest entry
        for several outputs. None if these are no classes: one-hot labels are such, and all labels
        in which one entry is larger than the others and these are the same two numbers in all rows.
    """
    if labels.ndim == 1:
        return (labels > 0).long()
    if labels.shape[-1] < 2:
        return None
    ordered = labels.sort(-1).values
    low, second, high = ordered[0, 0], ordered[:, -2], ordered[0, -1]
    room = _ALIKE * labels.abs().max()
    alike = (ordered[:, :-1] - low).abs().amax() <= room
    alike &= (ordered[:, -1] - high).abs().amax() <= room
    return labels.argmax(-1) if bool(alike & (high - second.max() > room)) else None
