import os
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import same_color

from gmmdyn.comparison import compare
from gmmdyn.errors import OutputError, RangeError
from gmmdyn.plot import plot_errors, plot_order_parameters, plot_trajectory, save_figure
from gmmdyn.trajectory import Trajectory

TIMES = np.array([0.0, 0.1, 1.0, 10.0])
PMSE = np.array([0.5, 0.4, 0.3, 0.2])
WRONG = np.array([0.5, 0.4, 0.1, 0.02])  # more than a decade
METADATA = {
    "bayes_error": {"value": 0.015, "standard_error": 0.0},
    "experiment": {
        "data_model": {"name": "xor", "dim": 100},
        "network": {"name": "committee", "activation": {"name": "relu"}, "hidden": 3},
    },
    "dim": 100,
}


def runs(count=5, hidden=3, clusters=4, **metadata):
    generator = np.random.default_rng(0)

    def noisy(curve):
        shape = (curve.shape[0], count, *curve.shape[1:])
        return curve[:, None] * generator.uniform(0.9, 1.1, size=shape)

    curves = {"pmse": PMSE, "classification_error": WRONG}
    curves |= order_parameters(hidden, clusters)
    noise = {name: noisy(curve) for name, curve in curves.items()}
    return Trajectory(TIMES, noise, "simulation", metadata=METADATA | metadata)


def line(hidden=3, clusters=4):
    curves = {"pmse": PMSE, "classification_error": WRONG} | order_parameters(hidden, clusters)
    return Trajectory(TIMES, curves, "theory", metadata=METADATA)


def order_parameters(hidden, clusters):
    generator = np.random.default_rng(1)
    shapes = {"Q": (4, hidden, hidden), "R": (4, clusters, hidden), "v": (4, hidden)}
    return {name: generator.normal(size=shape) for name, shape in shapes.items()}


def points(container):
    """Positions and standard errors of what `errorbar` drew."""
    data, _, (bars,) = container.lines
    halves = [(bar[1, 1] - bar[0, 1]) / 2 for bar in bars.get_segments()]
    return *data.get_data(), np.array(halves)


def lines_of(axes):
    """Lines that are no points of an error bar."""
    return [item for item in axes.get_lines() if item.get_linestyle() != "None"]


def texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.fixture
def simulated():
    return runs()


def test_points_are_means_with_standard_errors_and_lines_are_the_theory(simulated):
    figure = plot_errors(compare(simulated, line()))
    names = ("pmse", "classification_error")
    for axes, name, curve in zip(figure.axes, names, (PMSE, WRONG), strict=True):
        (container,) = axes.containers
        x, y, error = points(container)
        np.testing.assert_array_equal(x, TIMES[1:])  # a logarithmic axis has no zero
        np.testing.assert_allclose(y, simulated[name].mean(axis=1)[1:])
        spread = simulated[name].std(axis=1, ddof=1)[1:]
        np.testing.assert_allclose(error, spread / np.sqrt(5))
        np.testing.assert_array_equal(lines_of(axes)[0].get_xydata()[:, 1], curve[1:])
        assert (axes.get_xlabel(), axes.get_xscale()) == ("t = updates / D", "log")


def test_an_error_over_more_than_a_decade_has_a_logarithmic_axis(simulated):
    figure = plot_errors(compare(simulated, line()))
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "log"]
    assert figure.axes[0].get_ylim()[0] == 0


def test_the_bayes_error_is_a_dashed_line_in_sight(simulated):
    _, axes = plot_errors(compare(simulated, line())).axes
    (dashed,) = [item for item in axes.get_lines() if item.get_linestyle() == "--"]
    assert list(dashed.get_ydata()) == [0.015, 0.015]
    assert axes.get_ylim()[0] < 0.015


def test_a_bayes_error_far_below_leaves_the_axis_and_is_named_in_the_legend():
    far = runs(bayes_error={"value": 1e-12, "standard_error": 0.0})
    figure = plot_errors(compare(far, line()))
    assert figure.axes[1].get_ylim()[0] > 1e-4
    assert texts(figure)[-1] == "Bayes error 1e-12 (below the axis)"


