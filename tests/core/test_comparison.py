import dataclasses
import json
import math

import numpy as np
import pytest

from gmmdyn.comparison import Comparison, compare
from gmmdyn.comparison.tables import with_error
from gmmdyn.errors import ArgumentError, IncompatibleError, RangeError, ShapeError
from gmmdyn.trajectory import Trajectory
from gmmdyn.trajectory.estimate import Estimate
from gmmdyn.trajectory.times import logarithmic_choice

TIMES = np.array([0.0, 1.0, 10.0, 100.0])


def simulation(times=TIMES, metadata=None, **curves):
    return Trajectory(np.asarray(times), curves, "simulation", metadata=metadata or {})


def theory(times=TIMES, errors=None, metadata=None, **curves):
    return Trajectory(np.asarray(times), curves, "theory", errors or {}, metadata or {})


def replicas(mean, half_width):
    """Two runs, mean ± half_width: their standard error is half_width."""
    mean = np.asarray(mean, dtype=float)
    return np.stack([mean - half_width, mean + half_width], axis=1)


def description(**network):
    return {
        "data_model": {"name": "xor", "dim": 100},
        "network": {"name": "committee", "hidden": 4, **network},
        "algorithm": {"learning_rate": 0.1},
    }


def test_z_is_the_difference_over_the_combined_standard_error():
    measured = simulation(pmse=replicas([0.5, 0.4, 0.3, 0.2], 0.03))
    predicted = theory(pmse=[0.4, 0.4, 0.35, 0.3], errors={"pmse": np.full(4, 0.04)})
    z = compare(measured, predicted).z_scores("pmse")
    np.testing.assert_allclose(z, np.array([0.1, 0.0, -0.05, -0.1]) / 0.05, atol=1e-12)


def test_z_of_order_parameters_has_their_shape():
    generator = np.random.default_rng(0)
    runs = generator.normal(size=(4, 6, 3, 2))  # T, N, C, K
    predicted = generator.normal(size=(4, 3, 2))
    z = compare(simulation(R=runs), theory(R=predicted)).z_scores("R")
    for index in np.ndindex(4, 3, 2):
        values = [runs[index[0], n, index[1], index[2]] for n in range(6)]
        mean = sum(values) / 6
        variance = sum((value - mean) ** 2 for value in values) / 5
        assert z[index] == pytest.approx((mean - predicted[index]) / math.sqrt(variance / 6))


def test_a_mean_over_replicas_keeps_its_z():
    measured = simulation(pmse=replicas([0.5, 0.4, 0.3, 0.2], 0.03))
    predicted = theory(pmse=[0.4, 0.4, 0.35, 0.3])
    whole, averaged = compare(measured, predicted), compare(measured.mean(), predicted)
    np.testing.assert_array_equal(averaged.z_scores("pmse"), whole.z_scores("pmse"))


@pytest.mark.parametrize(
    ("predicted", "z"),
    [(0.1, 0), (0.1 + 9e-7, 0), (0.1 + 3e-6, math.nan), (0.1 - 3e-6, math.nan)],
)
def test_z_of_equal_replicas_is_0_within_the_rounding_of_weights_and_else_unknown(predicted, z):
    # Three times 0.1 has a mean, and so a spread, that is off by rounding.
    comparison = compare(
        simulation([0.0], v=np.full((1, 3, 2), 0.1)), theory([0.0], v=[[predicted] * 2])
    )
    np.testing.assert_array_equal(comparison.z_scores("v"), [[z, z]])


def test_equal_replicas_that_miss_the_theory_say_nothing_of_the_largest_z():
    # After one update no replica has met unit 0, so its z is unknown: it is not the largest.
    runs = np.array([[[0.1, 0.0], [0.1, 2.0]], [[0.2, 2.0], [0.4, 4.0]]])  # T, N, K
    comparison = compare(
        simulation([0.1, 0.2], v=runs), theory([0.1, 0.2], v=[[0.2, 1.0], [0.3, 5.0]])
    )
    np.testing.assert_allclose(comparison.z_scores("v"), [[np.nan, 0], [0, -2]], atol=1e-12)
    assert comparison.worst("v") == pytest.approx((0.2, -2))
    # By chance: the median of the largest of 3 known |z|, Cauchy-distributed, tan(½π·½^⅓).
    line = f"Largest |z| of v: 2.0 at t = 0.2 (3 values; by chance about {cauchy_largest(3):.1f})"
    assert line in comparison.table()


