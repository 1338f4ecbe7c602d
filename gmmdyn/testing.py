"""Conformance checks for plugin authors: what gmmdyn's own components must pass too.

Each check raises AssertionError with a sentence. Use them in the tests of a plugin:

    gmmdyn.testing.check_activation(Softplus())
"""

from __future__ import annotations

import math

import torch

from gmmdyn.interfaces import (
    Activation,
    DataModel,
    Fields,
    GaussianMixture,
    Integrator,
    IsotropicMixture,
)


def check_activation(activation: Activation) -> None:
    """Check that the parts of an activation agree with each other.

    Args:
        activation: to check.

    Raises:
        AssertionError: saying what disagrees.
    """
    x = torch.linspace(-4, 4, 801, dtype=torch.float64)
    for kink in activation.kinks:
        x = x[(x - kink).abs() > 1e-3]
    step = 1e-5
    slope = (activation(x + step) - activation(x - step)) / (2 * step)
    _close("derivative", activation.derivative(x), slope, 1e-6)
    curvature = (activation.derivative(x + step) - activation.derivative(x - step)) / (2 * step)
    _close("second_derivative", activation.second_derivative(x), curvature, 1e-6)
    for dtype in (torch.float32, torch.float64):
        functions = (activation.forward, activation.derivative, activation.second_derivative)
        for function in functions:
            value = function(x.to(dtype).view(-1, 1))
            assert value.dtype == dtype, f"given {dtype} it returns {value.dtype}"
            assert value.shape == (len(x), 1), "it must keep the shape of its input"
    if activation.slopes:
        pieces = len(activation.slopes)
        assert pieces == len(activation.kinks) + 1, "give one more slope than kinks"
        edges = [-4.0, *activation.kinks, 4.0]
        for i, declared in enumerate(activation.slopes):
            middle = torch.tensor([(edges[i] + edges[i + 1]) / 2], dtype=torch.float64)
            found = float(activation.derivative(middle))
            assert math.isclose(found, declared, abs_tol=1e-9), (
                f"the slope on piece {i} is {found}, declared as {declared}"
            )
    scalars = activation.scalar_functions()
    if scalars is not None:
        for scalar, wanted in zip(scalars, (activation(x), activation.derivative(x)), strict=True):
            ours = torch.tensor([scalar(float(value)) for value in x], dtype=torch.float64)
            _close("scalar_functions", ours, wanted, 1e-12)


def check_data_model(data_model: DataModel) -> None:
    """Check that samples have the promised shapes, types and statistics.

    Means and covariances of a Gaussian mixture are compared with samples in standard errors along
    a few random directions.

    Args:
        data_model: to check, on the CPU, of moderate dimension.

    Raises:
        AssertionError: saying what is wrong.
    """
    for dtype in (torch.float32, torch.float64):
        batch = data_model.sample(7, torch.Generator().manual_seed(1), dtype)
        assert batch.inputs.shape == (7, data_model.dim), "inputs have shape (n, D)"
        assert batch.clusters.shape == (7,), "clusters have shape (n,)"
        assert batch.labels.ndim in (1, 2), "labels have shape (n,) or (n, O)"
        assert len(batch.labels) == 7, "there is a label for each point"
        assert batch.inputs.dtype == batch.labels.dtype == dtype, "the dtype asked for"
        assert batch.clusters.dtype == torch.int64, "clusters are whole numbers"
        again = data_model.sample(7, torch.Generator().manual_seed(1), dtype)
        assert torch.equal(batch.inputs, again.inputs), "one seed gives one sample"
    if isinstance(data_model, GaussianMixture):
        _check_mixture(data_model)


