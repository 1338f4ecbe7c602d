"""Predictions of how a network learns a data model."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ClassVar

import numpy as np

from gmmdyn.algorithm import OnlineSGD
from gmmdyn.errors import GmmdynError, IncompatibleError
from gmmdyn.interfaces.component import Component
from gmmdyn.interfaces.data_model import DataModel
from gmmdyn.interfaces.network import Network
from gmmdyn.trajectory import Trajectory
from gmmdyn.trajectory.order_parameters import OrderParameters


class Theory(Component, abc.ABC):
    """A prediction of how a network learns a data model.

    A theory declares in `describes` which variations of SGD are in its equations. All others are
    refused by name whenever `check`, `solve` or `derivative` is called, before what a subclass
    writes in them runs.

    Attributes:
        describes: the `OnlineSGD.variations` that it describes; by default none, plain SGD alone.
        several_outputs: whether it describes networks of several outputs; by default not.
        follows_time: whether it predicts a curve in time; a theory of the final state does not, and
            is solved without times.
    """

    describes: ClassVar[frozenset[str]] = frozenset()
    several_outputs: ClassVar[bool] = False
    follows_time: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("check", "solve", "derivative"):
            if name in vars(cls):
                setattr(cls, name, _refusing(vars(cls)[name]))

    @abc.abstractmethod
    def check(self, data_model: DataModel, network: Network, algorithm: OnlineSGD) -> None:
        """Say whether this theory describes the experiment, before any work is done.

        Args:
            data_model: the data model.
            network: the network.
            algorithm: the learning algorithm.

        Raises:
            IncompatibleError: naming the assumption that fails, or the variation of SGD that it
                does not describe.
        """

    @abc.abstractmethod
    def solve(
        self,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        *,
        times: Sequence[float] | np.ndarray,
        initial: OrderParameters | None = None,
    ) -> Trajectory:
        """Predict the order parameters and the errors at the given times.

        Args:
            data_model: the data model.
            network: the network; it is left as it was.
            algorithm: the learning algorithm.
            times: t = updates/D, shape `(T,)`, strictly increasing; `times[0]` is the time of the
                initial condition. Ignored by a theory of the final state.
            initial: where to start; None is the present weights of `network`.

        Returns:
            A trajectory whose `source` is `"theory"`.

        Raises:
            IncompatibleError: as `check`.
            ConvergenceError: if the solver gives up; what it had is in `partial`.
        """

    def solve_many(
        self,
        problems: Sequence[tuple[DataModel, Network, OnlineSGD]],
        *,
        times: Sequence[float] | np.ndarray,
        initial: Sequence[OrderParameters | None] | None = None,
    ) -> list[Trajectory | GmmdynError]:
        """Predict many experiments; one after another unless overridden.

        Args:
            problems: the data model, network and learning algorithm of each.
            times: as of `solve`, the same for all.
            initial: where each starts; None is the present weights of its network, for all of them
                if it stands for the sequence.

        Returns:
            For each problem in turn its trajectory, or the error that it ended in.
        """
        results: list[Trajectory | GmmdynError] = []
        for parts, start in zip(problems, initial or [None] * len(problems), strict=True):
            try:
                results.append(self.solve(*parts, times=times, initial=start))
            except GmmdynError as error:
                results.append(error)
        return results

    @abc.abstractmethod
    def derivative(
        self,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        state: OrderParameters | None = None,
        *,
        time: float = 0.0,
    ) -> OrderParameters:
        """Return the right-hand side of the dynamics at one state.

        Args:
            data_model: the data model.
            network: the network.
            algorithm: the learning algorithm.
            state: where to evaluate, with any leading batch shape; None is the present weights of
                `network`.
            time: when to evaluate; it matters if the learning rate follows a schedule.

        Returns:
            The time derivatives of Q, R, v (and b), in an object of the same type.

        Raises:
            IncompatibleError: as `check`.
        """


def _refusing(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of a theory that refuses what it does not describe before it does anything.

    Each theory has to do so, third parties' too, and none can forget it.
    """

    @wraps(method)
    def refusing(
        self: Theory,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        reason = algorithm.undescribed(self.describes)
        if network.outputs > 1 and not self.several_outputs:
            reason = f"describes networks of one output, and this one has {network.outputs}"
        if reason is not None:
            name = type(self).__name__ if self.spec is None else self.spec.name
            raise IncompatibleError(f"the theory `{name}` {reason}.")
        return method(self, data_model, network, algorithm, *args, **kwargs)

    return refusing