def test_a_curve_of_equal_replicas_has_no_largest_z():
    measured = simulation([1.0], v=np.zeros((1, 2, 1)), pmse=replicas([1.0], 0.1))
    table = compare(measured, theory([1.0], v=[[1.0]], pmse=[1.0])).table()
    assert "Largest |z| of v: - " in table
    assert "inf" not in table
    assert "nan" not in table


def cauchy_largest(count):
    return math.tan(math.pi / 2 * 0.5 ** (1 / count))


def test_a_small_but_real_standard_error_counts():
    comparison = compare(
        simulation([1.0], pmse=replicas([1.0], 1e-6)), theory([1.0], pmse=[1.00001])
    )
    np.testing.assert_allclose(comparison.z_scores("pmse"), -10, rtol=1e-4)


@pytest.mark.parametrize("runs", [np.ones((4, 1)), np.ones(4)])
def test_z_is_unknown_without_a_standard_error(runs):
    comparison = compare(simulation(pmse=runs), theory(pmse=np.ones(4)))
    assert np.isnan(comparison.z_scores("pmse")).all()
    assert np.isnan(comparison.worst("pmse")).all()
    assert "at least 2 replicas" in comparison.table()


def test_replicas_with_equal_counts_have_the_error_of_the_count():
    measured = simulation(
        [1.0, 2.0], {"test_size": 50}, classification_error=np.array([[0.1, 0.1], [0.0, 0.0]])
    )
    mean, error = compare(measured).simulation("classification_error")
    np.testing.assert_allclose(mean, [0.1, 0])
    # 100 points in all, 10 wrong; then none, which counts as one.
    np.testing.assert_allclose(error, [math.sqrt(0.1 * 0.9 / 100), math.sqrt(0.01 * 0.99 / 100)])


def test_ties_that_one_of_the_two_leaves_out_are_compared_with_0():
    rates = np.array([[0.5, 0.7], [0.25, 0.25]])
    ties = np.array([[0.1, 0.3], [0.0, 0.0]])
    measured = simulation([1.0, 2.0], classification_error=rates, tie_rate=ties)
    silent = theory([1.0, 2.0], classification_error=[0.6, 0.25])
    comparison = compare(measured, silent)
    assert comparison.names == ("classification_error", "tie_rate")
    np.testing.assert_allclose(comparison.z_scores("tie_rate"), [0.2 / 0.1, 0.0])
    assert "Largest |z| of tie_rate: 2.0" in comparison.table()
    other = compare(
        simulation([1.0, 2.0], {"test_size": 50}, classification_error=rates),
        theory([1.0, 2.0], classification_error=[0.6, 0.25], tie_rate=[0.1, 0.0]),
    )
    # 100 points, none of them a tie, have the error of one.
    z = -0.1 / math.sqrt(0.01 * 0.99 / 100)
    np.testing.assert_allclose(other.z_scores("tie_rate"), [z, 0.0])
    assert compare(measured.mean(), silent).names == comparison.names
    assert compare(simulation([1.0, 2.0], classification_error=rates), silent).names == (
        "classification_error",
    )


def test_a_curve_that_diverged_is_compared_up_to_there():
    measured = simulation(pmse=replicas([1.0, 3.0, 1.0, 1.0], 1.0))
    comparison = compare(measured, theory(pmse=[1.0, 1.0, np.inf, np.nan]))
    np.testing.assert_array_equal(comparison.z_scores("pmse"), [0, 2, np.nan, np.nan])
    assert comparison.worst("pmse") == (1, 2)


def test_worst_is_the_largest_deviation_with_its_sign():
    measured = simulation(v=replicas([[0, 0], [0, 1], [-3, 1], [0, 2]], 1.0))
    assert compare(measured, theory(v=np.zeros((4, 2)))).worst("v") == (10.0, -3.0)


