"""The flow of the limit from many states: the theory `ode` with an `ensemble`."""

from __future__ import annotations

import numpy as np
import torch

from gmmdyn import OnlineSGD, OrderParameters, Trajectory
from gmmdyn.errors import IncompatibleError, RangeError, ShapeError
from gmmdyn.interfaces import DataModel, Network
from gmmdyn.trajectory.fluctuations import Fluctuations
from gmmdyn_ode.finite_size.ensemble import follow_members
from gmmdyn_ode.finite_size.limit import Limit, check_limit
from gmmdyn_ode.finite_size.predict import Expanded, covariance_of
from gmmdyn_ode.state import State
from gmmdyn_ode.theory import ODE


def flow_of_ensemble(
    ode: ODE,
    data_model: DataModel,
    network: Network,
    algorithm: OnlineSGD,
    times: np.ndarray,
    initial: OrderParameters | None,
    ensemble: int | OrderParameters,
) -> Trajectory:
    """Follow an ensemble by the limit's flow, without the noise on the way.

    Args:
        ode: the theory of the limit.
        data_model: an isotropic mixture.
        network: of two layers.
        algorithm: without mini-batches.
        times: recorded, strictly increasing, shape `(T,)`.
        initial: where the limit starts; None is the present weights of the network.
        ensemble: how many states to draw from the last good Gaussian at the network's D, or states
            at the first time, with a first axis for them.

    Returns:
        Curves that are means over members, with the members in `fluctuations`.

    Raises:
        IncompatibleError: if the expansion in 1/D does not describe the experiment.
        RangeError: if both `initial` and states are given.
        ShapeError: if the states have no first axis.
    """
    check_limit(ode, data_model, network, algorithm)
    given = None if isinstance(ensemble, int) else ensemble
    if given is not None and initial is not None:
        raise RangeError(
            "`ensemble` has the states to start from: drop `initial`, or give a number."
        )
    limit = Limit.of(ode, data_model, network, algorithm, initial)
    if given is None:
        assert isinstance(ensemble, int)
        expanded = Expanded.at(limit, times)
        last = expanded.last_gaussian(data_model.dim)
        count = ensemble + ensemble % 2
        states = expanded.ensemble(data_model.dim, count, 0, last, noisy=False)
        begun = float(times[last])
    else:
        states = follow_members(limit, _flat(limit, given), times, None, 0)
        begun = float(times[0])
    members = limit.curves(states)
    curves = {name: value.mean(1) for name, value in members.items()}
    std = {name: value.std(1, ddof=1) for name, value in members.items()}
    cov = {name: covariance_of(value) for name, value in members.items()}
    about = {
        "theory": "ode",
        "solver": {**limit.about, **limit.options._asdict()},
        "ensemble": {"members": states.shape[1], "from": begun},
    }
    fluctuations = Fluctuations(std, cov, members)
    return Trajectory(times, curves, "theory", {}, about, fluctuations=fluctuations)


def _flat(limit: Limit, given: OrderParameters) -> np.ndarray:
    start = limit.problem.initial
    if given.v.ndim != 2 or len(given.v) < 2:
        raise ShapeError(
            f"`ensemble` has `v` of shape {tuple(given.v.shape)}; give at least two states, with a "
            "first axis for them."
        )
    if not limit.coordinates.learns and not bool((given.v == start.v).all()):
        raise IncompatibleError(
            "the readout is frozen, and states of `ensemble` have others than that of the network; "
            "give all the same `v`."
        )
    state = given.to(dtype=torch.float64, device="cpu")
    flat = limit.coordinates.flat(
        State(state.Q.unsqueeze(-3), state.R.unsqueeze(-3), state.v, state.b)
    )
    return np.asarray(flat.numpy())
