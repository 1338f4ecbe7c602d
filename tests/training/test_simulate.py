"""Simulation through Lightning: recording, resuming, diverging, a trainer of one's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

import gmmdyn as gd
from gmmdyn.errors import (
    ArgumentError,
    ConfigError,
    DivergenceError,
    IncompatibleError,
    OutputError,
    RangeError,
    UnknownComponentError,
)
from gmmdyn.training import DenseEngine, OnlineLearning, Recorder, Segment
from gmmdyn.training.errors_on_test_sets import errors_from_fields, errors_from_inputs

DIM = 50


def experiment(rate=0.3, activation="relu", mixture=None, **options):
    mixture = mixture or gd.data_model("xor", dim=DIM, variance=0.2)
    options = {"hidden": 4, "init_scale": 0.7, "seed": 1, **options}
    network = gd.network("committee", dim=DIM, activation=activation, **options)
    return gd.Experiment(mixture, network, gd.OnlineSGD(rate, 0.01))


def test_the_record_has_every_time_replica_and_curve():
    times = [0, 0.02, 1.0, 3.0]
    run = experiment().simulate(times=times, replicas=3, block_size=64)
    np.testing.assert_allclose(run.times, times)
    assert run.replicas == 3
    shapes = {name: value.shape for name, value in run.curves.items()}
    assert shapes == {
        "pmse": (4, 3),
        "classification_error": (4, 3),
        "tie_rate": (4, 3),  # of rectifiers that are all off
        "Q": (4, 3, 4, 4),
        "R": (4, 3, 4, 4),
        "v": (4, 3, 4),
    }
    assert np.ptp(run["Q"][0], axis=0).max() == 0  # all from the same weights
    assert np.ptp(run["Q"][-1], axis=0).max() > 0
    network = experiment().network.order_parameters(experiment().data_model)
    np.testing.assert_allclose(run["R"][0, 0], network.R.numpy(), rtol=1e-6)


def test_recorded_order_parameters_are_those_of_the_engine_weights():
    run = experiment().simulate(times=[0, 2.0], seed=7, block_size=64, engine="dense")
    e = experiment()
    engine = DenseEngine(e.data_model, e.network, e.algorithm, seed=7, block_size=64)
    for block in range(2):
        stop = min(64 * (block + 1), 2 * DIM)
        engine.advance(Segment(block, 64 * block, stop))
    w = engine.first_layer[0].double()
    np.testing.assert_allclose(run["Q"][1, 0], (w @ w.T / DIM).detach().numpy(), rtol=1e-6)


@pytest.mark.parametrize("engine", ["chain", "dense"])
def test_recording_times_do_not_change_the_run(engine):
    few = experiment(dtype="float64").simulate(times=[2.0], seed=1, engine=engine)
    many = experiment(dtype="float64").simulate(times=np.linspace(0, 2, 11), seed=1, engine=engine)
    np.testing.assert_allclose(few["Q"][-1], many["Q"][-1], rtol=1e-12)
    np.testing.assert_allclose(few.pmse[-1], many.pmse[-1], rtol=1e-12)


@pytest.mark.parametrize("engine", ["chain", "dense"])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path, engine):
    options = {"replicas": 2, "seed": 3, "block_size": 37, "engine": engine}
    times = [0, 0.5, 1.3, 2.0, 4.0]
    whole = experiment().simulate(times=times, **options)
    path = tmp_path / "half.ckpt"
    # Stopped in the middle of a block.
    experiment().simulate(times=times[:3], checkpoint=path, **options)
    resumed = experiment().simulate(times=times, resume=path, **options)
    for name, value in whole.curves.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)
    with pytest.raises(IncompatibleError, match="other times"):
        experiment().simulate(times=[0, 1, 2], resume=path, **options)
    with pytest.raises(ConfigError, match="no checkpoint"):
        experiment().simulate(times=times, resume=tmp_path / "none.ckpt", **options)


def test_a_run_killed_by_lightning_resumes_bit_for_bit(tmp_path):
    """A checkpoint of the user's own callback, and `max_steps`, which counts blocks."""
    times = [0, 1.0, 3.0]
    whole = experiment().simulate(times=times, block_size=25)
    keep = pl.callbacks.ModelCheckpoint(dirpath=tmp_path, every_n_train_steps=2, save_top_k=-1)
    trainer = {"max_steps": 4, "callbacks": [keep], "enable_checkpointing": True}
    part = experiment().simulate(times=times, block_size=25, trainer=trainer)
    np.testing.assert_array_equal(part.times, [0, 1.0])  # 4 blocks of 25 are t = 2
    resumed = experiment().simulate(times=times, block_size=25, resume=keep.best_model_path)
    np.testing.assert_array_equal(resumed["Q"], whole["Q"])
    np.testing.assert_array_equal(resumed.pmse, whole.pmse)