def test_the_prediction_is_linear_in_log_t_between_its_times():
    known = np.array([1.0, 100.0])
    measured = simulation([0.5, 1.0, 10.0, 50.0, 100.0, 200.0], pmse=np.ones((6, 2)))
    predicted = theory(known, pmse=[0.0, 2.0], errors={"pmse": np.array([0.1, 0.3])})
    comparison = compare(measured, predicted)
    np.testing.assert_array_equal(comparison.times, [1, 10, 50, 100])  # no extrapolation
    value, error = comparison.theory("pmse")
    np.testing.assert_allclose(value, np.log10([1, 10, 50, 100]), atol=1e-15)
    np.testing.assert_allclose(error, [0.1, 0.2, 0.1 + 0.1 * np.log10(50), 0.3])


def test_the_interval_that_starts_at_zero_is_linear_in_t():
    measured = simulation([0.0, 0.25, 1.0], Q=np.ones((3, 2, 1, 1)))
    predicted = theory([0.0, 1.0, 2.0], Q=[[[1.0]], [[3.0]], [[9.0]]])
    value, _ = compare(measured, predicted).theory("Q")
    np.testing.assert_allclose(value.ravel(), [1, 1.5, 3])


def test_identical_times_need_no_interpolation():
    times = np.concatenate([[0], np.geomspace(0.003, 71, 40)])
    curve = np.random.default_rng(1).normal(size=41)
    comparison = compare(simulation(times, pmse=np.ones((41, 2))), theory(times, pmse=curve))
    np.testing.assert_array_equal(comparison.theory("pmse")[0], curve)


def test_rounding_of_the_last_time_loses_nothing():
    measured = simulation([1.0, 3.0], pmse=np.ones((2, 2)))
    predicted = theory([1.0, 3 * (1 - 1e-15)], pmse=[1.0, 2.0])
    assert compare(measured, predicted).theory("pmse")[0].tolist() == [1, 2]


@pytest.mark.parametrize("times", [[200.0, 300.0], [np.inf]])
def test_no_time_in_common_is_an_error(times):
    measured = simulation(pmse=np.ones((4, 2)))
    with pytest.raises(RangeError, match="`simulated` covers t = 0 to 100 and `predicted` t ="):
        compare(measured, theory(times, pmse=np.ones(len(times))))


def test_the_order_of_arguments_matters():
    measured, predicted = simulation(pmse=np.ones((4, 2))), theory(pmse=np.ones(4))
    with pytest.raises(
        IncompatibleError, match="`simulated` is a theory; give the simulation first"
    ):
        compare(predicted, measured)
    with pytest.raises(IncompatibleError, match="`predicted` is a simulation"):
        compare(measured, measured)
    with pytest.raises(ArgumentError, match="`predicted` is a str"):
        compare(measured, "ode")
    with pytest.raises(ArgumentError, match="`simulated` is a dict"):
        compare({})


@pytest.mark.parametrize(
    ("other", "part"),
    [
        (description(hidden=8), r"`network.hidden` \(4 and 8\)"),
        (description(seed=1), r"`network.seed` \(None and 1\)"),
        (description() | {"algorithm": {"learning_rate": 0.2}}, "`algorithm.learning_rate`"),
        (description(means=[[1.0] * 100]), "`network.means`;"),
    ],
)
def test_different_experiments_are_not_comparable(other, part):
    measured = simulation(metadata={"experiment": description()}, pmse=np.ones((4, 2)))
    with pytest.raises(IncompatibleError, match=f"differ in {part}"):
        compare(measured, theory(metadata={"experiment": other}, pmse=np.ones(4)))


@pytest.mark.parametrize("other", [description(scale=(1, 2), bias=None), None])
def test_the_same_experiment_is_comparable_after_a_round_trip_through_a_file(other):
    saved = json.loads(json.dumps(description(scale=(1, 2))))
    measured = simulation(metadata={"experiment": saved}, pmse=np.ones((4, 2)))
    metadata = {} if other is None else {"experiment": other}
    compare(measured, theory(metadata=metadata, pmse=np.ones(4)))


def test_numbers_of_units_and_clusters_must_agree():
    with pytest.raises(ShapeError, match=r"`R` .* \(2, 3\) .* \(4, 3\)"):
        compare(simulation(R=np.ones((4, 5, 2, 3))), theory(R=np.ones((4, 4, 3))))