def _check_mixture(mixture: GaussianMixture) -> None:
    count, directions = 40_000, 3
    generator = torch.Generator().manual_seed(2)
    batch = mixture.sample(count, generator, torch.float64)
    clusters = len(mixture.labels)
    if mixture.labels.ndim == 1:
        assert bool((mixture.labels.abs() == 1).all()), "labels of shape (C,) are -1 or +1"
    else:
        assert mixture.outputs > 1, "one output has labels of shape (C,)"
    assert abs(float(mixture.priors.sum()) - 1) < 1e-9, "priors sum to one"
    assert torch.equal(batch.labels, mixture.labels[batch.clusters]), "labels follow clusters"
    probes = torch.randn(directions, mixture.dim, generator=generator, dtype=torch.float64)
    probes /= probes.norm(dim=1, keepdim=True)
    products = mixture.covariance_product(probes)
    assert products.shape in {(size, directions, mixture.dim) for size in (1, clusters)}, (
        "covariance_product returns (C, N, D) or (1, N, D)"
    )
    axes = mixture.principal_axes()
    if axes is not None:
        rotation = torch.eye(mixture.dim) if axes.rotation is None else axes.rotation
        rotation = rotation.to(probes)
        assert torch.allclose(rotation.T @ rotation, torch.eye(mixture.dim).to(probes)), (
            "the rotation of principal_axes is orthogonal"
        )
        assert bool((axes.scale >= 0).all()), "the scales of principal_axes are not negative"
        turned = (probes @ rotation * axes.scale**2) @ rotation.T
        assert torch.allclose(turned.expand_as(products), products, atol=1e-8), (
            "the noise in principal_axes is not that of covariance_product"
        )
        assert torch.allclose(axes.centres @ rotation.T * math.sqrt(mixture.dim), mixture.means), (
            "the centres of principal_axes are not the rotated means / sqrt(D)"
        )
    variances = (products * probes).sum(-1).expand(clusters, -1)
    centres = mixture.means @ probes.T / math.sqrt(mixture.dim)
    for cluster, prior in enumerate(mixture.priors.tolist()):
        mine = batch.inputs[batch.clusters == cluster] @ probes.T
        spread = math.sqrt(prior * (1 - prior) * count)
        assert abs(len(mine) - prior * count) <= 5 * spread, "clusters follow their priors"
        if len(mine) < 100:
            continue
        variance = variances[cluster]
        error = 5 * (variance / len(mine)).sqrt() + 1e-9
        assert bool(((mine.mean(0) - centres[cluster]).abs() < error).all()), (
            f"inputs of cluster {cluster} are not centred on means / sqrt(D)"
        )
        error = 5 * variance * math.sqrt(2 / len(mine)) + 1e-9
        assert bool(((mine.var(0) - variance).abs() < error).all()), (
            f"the noise of cluster {cluster} is not that of covariance_product"
        )
    if isinstance(mixture, IsotropicMixture):
        assert mixture.covariance_structure == "isotropic"


def check_integrator(integrator: Integrator, activation: Activation, tolerance: float) -> None:
    """Check an integrator against brute force on a small problem, and that it is deterministic.

    Args:
        integrator: to check.
        activation: one that the integrator describes.
        tolerance: the largest error allowed in any moment; brute force itself is good to 5e-3.

    Raises:
        AssertionError: saying which moment is off.
    """
    generator = torch.Generator().manual_seed(3)
    root = torch.randn(2, 2, 2, generator=generator, dtype=torch.float64)
    fields = Fields(
        mean=torch.tensor([[0.5, -0.3], [0.1, 0.8]], dtype=torch.float64),
        covariance=root @ root.mT / 2,
        readout=torch.tensor([0.7, -0.4], dtype=torch.float64),
        labels=torch.tensor([-1.0, 1.0], dtype=torch.float64),
        activation=activation,
    )
    integrator.prepare(2)
    moments, errors = integrator.moments(fields), integrator.errors(fields)
    for one, two in zip(moments, integrator.moments(fields), strict=True):
        assert torch.equal(one, two), "the same arguments must give the same numbers"
    tolerance += 5e-3
    for cluster in range(2):
        z = torch.randn(1_000_000, 2, generator=generator, dtype=torch.float64)
        lam = fields.mean[cluster] + z @ torch.linalg.cholesky(fields.covariance[cluster]).T
        g, dg = activation(lam), activation.derivative(lam)
        delta = (fields.labels[cluster] - g @ fields.readout).unsqueeze(1)
        signal = fields.readout * dg * delta
        _close("drive", moments.drive[cluster], signal.mean(0), tolerance)
        _close("readout", moments.readout[cluster], (g * delta).mean(0), tolerance)
        _close("noise", moments.noise[cluster], signal.T @ signal / len(z), tolerance)
        # Stein: E[signal_k (lam_i - m_i)] = sum_j E[d signal_k / d lam_j] Cov_ji
        with_fields = signal.T @ (lam - fields.mean[cluster]) / len(z)
        ours = moments.stein[cluster] @ fields.covariance[cluster]
        _close("stein", ours, with_fields, tolerance)
        output = g @ fields.readout
        tie = (output == 0).double()
        wrong = (fields.labels[cluster] * output < 0).double() + 0.5 * tie
        _close("pmse", errors.pmse[cluster], 0.5 * (delta**2).mean(), tolerance)
        rate = errors.classification_error[cluster]
        _close("classification_error", rate, wrong.mean(), tolerance)
        ties = torch.zeros(()) if errors.tie_rate is None else errors.tie_rate[cluster]
        _close("tie_rate", ties, tie.mean(), tolerance)


def _close(name: str, found: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> None:
    gap = float((found - wanted).abs().max())
    assert gap <= tolerance, f"`{name}` is off by {gap:.3g}"
