"""The errors of a trajectory that has order parameters alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from gmmdyn import registry
from gmmdyn.algorithm import Loss, OnlineSGD
from gmmdyn.interfaces import (
    Activation,
    DataModel,
    Fields,
    Integrator,
    IsotropicMixture,
    Network,
    TwoLayerNetwork,
)
from gmmdyn.trajectory import Trajectory


def with_errors(
    trajectory: Trajectory, data_model: DataModel, network: Network, algorithm: OnlineSGD
) -> Trajectory:
    """Add the errors that the order parameters of a theory determine, if it has none itself.

    They do where the noise is isotropic: local fields have means R and covariances sigma² Q. For
    any other covariance Q alone does not say how large fields are, and nothing is added.

    Args:
        trajectory: of a theory.
        data_model: what is learned.
        network: that learns.
        algorithm: how, for the loss.

    Returns:
        The trajectory, with `pmse`, `classification_error` and `tie_rate` if the labels are
        classes, and, unless the loss is the square one, `loss`; their integration errors; and in
        the metadata the `errors_by` integrator.
    """
    curves = trajectory.curves
    if {"pmse", "classification_error"} & set(curves) or not {"Q", "R", "v"} <= set(curves):
        return trajectory
    if not isinstance(data_model, IsotropicMixture) or not isinstance(network, TwoLayerNetwork):
        return trajectory
    Q, R, v = (torch.from_numpy(curves[name]) for name in ("Q", "R", "v"))
    mean = R + torch.from_numpy(curves["b"]).unsqueeze(-2) if "b" in curves else R
    kind = network.activation, algorithm.loss_function, Q.shape[-1], network.outputs
    name, integrator = _most_accurate(*kind)
    priors = data_model.priors.to(mean)
    found: dict[str, list[np.ndarray]] = {}
    # One time after another: all at once would hold every point of every time in memory.
    for time in range(len(trajectory.times)):
        with torch.no_grad():
            errors = integrator.errors(
                Fields(
                    mean=mean[time],
                    covariance=data_model.variance * Q[time].unsqueeze(-3),
                    readout=v[time],
                    labels=data_model.labels.to(mean),
                    activation=network.activation,
                    loss=algorithm.loss_function,
                )
            )
        for curve, value in errors._asdict().items():
            if value is not None:
                found.setdefault(curve, []).append((value @ priors).numpy())
    stacked = {curve: np.stack(values) for curve, values in found.items()}
    spreads = {name.removesuffix("_se"): stacked[name] for name in stacked if name.endswith("_se")}
    means = {name: values for name, values in stacked.items() if not name.endswith("_se")}
    return replace(
        trajectory,
        curves={**curves, **means},
        errors={**trajectory.errors, **spreads},
        metadata={**trajectory.metadata, "errors_by": name},
    )


def _most_accurate(
    activation: Activation, loss: Loss, hidden: int, outputs: int
) -> tuple[str, Integrator]:
    """Return the registered integrator that describes a network with the smallest error."""
    found: list[tuple[float, str, Integrator]] = []
    for name in registry.available("integrator"):
        integrator: Integrator = registry.build("integrator", name, {})
        if integrator.refusal(activation, loss, hidden, outputs) is None:
            integrator.prepare(hidden)
            found.append((integrator.relative_error, name, integrator))
    _, name, integrator = min(found, key=lambda one: one[:2])
    return name, integrator
