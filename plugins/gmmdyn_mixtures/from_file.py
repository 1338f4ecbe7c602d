"""The mixture whose means and covariances stand in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from gmmdyn import checks
from gmmdyn.errors import DataError, GmmdynError, NotPositiveError
from gmmdyn.interfaces import GaussianMixture
from gmmdyn_mixtures._clusters import label_tensor, prior_tensor
from gmmdyn_mixtures._dense import DenseMixture, square_root
from gmmdyn_mixtures.array_files import read_arrays, write_arrays

KEYS = ("means", "labels", "classes", "priors", "covariance", "variance")


@final
class FromFile(DenseMixture):
    r"""A mixture read from a `.npz`, `.safetensors` or NetCDF (`.nc`) file.

    The file holds arrays of numbers by these keys, and no others:

    * `means`: $\mu_\alpha$, shape `(C, D)`; inputs are $\mu_\alpha/\sqrt{D}$ + noise;
    * `labels`: shape `(C,)`, each -1 or +1, or `(C, O)`, any numbers; or in their place
      `classes`, shape `(C,)`, whole numbers from 0 to O - 1;
    * `priors`: shape `(C,)`, summing to one; may be left out for equal ones;
    * `covariance`: $\Omega$, shape `(D, D)` for all clusters, or `(C, D, D)` for one each; or
    * `variance` in its place: $\sigma^2$ of independent noise, one number, shape `(C,)` for one
      each, or shape `(C, D)` for one in each coordinate too.

    `save_mixture` writes such a file. Pickles (`.pt`, `.pkl`, arrays of Python objects) are
    refused, since reading one runs whatever code is in it.

    Args:
        path: the file.

    Raises:
        DataError: if the file is missing, damaged, a pickle, or has not these keys.
        ShapeError: if a shape does not fit that of `means`.
        RangeError: if an entry is not finite, a label not ±1, or the priors are no probabilities.
        NotPositiveError: if a covariance is not symmetric positive semi-definite.
    """

    def __init__(self, path: str) -> None:
        place = Path(path)
        arrays = read_arrays(place)
        _check_keys(place, arrays)
        try:
            means = checks.array("means", arrays["means"], (None, None))
            clusters, dim = means.shape
            if not means.numel():
                raise DataError(f"`means` has shape {(clusters, dim)}; give at least one entry.")
            labels = label_tensor(arrays.get("labels"), clusters, arrays.get("classes"))
            priors = prior_tensor(arrays.get("priors"), clusters)
            factors = _factors(arrays, clusters, dim)
        except GmmdynError as error:
            raise type(error)(f"in the file `{place}`, {error}") from None
        super().__init__(means, labels, priors, factors)


def save_mixture(mixture: GaussianMixture, path: str | Path) -> Path:
    """Write any Gaussian mixture to a file that the mixture `from-file` reads.

    Args:
        mixture: what to write; its covariances are written out, `D` by `D` numbers each.
        path: ends in `.npz`, `.safetensors` or `.nc`; an existing file is replaced.

    Returns:
        The path.

    Raises:
        DataError: if the ending is another.
        OutputError: if the file cannot be written.
    """
    eye = torch.eye(mixture.dim, dtype=mixture.means.dtype, device=mixture.means.device)
    covariance = mixture.covariance_product(eye)
    if len(covariance) == 1:
        covariance = covariance[0]
    values = {
        "means": mixture.means,
        "labels": mixture.labels,
        "priors": mixture.priors,
        "covariance": (covariance + covariance.mT) / 2,
    }
    arrays = {name: value.detach().cpu().numpy() for name, value in values.items()}
    return write_arrays(Path(path), arrays)


def _check_keys(path: Path, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    missing = [key for key in ("means",) if key not in arrays]
    if "labels" not in arrays and "classes" not in arrays:
        missing.append("labels")
    if "covariance" not in arrays and "variance" not in arrays:
        missing.append("covariance")
    if missing:
        has = ", ".join(f"`{key}`" for key in sorted(arrays)) or "no arrays"
        raise DataError(f"`{path}` has no `{missing[0]}`; it has {has}.")
    for one, other in (("covariance", "variance"), ("labels", "classes")):
        if one in arrays and other in arrays:
            raise DataError(f"`{path}` has both `{one}` and `{other}`; leave one of the two out.")
    unknown = sorted(set(arrays) - set(KEYS))
    if unknown:
        near = checks.suggestion(unknown[0], KEYS)
        raise DataError(f"`{path}` has the unknown key `{unknown[0]}`; {near}")


def _factors(arrays: dict[str, np.ndarray[Any, Any]], clusters: int, dim: int) -> Tensor:
    """Return the factors of the covariances, `(C, D, r)` or `(1, D, r)`."""
    if "covariance" in arrays:
        value = arrays["covariance"]
        square = (dim, dim) if value.ndim < 3 else (clusters, dim, dim)
        matrices = checks.covariance("covariance", checks.array("covariance", value, square))
        return square_root(matrices if value.ndim == 3 else matrices.unsqueeze(0))
    value = arrays["variance"]
    shape = ((), (clusters,), (clusters, dim))[min(value.ndim, 2)]
    variances = checks.array("variance", value, shape)
    if bool((variances < 0).any()):
        raise NotPositiveError("`variance` has a negative entry; give variances of at least 0.")
    if variances.ndim < 2:
        variances = variances.reshape(-1, 1).expand(-1, dim)
    return torch.diag_embed(variances.sqrt())
