"""Normal probabilities of NumPy arrays, by the compiled formulas."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def excess(a: ArrayLike, b: ArrayLike, rho: ArrayLike) -> np.ndarray:
    """Return how much likelier correlation makes it that two normal numbers are both small.

    Args:
        a: any shape.
        b: of a shape that broadcasts with it.
        rho: correlations, likewise, from -1 to 1.

    Returns:
        P(U <= a, V <= b) - P(U <= a) P(V <= b), to about 1e-15; for |rho| below 0.925 without the
        cancellation of that difference, so that a small one is right in its leading digits.
    """
    from gmmdyn.normal.compiled import excess_of_each  # numba is heavy

    parts = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (a, b, rho)))
    one, two, both = (np.ascontiguousarray(part).reshape(-1) for part in parts)
    out = np.empty(parts[0].shape)
    excess_of_each(one, two, both, out.reshape(-1))
    return out