# Lightning's own words about torch, and about data loaders, which a stream is not.
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:.*:UserWarning:pytorch_lightning")
def test_module_and_stream_compose_with_a_trainer_of_ones_own(tmp_path):
    e = experiment()
    engine = DenseEngine(e.data_model, e.network, e.algorithm, replicas=2, block_size=25)
    module, recorder = OnlineLearning(engine), Recorder(engine, [0, 1.0, 2.0])
    logger = pl.loggers.CSVLogger(tmp_path)
    trainer = pl.Trainer(
        max_steps=4,
        callbacks=[recorder],
        logger=logger,
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    trainer.fit(module, train_dataloaders=module.stream())
    assert trainer.global_step == 4
    assert module.time == 2.0
    expected = experiment().simulate(times=[0, 1.0, 2.0], replicas=2, block_size=25, engine="dense")
    np.testing.assert_array_equal(recorder.trajectory({})["Q"], expected["Q"])
    logged = (tmp_path / "lightning_logs/version_0/metrics.csv").read_text()
    assert f"{expected.pmse[-1].mean():.5f}"[:6] in logged


@pytest.mark.parametrize("engine", ["chain", "dense"])
def test_a_run_that_diverges_says_when_and_keeps_what_it_had(engine):
    with pytest.raises(DivergenceError, match=r"between t = .*lower the learning rate") as caught:
        experiment(rate=40.0).simulate(times=[0, 0.1, 0.2, 400.0], replicas=2, engine=engine)
    partial = caught.value.partial
    assert partial is not None
    assert partial.times[0] == 0
    assert partial.times.size < 4
    assert np.isfinite(partial.pmse).all()


def test_bad_numbers_are_named():
    for options, name in [
        ({"duration": -1}, "duration"),
        ({"duration": 1, "replicas": 0}, "replicas"),
        ({"duration": 1, "seed": -1}, "seed"),
        ({"duration": 1, "test_size": 0.5}, "test_size"),
        ({"duration": 1, "block_size": 0}, "block_size"),
        ({"duration": 1, "times": [0, 1]}, "times"),
        ({}, "times"),
        ({"times": [0, 0.001]}, "times"),
        ({"times": [1, 0]}, "times"),
    ]:
        with pytest.raises(RangeError, match=f"`{name}`"):
            experiment().simulate(**options)
    with pytest.raises(UnknownComponentError, match=r"no engine is called `dens`; .* `dense`"):
        experiment().simulate(1, engine="dens")


def test_a_checkpoint_that_cannot_be_written_is_a_sentence(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(OutputError, match="checkpoint"):
        experiment().simulate(0.1, checkpoint=blocked / "x.ckpt")


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_drawing_fields_is_drawing_inputs(activation):
    """Both agree in their standard errors, for clusters with covariances of their own."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(3, DIM, generator=generator, dtype=torch.float64)
    mixture = gd.data_model(
        "random-covariance",
        means=means,
        labels=[-1, 1, 1],
        priors=[0.5, 0.3, 0.2],
        per_cluster=True,
    )
    network = gd.network(
        "committee",
        dim=DIM,
        hidden=2,
        activation=activation,
        init_scale=1.0,
        bias=[0.3, -0.2],
        seed=5,
    )
    state = network.order_parameters(mixture)
    size, repeats = 4000, 30
    fields, inputs = [], []
    with torch.no_grad():
        for _ in range(repeats):
            fields.append(
                errors_from_fields(
                    state,
                    mixture.labels,
                    mixture.priors,
                    network.activation,
                    size,
                    generator,
                    gd.loss("logistic"),
                )
            )
            inputs.append(
                errors_from_inputs(
                    mixture,
                    network,
                    size,
                    generator,
                    network.first_layer.dtype,
                    gd.loss("logistic"),
                )
            )
    fields, inputs = np.array(fields), np.array(inputs)
    spread = np.sqrt((fields.var(0, ddof=1) + inputs.var(0, ddof=1)) / repeats)
    assert (np.abs(fields.mean(0) - inputs.mean(0)) <= 4 * spread).all()
    assert (spread < 0.01).all()
    # pmse, classification error, tie rate (0 of erf units), loss
    assert (spread > 0).tolist() == [True, True, activation == "relu", True]


@pytest.mark.parametrize("engine", ["dense", "chain"])
def test_an_output_of_exactly_0_is_half_an_error_in_simulation(engine):
    """One rectifier without noise: on in one cluster of the XOR, at 0 in two, off in the other."""
    mixture = gd.data_model("xor", dim=4, variance=0.0)
    network = gd.network(
        "committee",
        first_layer=[[2.0, 0.0, 0.0, 0.0]],
        readout=[1.0],
        activation="relu",
        dtype="float64",
    )
    schedule = gd.Schedule([9, 10], [0, 1])  # nothing moves
    experiment = gd.Experiment(mixture, network, gd.OnlineSGD(schedule))
    run = experiment.simulate(times=[0, 1], replicas=2, engine=engine)
    assert (run.tie_rate == 0.75).all()
    # The cluster with the output has label -1; half an error of three ties.
    assert (run.classification_error == 0.25 + 0.75 / 2).all()


def test_networks_are_tested_together_as_each_by_itself():
    """What a GPU does: one draw for all; here by hand from the same numbers, point by point."""
    mixture = gd.data_model("xor", dim=20, variance=0.3)
    networks = [
        gd.network(
            "committee", dim=20, hidden=2, activation="erf", init_scale=1.0, bias=True, seed=n
        )
        for n in range(3)
    ]
    parts = zip(*((n.first_layer.data, n.readout.data, n.bias.data) for n in networks), strict=True)
    states = mixture.order_parameters(*map(torch.stack, parts))
    loss, size = gd.loss("logistic"), 400
    found = errors_from_fields(
        states,
        mixture.labels,
        mixture.priors,
        networks[0].activation,
        size,
        torch.Generator().manual_seed(0),
        loss,
    )
    generator = torch.Generator().manual_seed(0)
    expected = np.zeros((4, 3))
    for cluster, y in enumerate(mixture.labels.tolist()):
        z = torch.randn(3, size // 4, 2, generator=generator, dtype=torch.float64)
        for n in range(3):
            one = states.of(n)
            values, vectors = torch.linalg.eigh(one.covariance[0])
            root = vectors @ torch.diag(values.sqrt()) @ vectors.T
            for point in z[n]:
                fields = one.R[cluster] + one.b + root @ point
                output = float(torch.erf(fields / 2**0.5) @ one.v)
                wrong, tie = y * output < 0, output == 0
                square, logistic = 0.5 * (y - output) ** 2, np.log1p(np.exp(-y * output))
                terms = (square, wrong + tie / 2, tie, logistic)
                expected[:, n] += np.array(terms) / size
    np.testing.assert_allclose(np.array(found), expected, rtol=1e-10)


def test_another_loss_is_a_curve_and_label_noise_is_for_training_alone():
    """Weights that do not move: errors are those of clean labels, by hand from the outputs."""
    mixture = gd.data_model("isotropic", means=[[5.0, 0.0]], labels=[-1], variance=0.0)
    network = gd.network("committee", first_layer=[[1.0, 0.0]], readout=[0.4], activation="linear")
    algorithm = gd.OnlineSGD(gd.Schedule([9, 10], [0, 1]), loss="logistic", label_noise=0.5)
    run = gd.Experiment(mixture, network, algorithm).simulate(times=[0, 3], replicas=2)
    output = 0.4 * 5 / 2
    np.testing.assert_allclose(run["loss"], np.log1p(np.exp(output)), rtol=1e-6)
    np.testing.assert_allclose(run.pmse, 0.5 * (1 + output) ** 2, rtol=1e-6)
    assert (run.classification_error == 1).all()
    assert "loss" not in experiment().simulate(times=[0.1]).curves


def test_a_resumed_run_in_principal_axes_is_the_uninterrupted_one_bit_for_bit(
    tmp_path, monkeypatch
):
    """Also where the eigenvectors come out with other signs, as by another library."""
    means = torch.randn(2, DIM, generator=torch.Generator().manual_seed(0))
    mixture = gd.data_model("random-covariance", means=means, labels=[-1, 1])
    e = experiment(mixture=mixture)
    options = {"replicas": 2, "block_size": 37}
    whole = e.simulate(times=[0, 0.5, 1.3, 2.0], **options)
    e.simulate(times=[0, 0.5], checkpoint=tmp_path / "half.ckpt", **options)
    axes = mixture.principal_axes()
    other = axes._replace(rotation=-axes.rotation, centres=-axes.centres)
    monkeypatch.setattr(type(mixture), "principal_axes", lambda self: other)
    resumed = e.simulate(times=[0, 0.5, 1.3, 2.0], resume=tmp_path / "half.ckpt", **options)
    for name, value in whole.curves.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)
    np.testing.assert_allclose(
        whole["R"][0, 0], e.network.order_parameters(mixture).R.numpy(), atol=1e-6
    )


def test_a_resumed_run_with_all_variations_is_the_uninterrupted_one_bit_for_bit(tmp_path):
    schedule = gd.Schedule([0, 2], [0.4, 0.1])
    algorithm = gd.OnlineSGD(schedule, 0.1, True, "logistic", batch_size=3, label_noise=0.1)
    e = gd.Experiment(experiment().data_model, experiment().network, algorithm)
    times, options = [0, 0.5, 1.3, 2.0], {"replicas": 2, "block_size": 37}
    whole = e.simulate(times=times, **options)
    e.simulate(times=times[:3], checkpoint=tmp_path / "half.ckpt", **options)
    resumed = e.simulate(times=times, resume=tmp_path / "half.ckpt", **options)
    for name, value in whole.curves.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)


def test_an_interrupt_is_an_interrupt_and_can_be_repeated():
    """Lightning makes an exit of it and ignores the signal from then on."""

    class Impatient(pl.Callback):
        def on_train_batch_end(self, *arguments):
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        experiment().simulate(5, trainer={"callbacks": [Impatient()]})
    assert signal.getsignal(signal.SIGINT) is before


def test_unknown_keywords_of_the_trainer_are_named():
    with pytest.raises(ArgumentError, match="`max_step`; did you mean `max_steps`"):
        experiment().simulate(1, trainer={"max_step": 3})


class Uniform(gd.DataModel):
    """A data model that is no Gaussian mixture."""

    @property
    def dim(self):
        return DIM

    def sample(self, n, generator, dtype):
        inputs = torch.rand(n, DIM, generator=generator, dtype=dtype) - 0.5
        labels = inputs[:, 0].sign()
        return gd.Batch(inputs, labels, torch.zeros(n, dtype=torch.int64))


def test_any_data_model_can_be_simulated():
    run = experiment(mixture=Uniform(), rate=1.0).simulate(times=[0, 50.0], replicas=2)
    assert "R" not in run.curves
    assert run.pmse[-1].mean() < 0.8 * run.pmse[0].mean()


def test_theory_does_not_import_lightning():
    code = (
        "import sys, gmmdyn as gd\n"
        "m = gd.data_model('xor', dim=20)\n"
        "n = gd.network('committee', dim=20, hidden=2)\n"
        "gd.Experiment(m, n, gd.OnlineSGD(0.1)).solve('ode', 1, integrator='sobol')\n"
        "heavy = {'pytorch_lightning', 'matplotlib', 'xarray', 'numba'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.parametrize("engine", ["chain", "dense"])
def test_simulation_lies_on_the_theory(engine):
    """Within 4 standard errors plus a term of order 1/D, which halves from D to 2D."""
    gaps = []
    for dim, replicas in ((100, 32), (200, 32)):
        mixture = gd.data_model("xor", dim=dim, variance=0.2)
        network = gd.network(
            "committee",
            hidden=4,
            init="informed",
            mixture=mixture,
            init_scale=0.3,
            seed=0,
        )
        e = gd.Experiment(mixture, network, gd.OnlineSGD(0.5, 0.05))
        times = [0, 0.5, 1, 2, 4, 8, 16]
        run = e.simulate(times=times, replicas=replicas, test_size=20_000, engine=engine)
        ode = e.solve("ode", times=times, integrator=gd.integrator("sobol", log2_samples=13))
        for name in ("pmse", "classification_error", "Q", "R", "v"):
            gap = np.abs(run[name].mean(1) - ode[name])
            room = 4 * np.nan_to_num(run.standard_error(name)) + 5 / dim
            assert (gap < room).all(), (name, gap.max())
        gaps.append(np.abs(run["Q"].mean(1) - ode["Q"]).max())
    assert max(gaps) < 0.1


def test_our_hooks_are_ones_that_lightning_calls():
    """A misspelt hook is never called: every hook we define exists in Lightning."""
    from gmmdyn.training.progress import Progress

    for cls, lightnings in (
        (Recorder, pl.Callback),
        (Progress, pl.Callback),
        (OnlineLearning, pl.LightningModule),
    ):
        for name in vars(cls):
            if name.startswith(("on_", "configure_")):
                assert hasattr(lightnings, name), (cls, name)