def test_a_prediction_near_zero_does_not_flatten_the_figure():
    tiny = Trajectory(TIMES, {"pmse": [0.5, 0.1, 1e-50, 1e-80]}, "theory")
    (axes,) = plot_trajectory(tiny).axes
    assert axes.get_ylim()[0] == pytest.approx(1e-9)  # eight decades below what is drawn


def test_the_legend_names_each_thing_once(simulated):
    assert texts(plot_errors(compare(simulated, line()))) == [
        "simulation, mean ± standard error",
        "theory",
        "Bayes error 0.015",
    ]


def test_the_title_says_what_was_run(simulated):
    title = "xor · committee, K = 3, relu · D = 100 · 5 replicas"
    assert plot_errors(compare(simulated, line())).get_suptitle() == title
    assert plot_trajectory(line()).get_suptitle() == title.removesuffix(" · 5 replicas")
    assert plot_trajectory(Trajectory(TIMES, {"pmse": PMSE}, "theory")).get_suptitle() == ""


def test_an_integration_error_is_a_band_where_it_is_wider_than_the_line():
    def bands(error):
        curves = {"classification_error": np.linspace(0.5, 0.2, 5)}
        errors = {"classification_error": np.full(5, error)}
        curve = Trajectory(np.arange(1.0, 6.0), curves, "theory", errors)
        figure = plot_trajectory(curve)
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        return figure.axes[0].collections, labels

    (band,), labels = bands(0.05)
    assert labels == ["theory", "± integration error"]
    corners = band.get_paths()[0].vertices
    at_first = corners[corners[:, 0] == 1.0, 1]
    np.testing.assert_allclose([at_first.min(), at_first.max()], [0.45, 0.5], atol=0.03)
    none, labels = bands(1e-4)
    assert not none
    assert labels == ["theory"]


def test_one_replica_has_points_without_error_bars():
    figure = plot_errors(compare(runs(count=1), line()))
    assert figure.axes[0].containers[0].lines[2] == ()
    assert texts(figure)[0] == "simulation"


def test_one_trajectory_is_drawn_in_the_look_of_its_source(simulated):
    assert texts(plot_trajectory(simulated))[0].startswith("simulation")
    assert texts(plot_trajectory(line())) == ["theory", "Bayes error 0.015"]


def test_the_start_alone_is_drawn_on_a_linear_axis():
    start = Trajectory([0.0], {"pmse": [[0.3, 0.4]]}, "simulation")
    (axes,) = plot_trajectory(start).axes
    assert axes.get_xscale() == "linear"
    np.testing.assert_allclose(points(axes.containers[0]), [[0], [0.35], [0.05]])


def test_a_fixed_point_is_no_curve():
    fixed = Trajectory([np.inf], {"pmse": [0.3], "v": [[1.0]]}, "theory")
    for plot in (plot_trajectory, plot_order_parameters):
        with pytest.raises(RangeError, match="no finite time"):
            plot(fixed)