def test_one_curve_in_common_is_enough_and_none_is_not():
    measured = simulation(pmse=np.ones((4, 2)), v=np.ones((4, 2, 3)))
    assert compare(measured, theory(pmse=np.ones(4))).names == ("pmse",)
    with pytest.raises(IncompatibleError, match="no curve in common"):
        compare(measured, theory(classification_error=np.ones(4)))


def test_the_bayes_error_is_that_of_the_simulation():
    known = {"value": 0.01, "standard_error": 0.002}
    measured = simulation(metadata={"bayes_error": known}, pmse=np.ones((4, 2)))
    assert compare(measured).bayes_error == Estimate(0.01, 0.002)
    assert compare(simulation(pmse=np.ones((4, 2)))).bayes_error is None


def test_a_simulation_alone_has_no_z():
    comparison = compare(simulation(pmse=np.ones((4, 2))))
    np.testing.assert_array_equal(comparison.times, TIMES)
    with pytest.raises(IncompatibleError, match="there is no prediction"):
        comparison.z_scores("pmse")
    with pytest.raises(RangeError, match="no curve `mse`; did you mean `pmse`"):
        comparison.simulation("mse")
    assert "There is no prediction to compare with." in comparison.table()


def test_a_comparison_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Comparison(simulation(pmse=np.ones((4, 2)))).predicted = None


def test_the_table_shows_both_errors_and_says_what_z_means():
    measured = simulation(
        metadata={"bayes_error": {"value": 0.01, "standard_error": 0.0}, "dim": 200},
        pmse=replicas([0.5, 0.4, 0.3, 0.2], 0.012),
        classification_error=replicas([0.5, 0.3, 0.2, 0.1], 0.02),
    )
    predicted = theory(pmse=[0.5, 0.4, 0.3, 0.212], classification_error=[0.5, 0.3, 0.2, 0.16])
    lines = compare(measured, predicted).table().splitlines()
    last = " ".join(lines[4].split())
    assert last == "100 0.200 ± 0.012 0.212 -1.0 0.100 ± 0.020 0.16 -3.0"
    assert len({len(line) for line in lines[:5]}) == 1
    # The median of the largest of 4 independent |z|, Cauchy-distributed: tan(½π·½^¼).
    chance = math.tan(math.pi / 2 * 0.5**0.25)
    assert lines[6:] == [
        "Bayes error: 0.01",
        f"Largest |z| of pmse: 1.0 at t = 100 (4 values; by chance about {chance:.1f})",
        "Largest |z| of classification_error: 3.0 at t = 100 "
        f"(4 values; by chance about {chance:.1f})",
        "z = (simulation - theory) / standard error. It counts statistical error only;",
        "deviations of order 1/D = 1/200 are expected beside it.",
    ]


def test_the_table_has_as_many_rows_as_asked_for():
    times = np.concatenate([[0], np.geomspace(0.01, 100, 41)])
    comparison = compare(simulation(times, pmse=np.ones((42, 2))))
    shown = [line.split()[0] for line in comparison.table(rows=6).splitlines()[1:7]]
    assert shown == ["0", "0.01", "0.1", "1", "10", "100"]
    with pytest.raises(RangeError, match="`rows` is 1"):
        comparison.table(rows=1)


@pytest.mark.parametrize(
    ("times", "count", "indices"),
    [
        ([0, 1, 2], 5, [0, 1, 2]),
        ([0, 1, 2, 4], 2, [0, 3]),
        ([1, 2, 4, 8, 16], 3, [0, 2, 4]),
        ([0, 1, 9, 10, 11, 12, 100], 4, [0, 1, 3, 6]),
    ],
)
def test_times_are_chosen_evenly_on_a_logarithmic_axis(times, count, indices):
    assert logarithmic_choice(np.array(times, dtype=float), count).tolist() == indices


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.123456, 0.00123, "0.1235 ± 0.0012"),
        (123.456, 12.0, "123 ± 12"),
        (1e-9, 2e-11, "1.000e-09 ± 2.0e-11"),
        (1.5e30, 5e29, "1.500e+30 ± 5.0e+29"),
        (0.123456, 0.0, "0.1235"),
        (0.123456, math.nan, "0.1235"),
    ],
)
def test_a_number_is_written_to_the_second_digit_of_its_error(value, error, text):
    assert with_error(value, error) == text
