"""The progress bar counts updates and goes away, also when a run fails."""

from __future__ import annotations

import pytest

import gmmdyn as gd
from gmmdyn.errors import DivergenceError
from gmmdyn.training import Progress


def experiment(rate):
    mixture = gd.data_model("xor", dim=50)
    network = gd.network("committee", dim=50, hidden=2, init_scale=1.0)
    return gd.Experiment(mixture, network, gd.OnlineSGD(rate))


def test_it_shows_time_rate_and_what_is_left(monkeypatch):
    seen = []
    moved = Progress.on_train_batch_end

    def spy(self, trainer, module, *rest):
        moved(self, trainer, module, *rest)
        task = self._bar.tasks[0]
        seen.append((task.completed, task.total, task.fields["time"]))

    monkeypatch.setattr(Progress, "on_train_batch_end", spy)
    experiment(0.1).simulate(4, progress=True, block_size=80)
    assert seen == [(80, 200, 1.6), (160, 200, 3.2), (200, 200, 4.0)]


def test_it_goes_away_when_a_run_fails(monkeypatch):
    closed = []
    close = Progress._close
    monkeypatch.setattr(Progress, "_close", lambda self: (close(self), closed.append(1)))
    with pytest.raises(DivergenceError):
        experiment(60.0).simulate(400, progress=True)
    assert closed


def test_there_is_none_unless_asked_for(capfd):
    experiment(0.1).simulate(1)
    assert capfd.readouterr() == ("", "")
