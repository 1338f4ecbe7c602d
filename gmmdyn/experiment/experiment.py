"""A data model, a network at its initial weights, and a learning algorithm."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from gmmdyn.algorithm import OnlineSGD
from gmmdyn.errors import ArgumentError, ConvergenceError, IncompatibleError, ShapeError
from gmmdyn.experiment.configuration import Configuration
from gmmdyn.experiment.errors_of_order_parameters import with_errors
from gmmdyn.experiment.plain_values import describe, plain
from gmmdyn.experiment.sections import takes_section
from gmmdyn.interfaces import DataModel, Engine, GaussianMixture, Network, Theory
from gmmdyn.registry import components
from gmmdyn.trajectory import Trajectory
from gmmdyn.trajectory.files import write_text
from gmmdyn.trajectory.metadata import Metadata
from gmmdyn.trajectory.order_parameters import OrderParameters
from gmmdyn.trajectory.times import settle_times

# A projection of ten million numbers would make every trajectory a file of hundreds of megabytes.
_MOST_NUMBERS = 100_000


@dataclass(frozen=True)
class Experiment:
    """What is simulated and solved, so that both run with the same parameters.

    Attributes:
        data_model: where samples come from.
        network: the network at its initial weights; running leaves it as it was.
        algorithm: how it learns.

    Raises:
        ShapeError: if data model and network have different input dimensions, or different
            numbers of outputs.
        IncompatibleError: if the loss has no meaning for the labels of the mixture.
    """

    data_model: DataModel
    network: Network
    algorithm: OnlineSGD

    def __post_init__(self) -> None:
        for name, kind in (
            ("data_model", DataModel),
            ("network", Network),
            ("algorithm", OnlineSGD),
        ):
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise ArgumentError(
                    f"`{name}` is a {type(value).__name__}; give a {kind.__name__}."
                )
        if self.data_model.dim != self.network.dim:
            raise ShapeError(
                f"the network has input dimension {self.network.dim} but the data model has "
                f"{self.data_model.dim}; give both the same `dim`."
            )
        mixture = self.data_model
        if not isinstance(mixture, GaussianMixture):
            return
        obstacle = self.algorithm.loss_function.obstacle(mixture.labels)
        if obstacle is not None:
            raise IncompatibleError(obstacle)
        if mixture.outputs != self.network.outputs:
            raise ShapeError(
                f"the network has {_outputs(self.network.outputs)} but the labels of the mixture "
                f"are of {_outputs(mixture.outputs)}; give the network `outputs={mixture.outputs}`."
            )

    @takes_section("simulation")
    def simulate(
        self,
        duration: float | None = None,
        *,
        times: Sequence[float] | np.ndarray | None = None,
        replicas: int = 1,
        seed: int = 0,
        engine: str | Callable[..., Engine] = "auto",
        test_size: int = 10_000,
        block_size: int | None = None,
        progress: bool | None = False,
        trainer: Mapping[str, Any] | None = None,
        checkpoint: str | Path | None = None,
        resume: str | Path | None = None,
    ) -> Trajectory:
        """Simulate online SGD with Lightning.

        Args:
            duration: the last time t = updates/D; `recording_times` says which times before it
                are recorded; or
            times: the recording times themselves, rounded to whole updates.
            replicas: independent runs from the same initial weights, at least 1.
            seed: of all samples and test sets, not negative.
            engine: a registered name, such as `"chain"` (isotropic mixtures), `"dense"` (two-layer
                networks), `"features"` (readouts of fixed features) or `"plain"` (any network); or
                `"auto"`: the first that applies; or the class of an engine, or another object that
                builds one of the same arguments.
            test_size: points in each test set, at least 1.
            block_size: updates in a block, at least 1; chosen for speed by default.
            progress: whether to show a progress bar; None shows it on a terminal.
            trainer: keywords for Lightning's `Trainer`, such as `accelerator`, `logger` and
                `callbacks`.
            checkpoint: file for a Lightning checkpoint of the end of the run.
            resume: checkpoint to go on from; with the same arguments and recording times that
                continue those of the checkpoint, the result is that of an uninterrupted run, bit
                for bit.

        Returns:
            A trajectory with a replica axis.

        Raises:
            RangeError: if a number is out of range.
            UnknownComponentError: if no plugin registers the name of the engine.
            ArgumentError: if `engine` is no engine.
            IncompatibleError: if no engine describes the experiment, or a keyword of the trainer
                or a callback is not right for these runs; the message says why.
            DivergenceError: if the weights diverge; the message says when, `partial` has the
                record up to then.
        """
        from gmmdyn.training import simulate

        with self._partial_described():
            trajectory = simulate(
                (self.data_model, self.network, self.algorithm),
                settle_times(duration, times, self.data_model.dim),
                replicas=replicas,
                seed=seed,
                engine=engine,
                test_size=test_size,
                block_size=block_size,
                progress=progress,
                trainer=trainer,
                checkpoint=checkpoint,
                resume=resume,
            )
        return self.described(trajectory)

    def solve(
        self,
        theory: str | Theory = "ode",
        duration: float | None = None,
        *,
        times: Sequence[float] | np.ndarray | None = None,
        initial: OrderParameters | None = None,
        **options: Any,
    ) -> Trajectory:
        """Predict what `simulate` measures.

        Args:
            theory: a registered name, or a `Theory`.
            duration: the last time t = updates/D; `recording_times` says which times before it
                are recorded; or
            times: the recording times themselves; neither is needed for a fixed point.
            initial: where to start; the network's initial weights by default.
            **options: keywords of the theory when it is given by name, such as `integrator`.

        Returns:
            A trajectory. Of a theory that predicts order parameters alone, the errors are computed
            where these determine them.

        Raises:
            RangeError: if a number is out of range.
            ArgumentError: if an option is unknown.
            IncompatibleError: if the theory does not describe the experiment; the message says
                which assumption fails.
            ConvergenceError: if the solver gives up; `partial` has what it had.
        """
        chosen = build_theory(theory, options)
        grid = np.array([np.inf])
        if chosen.follows_time:
            grid = settle_times(duration, times, self.data_model.dim)
        with self._partial_described():
            trajectory = chosen.solve(
                self.data_model,
                self.network,
                self.algorithm,
                times=grid,
                initial=initial,
            )
            trajectory = with_errors(trajectory, self.data_model, self.network, self.algorithm)
        return self.described(trajectory)

    def check(self, theory: str | Theory = "ode", **options: Any) -> None:
        """Say whether a theory describes the experiment.

        Args:
            theory: a registered name, or a `Theory`.
            **options: keywords of the theory when it is given by name.

        Raises:
            IncompatibleError: naming the assumption that fails.
        """
        build_theory(theory, options).check(self.data_model, self.network, self.algorithm)

    @contextmanager
    def _partial_described(self) -> Iterator[None]:
        """Describe what a run or solver had when it gave up as if it had not."""
        try:
            yield
        except ConvergenceError as error:
            if error.partial is not None:
                error.partial = self.described(error.partial)
            raise

    def described(self, trajectory: Trajectory) -> Trajectory:
        """Add to a trajectory of this experiment what is needed to run it again.

        Args:
            trajectory: made by a run or a theory.

        Returns:
            The trajectory, with more metadata. The Bayes error of a Gaussian mixture is among them,
            and is computed when it is first read: by a figure, a table, `Trajectory.save` or you.
        """
        about: dict[str, Any] = {
            "experiment": self.description(),
            "dim": self.data_model.dim,
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("gmmdyn", "torch", "numpy")},
            },
        }
        later: dict[str, Callable[[], Any]] = {}
        mixture = self.data_model
        if isinstance(mixture, GaussianMixture) and mixture.cluster_classes is not None:
            # It can take longer than to solve, and only figures, tables and files have it.
            later["bayes_error"] = partial(_bayes_error, mixture)
        return replace(trajectory, metadata=Metadata({**trajectory.metadata, **about}, later))

    @classmethod
    def from_yaml(cls, source: str | Path) -> Experiment:
        """Build the experiment of a preset or a YAML file.

        Args:
            source: the name of a preset, or the path of a file with `data_model`, `network` and
                `algorithm`; how to simulate and solve may stand there too, and is not used.

        Returns:
            The experiment.

        Raises:
            ConfigError: if there is no such preset or file, or it does not describe an experiment.
            GmmdynError: if a name or option is unknown, or a value out of range.
        """
        return cls.from_configuration(Configuration.load(source))

    @classmethod
    def from_configuration(cls, configuration: Configuration) -> Experiment:
        """Build the experiment of a configuration.

        Args:
            configuration: the experiment in plain values.

        Returns:
            The experiment.

        Raises:
            GmmdynError: if a name or option is unknown, or a value out of range.
        """
        return cls(*configuration.components())

    def configuration(self) -> Configuration:
        """Return the experiment as a configuration, which builds it again.

        Raises:
            ConfigError: if a part was made without the registry, so that it has no name, or the
                algorithm is of a subclass.
        """
        return Configuration.describing(self.data_model, self.network, self.algorithm)

    def to_yaml(self, path: str | Path) -> Path:
        """Write a YAML file that builds the experiment again.

        Args:
            path: the file to write; an existing one is replaced.

        Returns:
            The path.

        Raises:
            ConfigError: if a part was made without the registry, so that it has no name.
            OutputError: if the file cannot be written.
        """
        return write_text(Path(path), self.configuration().to_yaml())

    def description(self) -> dict[str, Any]:
        """Return the experiment as plain values, as in a configuration file.

        Returns:
            `data_model`, `network` and `algorithm`; a component (a loss is one) that was not built
            by its name is described by its class and a digest of its state (its arrays and
            attributes, but not what is in a `functools.cached_property`), an array of more than
            100,000 numbers by its shape and the SHA-256 of its float64 values.
        """
        return {
            "data_model": describe(self.data_model, _MOST_NUMBERS),
            "network": describe(self.network, _MOST_NUMBERS),
            "algorithm": plain(self.algorithm, _MOST_NUMBERS),
        }


def _outputs(count: int) -> str:
    return "1 output" if count == 1 else f"{count} outputs"


def _bayes_error(mixture: GaussianMixture) -> dict[str, float]:
    """Return the Bayes error as plain values."""
    return mixture.bayes_error()._asdict()


def build_theory(theory: str | Theory, options: Mapping[str, Any]) -> Theory:
    """Return a theory that a caller gave by name or as an object.

    Args:
        theory: a registered name, or a `Theory`.
        options: keywords of its class; none with an object.

    Returns:
        The theory.

    Raises:
        UnknownComponentError: if no plugin registers the name.
        ArgumentError: if an option is unknown, or goes with an object.
    """
    if not isinstance(theory, Theory):
        return components.theory(theory, **options)
    if options:
        raise ArgumentError("options go with the name of a theory, not with a theory itself.")
    return theory
