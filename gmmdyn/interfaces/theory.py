"""Predictions of how a network learns a data model."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np

from gmmdyn.algorithm import OnlineSGD
from gmmdyn.errors import GmmdynError, IncompatibleError
from gmmdyn.interfaces.component import Component
from gmmdyn.interfaces.data_model import DataModel
from gmmdyn.interfaces.network import Network
from gmmdyn.order_parameters import OrderParameters
from gmmdyn.trajectory import Trajectory


class Theory(Component, abc.ABC):
    """A prediction of how a network learns a data model.

    A theory declares in `describes` which variations of SGD are in its equations. Its public
    methods refuse all others by name before any work is done; a subclass writes
    `check_assumptions`, `predict` and `right_hand_side`, which they call.

    Attributes:
        describes: the `OnlineSGD.variations` that it describes; by default none, plain SGD alone.
        follows_time: whether it predicts a curve in time; a theory of the final state does not, and
            is solved without times.
    """

    describes: ClassVar[frozenset[str]] = frozenset()
    follows_time: ClassVar[bool] = True

    def _refuse_undescribed(self, algorithm: OnlineSGD) -> None:
        reason = algorithm.undescribed(self.describes)
        if reason is not None:
            name = type(self).__name__ if self.spec is None else self.spec.name
            raise IncompatibleError(f"the theory `{name}` {reason}.")

    @final
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
        self._refuse_undescribed(algorithm)
        self.check_assumptions(data_model, network, algorithm)

    @abc.abstractmethod
    def check_assumptions(
        self, data_model: DataModel, network: Network, algorithm: OnlineSGD
    ) -> None:
        """Say whether this theory describes the parts of an experiment; see `check`.

        Args:
            data_model: the data model.
            network: the network.
            algorithm: the learning algorithm, with no variation that is not described.

        Raises:
            IncompatibleError: naming the assumption that fails.
        """

    @final
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
        self._refuse_undescribed(algorithm)
        return self.predict(data_model, network, algorithm, times=times, initial=initial)

    @abc.abstractmethod
    def predict(
        self,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        *,
        times: Sequence[float] | np.ndarray,
        initial: OrderParameters | None = None,
    ) -> Trajectory:
        """Predict the order parameters and the errors at the given times; see `solve`.

        Args:
            data_model: the data model.
            network: the network; it is left as it was.
            algorithm: the learning algorithm, with no variation that is not described.
            times: as of `solve`.
            initial: as of `solve`.

        Returns:
            A trajectory whose `source` is `"theory"`.

        Raises:
            IncompatibleError: as `check_assumptions`.
            ConvergenceError: if the solver gives up; what it had is in `partial`.
        """

    @final
    def solve_many(
        self,
        problems: Sequence[tuple[DataModel, Network, OnlineSGD]],
        *,
        times: Sequence[float] | np.ndarray,
        initial: Sequence[OrderParameters | None] | None = None,
    ) -> list[Trajectory | GmmdynError]:
        """Predict many experiments.

        Args:
            problems: the data model, network and learning algorithm of each.
            times: as of `solve`, the same for all.
            initial: where each starts; None is the present weights of its network, for all of them
                if it stands for the sequence.

        Returns:
            For each problem in turn its trajectory, or the error that it ended in.
        """
        starts = [None] * len(problems) if initial is None else initial
        results: dict[int, Trajectory | GmmdynError] = {}
        described = []
        for index, (parts, _) in enumerate(zip(problems, starts, strict=True)):
            try:
                self._refuse_undescribed(parts[2])
                described.append(index)
            except IncompatibleError as error:
                results[index] = error
        found = self.predict_many(
            [problems[index] for index in described],
            times=times,
            initial=[starts[index] for index in described],
        )
        results |= zip(described, found, strict=True)
        return [results[index] for index in range(len(problems))]

    def predict_many(
        self,
        problems: Sequence[tuple[DataModel, Network, OnlineSGD]],
        *,
        times: Sequence[float] | np.ndarray,
        initial: Sequence[OrderParameters | None],
    ) -> list[Trajectory | GmmdynError]:
        """Predict many experiments; one after another unless overridden. See `solve_many`.

        Args:
            problems: the data model, network and learning algorithm of each, with no variation that
                is not described.
            times: as of `solve`, the same for all.
            initial: where each starts.

        Returns:
            For each problem in turn its trajectory, or the error that it ended in.
        """
        results: list[Trajectory | GmmdynError] = []
        for parts, start in zip(problems, initial, strict=True):
            try:
                results.append(self.predict(*parts, times=times, initial=start))
            except GmmdynError as error:
                results.append(error)
        return results

    @final
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
        self._refuse_undescribed(algorithm)
        return self.right_hand_side(data_model, network, algorithm, state, time=time)

    @abc.abstractmethod
    def right_hand_side(
        self,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        state: OrderParameters | None = None,
        *,
        time: float = 0.0,
    ) -> OrderParameters:
        """Return the right-hand side of the dynamics at one state; see `derivative`.

        Args:
            data_model: the data model.
            network: the network.
            algorithm: the learning algorithm, with no variation that is not described.
            state: as of `derivative`.
            time: as of `derivative`.

        Returns:
            The time derivatives of Q, R, v (and b), in an object of the same type.

        Raises:
            IncompatibleError: as `check_assumptions`.
        """
