"""Measure the replicas at recording times."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any, final

import numpy as np
import pytorch_lightning as pl
import torch

from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import GaussianMixture
from gmmdyn.training.engine import DenseEngine, Weights
from gmmdyn.training.evaluation import TestErrors, errors_from_fields, errors_from_inputs
from gmmdyn.training.stream import TEST_SET, Segment, stream_seed
from gmmdyn.trajectory import Source, Trajectory


@final
class Recorder(pl.Callback):
    """Records errors and order parameters of every replica at given times.

    Its record travels in Lightning checkpoints. The errors are those of a fresh test set for each
    replica and time (drawn as local fields for a Gaussian mixture, as inputs otherwise). With a
    logger, the means over replicas are logged at recording times.

    Args:
        engine: of the module that is trained.
        times: recording times t = samples/D, increasing, whole numbers of samples.
        test_size: points in a test set, at least 1.
    """

    def __init__(
        self, engine: DenseEngine, times: Sequence[float] | np.ndarray, test_size: int = 10_000
    ) -> None:
        super().__init__()
        self._engine = engine
        self._steps = [round(float(t) * engine.dim) for t in times]
        self._test_size = test_size
        self._curves: dict[str, np.ndarray] = {}
        self._done = 0
        self._fresh = 0
        self._seen: dict[int, int] = {}
        self._lock = Lock()

    @property
    def last(self) -> int:
        """The number of samples at the last recording time."""
        return self._steps[-1]

    def stops(self, segment: Segment) -> list[int]:
        """Return the numbers of samples in a segment at which `observe` wants to be called."""
        return [step for step in self._steps if segment.start < step <= segment.stop]

    def observe(self, step: int, replicas: range, weights: Weights) -> None:
        """Measure some replicas; an `Observer` of the engine.

        Args:
            step: samples seen.
            replicas: which.
            weights: their weights.
        """
        row = self._steps.index(step)
        curves: dict[str, np.ndarray] = {"v": _array(weights.readout)}
        if weights.bias is not None:
            curves["b"] = _array(weights.bias)
        model = self._engine.data_model
        state = None
        if isinstance(model, GaussianMixture):
            state = model.order_parameters(*weights)
            curves["Q"], curves["R"] = _array(state.Q), _array(state.R)
        else:
            curves["Q"] = _array(weights.first_layer @ weights.first_layer.mT / self._engine.dim)
        errors = [self._errors(step, replicas[i], _pick(weights, i)) for i in range(len(replicas))]
        curves["pmse"] = np.array([error.pmse for error in errors])
        curves["classification_error"] = np.array([e.classification_error for e in errors])
        with self._lock:
            for name, value in curves.items():
                self._row(name, value)[row, replicas.start : replicas.stop] = value
            self._seen[row] = self._seen.get(row, 0) + len(replicas)
            if self._seen[row] == self._engine.replicas:
                # Groups run in parallel, but a group passes the rows in order.
                self._done = max(self._done, row + 1)

    def _row(self, name: str, value: np.ndarray) -> np.ndarray:
        """Return the array of a curve, making room when it is seen first."""
        if name not in self._curves:
            shape = (len(self._steps), self._engine.replicas, *value.shape[1:])
            self._curves[name] = np.full(shape, np.nan)
        return self._curves[name]

    def _errors(self, step: int, replica: int, weights: Weights) -> TestErrors:
        engine, model = self._engine, self._engine.data_model
        if not bool(torch.isfinite(weights.first_layer.sum() + weights.readout.sum())):
            return TestErrors(float("nan"), float("nan"))
        generator = torch.Generator(device=weights.first_layer.device)
        generator.manual_seed(stream_seed(engine.seed, TEST_SET, replica, step))
        if isinstance(model, GaussianMixture):
            return errors_from_fields(
                model.order_parameters(*weights),
                model.labels,
                model.priors,
                engine.activation,
                self._test_size,
                generator,
            )
        return errors_from_inputs(model, *weights, engine.activation, self._test_size, generator)

    def trajectory(self, metadata: dict[str, Any]) -> Trajectory | None:
        """Return what was recorded so far.

        Args:
            metadata: to go with it.

        Returns:
            The trajectory, up to the last time at which everything was finite; None if there is
            none.
        """
        count = self._done
        for value in self._curves.values():
            finite = np.isfinite(value[:count].reshape(count, -1)).all(axis=1)
            count = count if finite.all() else int(finite.argmin())
        if count == 0:
            return None
        source: Source = "simulation"
        times = np.array(self._steps[:count]) / self._engine.dim
        curves = {name: value[:count].copy() for name, value in self._curves.items()}
        return Trajectory(times, curves, source, metadata=metadata)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the initial weights, unless the run was resumed (Lightning's hook)."""
        if int(pl_module.samples_seen) == 0 and self._steps[0] == 0 and self._done == 0:  # type: ignore[arg-type]
            for group in self._engine.groups():
                self.observe(0, group, self._engine.weights(group))

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Log new rows; Lightning's own logging costs milliseconds, so only then."""
        if trainer.logger is not None and self._done > self._fresh:
            for name in ("pmse", "classification_error"):
                pl_module.log(name, float(np.nanmean(self._curves[name][self._done - 1])))
        self._fresh = self._done

    def state_dict(self) -> dict[str, Any]:
        """Return the record, for a checkpoint (Lightning's hook)."""
        curves = {
            name: torch.from_numpy(value[: self._done]) for name, value in self._curves.items()
        }
        return {"steps": self._steps[: self._done], "curves": curves}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the record of a checkpoint (Lightning's hook).

        Args:
            state_dict: what `state_dict` returned.

        Raises:
            IncompatibleError: if the checkpoint was recorded at other times.
        """
        steps = list(state_dict["steps"])
        if steps != self._steps[: len(steps)]:
            raise IncompatibleError(
                "the checkpoint was recorded at other times; resume with the `times` of that run, "
                "or with times that continue them."
            )
        self._done = self._fresh = len(steps)
        for name, value in state_dict["curves"].items():
            self._row(name, value[0].numpy())[: self._done] = value.numpy()


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.asarray(tensor.detach().double().cpu().numpy())


def _pick(weights: Weights, index: int) -> Weights:
    bias = None if weights.bias is None else weights.bias[index]
    return Weights(weights.first_layer[index], weights.readout[index], bias)
