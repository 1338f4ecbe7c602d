"""Which form of the equations an experiment needs."""

from __future__ import annotations

from gmmdyn import OnlineSGD, OrderParameters
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import DataModel, Network
from gmmdyn_ode.blocks import commutes
from gmmdyn_ode.matrix import MatrixProblem
from gmmdyn_ode.parts import parts_of
from gmmdyn_ode.problem import NOT_ENOUGH, Problem


def problem_of(
    data_model: DataModel,
    network: Network,
    algorithm: OnlineSGD,
    initial: OrderParameters | None,
) -> Problem | MatrixProblem:
    """Return the problem of an experiment in the form that its covariances need.

    Args:
        data_model: the data model.
        network: the network.
        algorithm: the learning algorithm.
        initial: where to start; None is the present weights of the network.

    Returns:
        The problem.

    Raises:
        IncompatibleError: if the equations do not describe it.
        ShapeError: if shapes do not fit together.
    """
    mixture, two_layer = parts_of(data_model, network, algorithm)
    if commutes(mixture):
        return Problem.of(mixture, two_layer, algorithm, initial)
    if initial is not None:
        raise IncompatibleError(NOT_ENOUGH)
    return MatrixProblem.of(mixture, two_layer, algorithm)
