"""Measure the replicas at recording times."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any, final

import numpy as np
import pytorch_lightning as pl
import torch

from gmmdyn.errors import DivergenceError, IncompatibleError
from gmmdyn.interfaces import Engine, Segment
from gmmdyn.training.callbacks import why_stopped
from gmmdyn.training.distributed import gathered
from gmmdyn.trajectory import Curve, Source, Trajectory


@final
class Recorder(pl.Callback):
    """Records errors and order parameters of every replica at given times.

    Its record travels in Lightning checkpoints. What is measured the engine says; errors are those
    of a fresh test set for each replica and time. Where loggers or callbacks listen, the means over
    replicas of the errors are logged at recording times, with `t`; on the x-axis of loggers, which
    has room for whole numbers only, is the number of updates.

    Args:
        engine: of the module that is trained.
        times: recording times t = updates/D, increasing, whole numbers of updates.
        test_size: points in a test set, at least 1.
    """

    def __init__(
        self, engine: Engine, times: Sequence[float] | np.ndarray, test_size: int = 10_000
    ) -> None:
        super().__init__()
        self._engine = engine
        self._steps = [round(float(t) * engine.dim) for t in times]
        self._test_size = test_size
        self._curves: dict[str, np.ndarray] = {}
        self._everything: dict[str, np.ndarray] = {}
        self._dimensions: dict[str, tuple[str, ...]] = {}  # of curves of one's own
        self._done = 0
        # How many rows were logged in this fit, and how many all callbacks have heard of.
        self._logged = self._announced = 0
        self._stopped_early: str | None = None
        self._seen: dict[int, int] = {}
        self._lock = Lock()

    @property
    def last(self) -> int:
        """The number of updates at the last recording time."""
        return self._steps[-1]

    @property
    def engine(self) -> Engine:
        """The engine that is measured."""
        return self._engine

    @property
    def unheard(self) -> list[int]:
        """The numbers of updates at the recording times that nobody has been told of."""
        return self._steps[self._announced :]

    @property
    def times(self) -> np.ndarray:
        """The recording times that the run has passed."""
        return np.array(self._steps[: self._done]) / self._engine.dim

    def stops(self, segment: Segment) -> list[int]:
        """Return the numbers of updates in a segment at which `observe` wants to be called."""
        return [step for step in self._steps if segment.start < step <= segment.stop]

    def observe(self, step: int, replicas: range) -> None:
        """Measure some replicas; an `Observer` of the engine.

        Args:
            step: updates done.
            replicas: which.
        """
        row = self._steps.index(step)
        curves = self._engine.measure(step, replicas, self._test_size)
        with self._lock:
            for name, curve in curves.items():
                value = curve.values if isinstance(curve, Curve) else curve
                if isinstance(curve, Curve):
                    self._dimensions[name] = curve.dims
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

    def trajectory(
        self, metadata: dict[str, Any], replicas: slice = slice(None)
    ) -> Trajectory | None:
        """Return what was recorded so far.

        Args:
            metadata: to go with it; `stopped_early` is added: what ended the run before its last
                recording time, or None.
            replicas: of which; by default of all, in all processes.

        Returns:
            The trajectory, up to the last time at which everything was finite; None if there is
            none.
        """
        everything = self._everything or self._curves
        curves = {name: value[: self._done, replicas] for name, value in everything.items()}
        count = self._done
        for value in curves.values():
            finite = np.isfinite(value).all(axis=tuple(range(1, value.ndim)))
            count = count if finite[:count].all() else int(finite[:count].argmin())
        if count == 0:
            return None
        source: Source = "simulation"
        times = np.array(self._steps[:count]) / self._engine.dim
        kept = {name: value[:count].copy() for name, value in curves.items()}
        about = {**metadata, "stopped_early": self._stopped_early}
        return Trajectory(times, kept, source, metadata=about, dimensions=self._dimensions)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the initial weights, unless the run was resumed (Lightning's hook)."""
        self._everything = {}  # of an earlier fit
        self._stopped_early = None
        self._logged = 0
        if not pl_module.listening:
            self._announced = self._done
        if int(pl_module.updates_done) == 0 and self._steps[0] == 0 and self._done == 0:  # type: ignore[arg-type]
            for group in self._engine.groups():
                self.observe(0, group)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Log what was recorded at the end of the step, if anybody listens (Lightning's hook)."""
        if self._announced < self._done:
            self._log(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log what was recorded before the first step (Lightning's hook)."""
        if self._announced < self._done:
            self._log(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that all callbacks have heard of what was logged (Lightning's hook).

        Where nothing was, as in a resumed run that is stopped before its next recording time, they
        hear of the last time again.
        """
        self._log(trainer, pl_module)
        self._announced = self._done

    def _log(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Log the row that was recorded last, once, if anybody listens; it costs milliseconds."""
        if self._logged == self._done or not module.listening:
            return
        self._logged = self._done
        row = self._done - 1
        names = [name for name, value in self._curves.items() if value.ndim == 2]
        latest = np.stack([self._curves[name][row] for name in names])
        finite = np.isfinite(latest)
        sums = np.stack([np.where(finite, latest, 0.0).sum(1), finite.sum(1)])
        total, count = trainer.strategy.reduce(
            torch.from_numpy(sums).to(module.device), reduce_op="sum"
        )
        # In double precision, as they are recorded.
        t = torch.tensor(self._steps[row] / self._engine.dim, dtype=torch.float64)
        values = {"t": t, **dict(zip(names, total / count, strict=True))}
        module.log_dict(values, logger=False, on_step=False, on_epoch=True, batch_size=1)
        if self._announced < self._done:
            # Lightning's own call has an x-axis of batches, and as a metric `step` would be what
            # names the files of checkpoints.
            numbers = {name: float(value) for name, value in values.items()}
            for logger in trainer.loggers:
                logger.log_metrics(numbers, step=self._steps[row])
                logger.save()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Gather the record of all processes, and say what ended it (Lightning's hook)."""
        self._everything = self._whole()
        if self._done < len(self._steps):
            self._stopped_early = why_stopped(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Gather the record of all processes, which diverged together (Lightning's hook)."""
        if isinstance(exception, DivergenceError):
            self._everything = self._whole()

    def _whole(self) -> dict[str, np.ndarray]:
        """Return the curves of the replicas of all processes, up to now."""
        curves = {name: value[: self._done] for name, value in self._curves.items()}
        if not self._engine.divided:
            return curves
        parts = gathered(curves)
        return {name: np.concatenate([part[name] for part in parts], axis=1) for name in curves}

    def state_dict(self) -> dict[str, Any]:
        """Return the record, for a checkpoint (Lightning's hook)."""
        curves = {name: torch.from_numpy(value) for name, value in self._whole().items()}
        return {
            "steps": self._steps[: self._done],
            "curves": curves,
            "dimensions": self._dimensions,
            "announced": self._announced,
        }

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
        self._done = len(steps)
        self._announced = state_dict["announced"]
        self._dimensions = dict(state_dict.get("dimensions", {}))
        here = self._engine.numbers(range(self._engine.replicas))
        part = slice(here.start, here.stop) if self._engine.divided else slice(None)
        for name, value in state_dict["curves"].items():
            self._row(name, value[0].numpy())[: self._done] = value[:, part].numpy()
