"""The plane of the means of a mixture, in numbers that order parameters know."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from gmmdyn.errors import RangeError
from gmmdyn.interfaces import GaussianMixture

# A direction with less than this share of the squared means is rounding.
_NOTHING = 1e-10


class MeanPlane(NamedTuple):
    r"""Two orthonormal directions $e_j = \sum_\alpha c_{j\alpha}\, \mu_\alpha/\sqrt{D}$.

    Attributes:
        coefficients: $c$, shape `(2, C)`; the second row is 0 if the means are collinear.
        means: of the clusters in these coordinates, shape `(C, 2)`.
        roots: square roots of the covariances of the noise in it, shape `(C, 2, 2)`.
        classes: of the clusters, whole numbers from 0, shape `(C,)`: 0 and 1 for labels -1 and +1;
            the largest entry of labels of several outputs.
        outputs: how many the labels have.
        names: of the two axes.
    """

    coefficients: np.ndarray
    means: np.ndarray
    roots: np.ndarray
    classes: np.ndarray
    outputs: int
    names: tuple[str, str]

    def points(self, Q: np.ndarray, R: np.ndarray) -> np.ndarray:
        r"""Return where units are: $e_j\cdot w_k/\sqrt{D} = \sum_\alpha c_{j\alpha} R_{\alpha k}$.

        Args:
            Q: shape `(T, K, K)`.
            R: shape `(T, C, K)`.

        Returns:
            Shape `(T, K, 2)`; the second coordinate is the length of the rest if the means are
            collinear.

        Raises:
            RangeError: if there is another number of clusters.
        """
        count = self.coefficients.shape[1]
        if R.shape[1] != count:
            raise RangeError(
                f"the trajectory has {R.shape[1]} clusters but the mixture {count}; give the "
                "mixture that it is of."
            )
        found = np.moveaxis(self.coefficients @ R, 1, 2)
        if not self.coefficients[1].any():
            squares = np.diagonal(Q, axis1=1, axis2=2) - found[..., 0] ** 2
            found[..., 1] = np.sqrt(np.maximum(squares, 0))  # below 0 by rounding only
        return np.asarray(found)


def mean_plane(mixture: GaussianMixture) -> MeanPlane:
    """Find the plane of the means.

    Args:
        mixture: any Gaussian mixture.

    Returns:
        The plane that they span: its first axis points to the longest mean, and of four means in
        opposite pairs at a right angle the second to another; of means in more dimensions the
        plane that holds most of their squared lengths.

    Raises:
        RangeError: if all means are 0.
    """
    overlaps = mixture.mean_overlaps.detach().cpu().double().numpy()
    values, vectors = np.linalg.eigh(overlaps)
    if values[-1] <= 0:
        raise RangeError("all means of the mixture are 0, so they have no plane.")
    rank = int((values > _NOTHING * values[-1]).sum())
    if rank > 2:
        coefficients = (vectors[:, [-1, -2]] / np.sqrt(values[[-1, -2]])).T
        share = values[-2:].sum() / values.sum()
        names = (f"means, 1st direction ({share:.0%} of them in this plane)", "means, 2nd")
    else:
        coefficients, names = _towards_means(overlaps, rank)
    basis = coefficients @ mixture.means.detach().cpu().double().numpy() / math.sqrt(mixture.dim)
    images = mixture.covariance_product(mixture.means.new_tensor(basis)).detach().cpu().double()
    covariances = np.broadcast_to(images.numpy() @ basis.T, (len(overlaps), 2, 2))
    spreads, axes = np.linalg.eigh((covariances + covariances.swapaxes(1, 2)) / 2)
    roots = axes * np.sqrt(np.maximum(spreads, 0))[:, None, :]
    labels = mixture.labels.detach().cpu().numpy()
    classes = (labels > 0).astype(int) if labels.ndim == 1 else labels.argmax(1)
    means = (coefficients @ overlaps).T
    return MeanPlane(coefficients, means, roots, classes, mixture.outputs, names)


def _towards_means(overlaps: np.ndarray, rank: int) -> tuple[np.ndarray, tuple[str, str]]:
    """Gram-Schmidt from the longest mean."""
    lengths = overlaps.diagonal()
    first = int(lengths.argmax())
    coefficients = np.zeros((2, len(overlaps)))
    coefficients[0, first] = 1 / math.sqrt(lengths[first])
    names = [rf"along $\mu_{{{first}}}$", "length of the rest of the weights"]
    if rank == 2:
        rest = lengths - overlaps[first] ** 2 / lengths[first]
        second = int(rest.argmax())
        tilt = overlaps[first, second] / lengths[first]
        coefficients[1, second] = 1
        coefficients[1, first] -= tilt
        coefficients[1] /= math.sqrt(rest[second])
        upright = abs(tilt) < 1e-9
        names[1] = rf"along $\mu_{{{second}}}$" if upright else "across, in the plane of the means"
    return coefficients, (names[0], names[1])