def test_order_parameters_have_a_panel_each(simulated):
    predicted = line()
    figure = plot_order_parameters(compare(simulated, predicted))
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["$Q_{kk}$", r"$Q_{k\ell}$,  $k < \ell$", r"$R_{\alpha k}$", "$v_k$"]
    assert [len(axes.containers) for axes in figure.axes] == [3, 3, 12, 3]
    pairs = [(0, 1), (0, 2), (1, 2)]
    for item, (k, m) in zip(lines_of(figure.axes[1]), pairs, strict=True):
        np.testing.assert_array_equal(item.get_ydata(), predicted["Q"][1:, k, m])
    for number, container in enumerate(figure.axes[2].containers):
        x, y, error = points(container)
        values = simulated["R"][1:, :, number // 3, number % 3]
        np.testing.assert_array_equal(x, TIMES[1:])
        np.testing.assert_allclose(y, values.mean(axis=1))
        np.testing.assert_allclose(error, values.std(axis=1, ddof=1) / np.sqrt(5))


def test_r_is_coloured_by_cluster_and_the_rest_by_unit(simulated):
    figure = plot_order_parameters(compare(simulated, line()))
    handles = dict(enumerate(figure.legends[0].legend_handles))
    # simulation, theory, heading, 3 units, heading, 4 clusters
    assert texts(figure)[2:] == ["\nunit $k$", *"012", "\ncluster $\\alpha$", *"0123"]
    for number, item in enumerate(lines_of(figure.axes[2])):
        assert same_color(item.get_color(), handles[7 + number // 3].get_color())
    for number, item in enumerate(lines_of(figure.axes[3])):
        assert same_color(item.get_color(), handles[3 + number].get_color())


def test_many_units_and_clusters_stay_readable():
    figure = plot_order_parameters(compare(runs(2, 30, 10), line(30, 10)))
    assert len(texts(figure)) == 2 + 1 + 12 + 1 + 10
    assert [len(lines_of(axes)) for axes in figure.axes] == [30, 120, 120, 30]
    assert figure.axes[1].get_title(loc="right") == "120 of 435 shown"


def test_a_constant_readout_is_not_drawn_as_its_rounding():
    v = np.full((4, 2), 0.5) + 1e-9 * np.arange(8).reshape(4, 2)
    axes = plot_order_parameters(Trajectory(TIMES, {"v": v}, "theory")).axes[0]
    np.testing.assert_allclose(axes.get_ylim(), [0.45, 0.55], rtol=1e-6)


def test_a_trajectory_of_errors_alone_has_no_order_parameters_to_draw():
    with pytest.raises(RangeError, match="no order parameters"):
        plot_order_parameters(Trajectory(TIMES, {"pmse": PMSE}, "theory"))


@pytest.mark.parametrize(("name", "magic"), [("a.png", b"\x89PNG"), ("b.PDF", b"%PDF")])
def test_the_ending_chooses_the_format(tmp_path, simulated, name, magic):
    path = tmp_path / "figures" / name
    compare(simulated, line()).plot(path)
    assert path.read_bytes()[:4] == magic
    assert [item.name for item in path.parent.iterdir()] == [name]  # no temporary file is left


def test_an_unknown_ending_is_an_error_and_writes_nothing(tmp_path, simulated):
    with pytest.raises(RangeError, match=r"`path` is .*a\.jpg"):
        compare(simulated).plot_order_parameters(tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path, simulated):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        save_figure(plot_trajectory(simulated), blocked / "a.png")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_an_error(tmp_path, simulated):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot write"):
        plot_trajectory(simulated, tmp_path / "a.png")


def test_a_failed_drawing_leaves_the_old_file(tmp_path, simulated, monkeypatch):
    path = tmp_path / "a.png"
    path.write_text("old")
    figure = plot_trajectory(simulated)

    def full(target, **_):
        target.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure, "savefig", full)
    with pytest.raises(OutputError, match="No space left"):
        save_figure(figure, path)
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.png"]


def test_comparing_imports_no_matplotlib_and_drawing_no_pyplot():
    code = """
import sys
import gmmdyn.comparison
assert "matplotlib" not in sys.modules
import gmmdyn.plot
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_drawing_leaves_the_settings_of_matplotlib_alone(simulated):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    plot_trajectory(simulated)
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(("unit", "factor"), [("t", 1), ("t*sqrt(D)", 20), ("t*D", 400)])
def test_the_unit_of_time_scales_the_axis(unit, factor):
    times = np.array([0.0, 1.0, 10.0])
    curve = Trajectory(
        times,
        {"pmse": np.array([0.5, 0.4, 0.1]), "v": np.ones((3, 2))},
        "theory",
        metadata={"dim": 400},
    )
    for figure in (
        plot_trajectory(curve, time_unit=unit),
        plot_order_parameters(curve, time_unit=unit),
    ):
        axes = figure.axes[0]
        drawn = axes.get_lines()[0].get_xdata()
        np.testing.assert_allclose(drawn, times[1:] * factor)
        assert ("sqrt" in axes.get_xlabel()) == (unit == "t*sqrt(D)")
        # A run with mini-batches has more samples than updates.
        assert "updates" in axes.get_xlabel()
    np.testing.assert_array_equal(curve.times, times)


def test_a_unit_of_time_that_cannot_be_is_refused():
    curve = Trajectory(np.array([1.0]), {"pmse": np.array([0.5])}, "theory")
    with pytest.raises(RangeError, match="does not say the dimension"):
        plot_trajectory(curve, time_unit="t*D")
    with pytest.raises(RangeError, match="`time_unit`"):
        plot_trajectory(curve, time_unit="seconds")
