"""What listens to a run in several tests: a logger that keeps its rows, and an experiment."""

from __future__ import annotations

import numpy as np
import pytorch_lightning as pl

import gmmdyn as gd
from gmmdyn.training import ChainEngine, OnlineLearning, Recorder

DIM = 50
# Seven recording times, some of them in one block of 37 updates, none at its end.
TIMES = [0, 0.3, 0.5, 1.3, 2.0, 2.1, 4.0]
OPTIONS = {"times": TIMES, "replicas": 2, "seed": 3, "block_size": 37, "test_size": 500}


def experiment(engine="chain"):
    mixture = gd.data_model("xor", dim=DIM, variance=0.2)
    if engine == "features":
        network = gd.network("random-features", dim=DIM, features=30, activation="relu", seed=0)
    else:
        network = gd.network(
            "committee", dim=DIM, hidden=4, activation="relu", init_scale=0.7, seed=1
        )
    return gd.Experiment(mixture, network, gd.OnlineSGD(0.3, 0.01))


def parts(times=TIMES):
    """Return module and recorder of the run that `simulate(**OPTIONS)` makes."""
    e = experiment()
    engine = ChainEngine(e.data_model, e.network, e.algorithm, replicas=2, seed=3, block_size=37)
    return OnlineLearning(engine), Recorder(engine, times, 500)


def same(mine, theirs):
    np.testing.assert_array_equal(mine.times, theirs.times)
    assert mine.curves.keys() == theirs.curves.keys()
    for name, value in theirs.curves.items():
        np.testing.assert_array_equal(mine[name], value, err_msg=name)


def trainer_of_ones_own(*callbacks, **keywords):
    """Return a Lightning trainer that says nothing."""
    return pl.Trainer(
        **{
            "max_epochs": -1,
            "callbacks": list(callbacks),
            "logger": False,
            "accelerator": "cpu",
            "enable_checkpointing": any(
                isinstance(one, pl.callbacks.Checkpoint) for one in callbacks
            ),
            "enable_progress_bar": False,
            "enable_model_summary": False,
            **keywords,
        }
    )


class Memory(pl.loggers.logger.Logger):
    """Keeps the rows that it is given."""

    name, version = "memory", 0

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_hyperparams(self, *arguments, **keywords):
        pass

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, dict(metrics)))


class Hearing(pl.Callback):
    """Keeps what there is to monitor at the end of each epoch."""

    def __init__(self):
        self.rows = []

    def on_train_epoch_end(self, trainer, module):
        self.rows.append({name: float(value) for name, value in trainer.callback_metrics.items()})
