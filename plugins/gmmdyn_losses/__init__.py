"""Built-in losses, registered through the entry point `losses`."""

from gmmdyn import Loss, SquareLoss, hookimpl
from gmmdyn_losses.cross_entropy import CrossEntropy as CrossEntropy
from gmmdyn_losses.logistic import LogisticLoss as LogisticLoss


@hookimpl
def gmmdyn_losses() -> dict[str, type[Loss]]:
    """Register the losses."""
    return {"cross-entropy": CrossEntropy, "logistic": LogisticLoss, "square": SquareLoss}
