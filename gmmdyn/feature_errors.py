"""Analytic errors of random features over grids of noise, sizes, seeds and geometries."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gmmdyn import checks, registry
from gmmdyn.algorithm import OnlineSGD
from gmmdyn.errors import ConfigError, IncompatibleError, RangeError
from gmmdyn.interfaces import GaussianMixture
from gmmdyn.registry.components import data_model, network, theory

if TYPE_CHECKING:
    import xarray as xr

ERRORS = ("pmse", "classification_error")
SNRS = ("low", "mixed", "high")


def feature_errors(
    *,
    sigma: Sequence[float] = (0.1, 0.15, 0.2, 0.3, 0.5),
    ratio: Sequence[float] = (2.0,),
    dim: Sequence[int] = (300,),
    seeds: Sequence[int] = (0,),
    geometry: Sequence[str] = ("xor",),
    snr: str = "low",
    activation: str = "relu",
    ridge: float = 0.0,
    bias: bool = True,
    order: str = "first",
    done: Callable[[], None] = lambda: None,
) -> xr.Dataset:
    r"""Solve the theory `random-features` at every point of a grid.

    Args:
        sigma: standard deviations of the noise, positive.
        ratio: $\gamma = P/D$, positive.
        dim: input dimensions D.
        seeds: of the projections.
        geometry: names of isotropic mixtures with `dim` and `variance`, such as `"xor"` and
            `"three-clusters"`.
        snr: `"low"`, `"mixed"` or `"high"`; other than low for geometries that have it.
        activation: a registered name.
        ridge: $\kappa$, not negative.
        bias: whether the readout has an intercept.
        order: of the covariances, `"first"` or `"exact"`.
        done: called after each point.

    Returns:
        `pmse`, `classification_error` and its uncertainty `classification_error_se` with the
        dimensions `geometry`, `dim`, `ratio`, `sigma` and `seed`. Without `seed`, and NaN where it
        is not known, as beyond low SNR: their limits `limit_pmse` and `limit_classification_error`
        for large D, and `scaled_noise`, $x = \sigma\,(D/(\gamma k(\gamma)))^{1/4}$, in which the
        limits of one geometry coincide (NaN too if k is 0, as for odd activations). And
        `bayes_error` with `geometry`, `dim` and `sigma`. The attribute `settings` has the rest, as
        JSON.

    Raises:
        RangeError: if a number is out of range, or a list is empty.
        ConfigError: if a list names a value twice or a geometry has not these options.
        UnknownComponentError: if there is no such geometry or activation.
    """
    import xarray as xr

    axes: dict[str, list[Any]] = {
        "geometry": [_geometry(name, snr) for name in geometry],
        "dim": [checks.whole("dim", value, at_least=2) for value in dim],
        "ratio": [checks.number("ratio", value, above=0) for value in ratio],
        "sigma": [checks.number("sigma", value, above=0) for value in sigma],
        "seed": [checks.whole("seeds", value, at_least=0) for value in seeds],
    }
    for name, values in axes.items():
        if not values:
            raise RangeError(f"`{name}` lists no values; give at least one.")
        if len(set(values)) < len(values):
            raise ConfigError(f"`{name}` lists a value twice.")
    ridge = checks.number("ridge", ridge, at_least=0)
    algorithm = OnlineSGD(learning_rate=1.0, weight_decay=ridge)
    solvers = {
        "": theory("random-features", order=order),
        "limit_": theory("random-features-limit"),
    }
    shape = tuple(map(len, axes.values()))
    found = {name: np.full(shape, np.nan) for name in ERRORS}
    found["classification_error_se"] = np.full(shape, np.nan)
    found |= {f"limit_{name}": np.full(shape[:4], np.nan) for name in ERRORS}
    found["scaled_noise"] = np.full(shape[:4], np.nan)
    bayes = np.full((shape[0], shape[1], shape[3]), np.nan)
    for g, d, r, k in itertools.product(*(range(shape[axis]) for axis in (0, 1, 2, 4))):
        size = axes["dim"][d]
        features = network(
            "random-features",
            dim=size,
            ratio=axes["ratio"][r],
            activation=activation,
            bias=bias,
            seed=axes["seed"][k],
            dtype="float64",
        )
        for s, deviation in enumerate(axes["sigma"]):
            mixture = _mixture(axes["geometry"][g], size, deviation**2, snr)
            if k == 0:
                bayes[g, d, s] = mixture.bayes_error().value
            for prefix, solver in solvers.items():
                if prefix and (k > 0 or not bias):
                    continue
                try:
                    solver.check(mixture, features, algorithm)
                except IncompatibleError:
                    if not prefix:
                        raise
                    continue
                solved = solver.solve(mixture, features, algorithm, times=[np.inf])
                where = (g, d, r, s) if prefix else (g, d, r, s, k)
                for name in ERRORS:
                    found[prefix + name][where] = solved[name][0]
                if not prefix:
                    error = solved.standard_error("classification_error")[0]
                    found["classification_error_se"][where] = error
                elif solved.metadata["limit_constant"] > 0:
                    strength = axes["ratio"][r] * solved.metadata["limit_constant"]
                    found["scaled_noise"][where] = deviation * (size / strength) ** 0.25
            done()
    dims = tuple(axes)
    variables = {name: (dims[: value.ndim], value) for name, value in found.items()}
    variables["bayes_error"] = (("geometry", "dim", "sigma"), bayes)
    settings = {"snr": snr, "activation": activation, "ridge": ridge, "bias": bias, "order": order}
    return xr.Dataset(variables, coords=axes, attrs={"settings": json.dumps(settings)})


def _geometry(name: str, snr: str) -> str:
    """Check that a geometry has the options that the grid varies."""
    known = registry.options_of(registry.get("data_model", name))
    checks.choice("snr", snr, SNRS)
    for option in ("dim", "variance", *(() if snr == "low" else ("snr",))):
        if option not in known:
            raise ConfigError(f"the geometry `{name}` has no option `{option}`; give another.")
    return name


def _mixture(name: str, dim: int, variance: float, snr: str) -> GaussianMixture:
    options = {} if snr == "low" else {"snr": snr}
    mixture = data_model(name, dim=dim, variance=variance, **options)
    assert isinstance(mixture, GaussianMixture)
    return mixture
