# mypy: allow-untyped-defs
# ruff: noqa: ANN001, ANN202
r"""Compiled sums over lines, for piecewise-linear units; imported when first needed.

The same numbers as `_lines.py`. Along a line lam_k(s) = a_k + d_k s, the breaks where a unit meets
a kink are sorted, and the line is walked from one to the next with the piece that each unit is on:
g(x) = offsets[p] + slopes[p] x on piece p, which ends at kinks[p].
"""

from __future__ import annotations

import numpy as np
from numba import float64, int64, njit, void

from gmmdyn.gaussian.compiled import cdf, density
from gmmdyn_integrators._kept import kept
from gmmdyn_integrators._zero import ZERO

# Beyond this many standard deviations the normal density underflows.
_FAR = 40.0

_rows = float64[:, ::1]
_row = float64[::1]


@njit(int64(_row, _row, _row, _row, int64[::1], int64[::1]), cache=True, nogil=True)
@kept
def breaks(start, pace, kinks, places, units, pieces):
    """Find and sort the breaks of a line.

    Args:
        start: a, shape `(K,)`.
        pace: d, shape `(K,)`.
        kinks: shape `(J,)`.
        places: room for the breaks, shape `(K J,)`, increasing on return.
        units: room for the unit of each, shape `(K J,)`.
        pieces: room for the piece of each unit at s = -infinity, shape `(K,)`.

    Returns:
        How many there are.
    """
    count = 0
    for k in range(len(start)):
        pieces[k] = 0
        if pace[k] < 0.0:
            pieces[k] = len(kinks)
        for j in range(len(kinks)):
            if pace[k] == 0.0:
                if start[k] > kinks[j]:
                    pieces[k] = j + 1
                continue
            place = min(max((kinks[j] - start[k]) / pace[k], -_FAR), _FAR)
            i = count
            while i > 0 and places[i - 1] > place:
                places[i] = places[i - 1]
                units[i] = units[i - 1]
                i -= 1
            places[i] = place
            units[i] = k
            count += 1
    return count


@njit(
    void(_row, _rows, _row, float64, _row, _row, _row, _row, _rows, _rows), cache=True, nogil=True
)
@kept
def noise(mean, factor, readout, label, kinks, offsets, slopes, along, across, total):
    r"""Write the mean over lines of the integrals of v_k g'_k v_l g'_l Delta² along them.

    Along a line Delta² has one running integral G. Two units keep their slopes between the breaks
    of either, so that the integral of a pair moves by slope_k slope_l times the growth of G since
    the last break of one of the two: K steps a break instead of K² an interval.

    Args:
        mean: shape `(K,)`.
        factor: of the covariance, shape `(K, K)`.
        readout: shape `(K,)`.
        label: y.
        kinks: shape `(J,)`.
        offsets: shape `(J + 1,)`.
        slopes: shape `(J + 1,)`.
        along: u, shape `(K,)`.
        across: standard normal points across u, shape `(S, K)`.
        total: shape `(K, K)`.
    """
    hidden = len(mean)
    room = hidden * len(kinks)
    start, pace = np.empty(hidden), np.empty(hidden)
    constant, linear, steep = np.empty(hidden), np.empty(hidden), np.empty(hidden)
    since = np.empty(hidden)
    places, units = np.empty(room), np.empty(room, np.int64)
    pieces = np.empty(hidden, np.int64)
    total[:] = 0.0
    for k in range(hidden):
        pace[k] = 0.0
        for i in range(hidden):
            pace[k] += factor[k, i] * along[i]
    for s in range(len(across)):
        for k in range(hidden):
            start[k] = mean[k]
            for i in range(hidden):
                start[k] += factor[k, i] * across[s, i]
        count = breaks(start, pace, kinks, places, units, pieces)
        d0, d1 = label, 0.0
        for k in range(hidden):
            steep[k] = slopes[pieces[k]]
            constant[k] = readout[k] * (offsets[pieces[k]] + steep[k] * start[k])
            linear[k] = readout[k] * steep[k] * pace[k]
            d0 -= constant[k]
            d1 -= linear[k]
            since[k] = 0.0
        grown = 0.0
        low_cdf, low_density, low = 0.0, 0.0, -_FAR
        for i in range(count + 1):
            high_cdf, high_density, high = 1.0, 0.0, _FAR
            if i < count:
                high = places[i]
                high_cdf, high_density = cdf(high), density(high)
            p0, p1 = high_cdf - low_cdf, low_density - high_density
            p2 = p0 - (high * high_density - low * low_density)
            # Never negative but for rounding, which must not make the matrix indefinite.
            grown += max(d0 * d0 * p0 + 2.0 * d0 * d1 * p1 + d1 * d1 * p2, 0.0)
            if i < count:
                k = units[i]
                if steep[k] != 0.0:
                    for other in range(hidden):
                        growth = grown - max(since[k], since[other])
                        total[k, other] += steep[k] * steep[other] * growth
                        if other != k:
                            total[other, k] += steep[k] * steep[other] * growth
                since[k] = grown
                pieces[k] += 1 if pace[k] > 0.0 else -1
                d0 += constant[k]
                d1 += linear[k]
                steep[k] = slopes[pieces[k]]
                constant[k] = readout[k] * (offsets[pieces[k]] + steep[k] * start[k])
                linear[k] = readout[k] * steep[k] * pace[k]
                d0 -= constant[k]
                d1 -= linear[k]
            low_cdf, low_density, low = high_cdf, high_density, high
        for k in range(hidden):
            for other in range(hidden):
                growth = grown - max(since[k], since[other])
                total[k, other] += steep[k] * steep[other] * growth
    for k in range(hidden):
        for other in range(hidden):
            total[k, other] *= readout[k] * readout[other] / len(across)


@njit(void(_row, _rows, _row, _rows, _row, _row, _row, _row, _rows, _rows), cache=True, nogil=True)
@kept
def noise_of_outputs(mean, factor, pull, gram, kinks, offsets, slopes, along, across, total):
    r"""Write the mean over lines of the integrals of gamma_k gamma_l along them, for many outputs.

    On an interval gamma is a + b s. With p its probability, c the mean of s there and r p the
    variance, the integral is p (a + b c)(a + b c)ᵀ + r b bᵀ.

    Args:
        mean: shape `(K,)`.
        factor: of the covariance, shape `(K, K)`.
        pull: (v y)_k, shape `(K,)`.
        gram: (v vᵀ)_ki, shape `(K, K)`.
        kinks: shape `(J,)`.
        offsets: shape `(J + 1,)`.
        slopes: shape `(J + 1,)`.
        along: u, shape `(K,)`.
        across: standard normal points across u, shape `(S, K)`.
        total: shape `(K, K)`.
    """
    hidden = len(mean)
    room = hidden * len(kinks)
    start, pace = np.empty(hidden), np.empty(hidden)
    d0, d1, steep = np.empty(hidden), np.empty(hidden), np.empty(hidden)
    centred, linear = np.empty(hidden), np.empty(hidden)
    places, units = np.empty(room), np.empty(room, np.int64)
    pieces = np.empty(hidden, np.int64)
    total[:] = 0.0
    for k in range(hidden):
        pace[k] = 0.0
        for i in range(hidden):
            pace[k] += factor[k, i] * along[i]
    for s in range(len(across)):
        for k in range(hidden):
            start[k] = mean[k]
            for i in range(hidden):
                start[k] += factor[k, i] * across[s, i]
        count = breaks(start, pace, kinks, places, units, pieces)
        d0[:] = pull
        d1[:] = 0.0
        for k in range(hidden):
            steep[k] = slopes[pieces[k]]
            for i in range(hidden):
                d0[i] -= gram[i, k] * (offsets[pieces[k]] + steep[k] * start[k])
                d1[i] -= gram[i, k] * steep[k] * pace[k]
        low_cdf, low_density, low = 0.0, 0.0, -_FAR
        for i in range(count + 1):
            high_cdf, high_density, high = 1.0, 0.0, _FAR
            if i < count:
                high = places[i]
                high_cdf, high_density = cdf(high), density(high)
            p0, p1 = high_cdf - low_cdf, low_density - high_density
            if p0 > 0.0:
                p2 = p0 - (high * high_density - low * low_density)
                centre = p1 / p0
                spread = max(p2 - centre * p1, 0.0)
                for k in range(hidden):
                    centred[k] = steep[k] * (d0[k] + d1[k] * centre)
                    linear[k] = steep[k] * d1[k]
                    for other in range(k + 1):
                        growth = p0 * centred[k] * centred[other]
                        total[k, other] += growth + spread * linear[k] * linear[other]
            if i < count:
                k = units[i]
                before = pieces[k]
                pieces[k] += 1 if pace[k] > 0.0 else -1
                bend = slopes[pieces[k]] - slopes[before]
                shift = offsets[pieces[k]] - offsets[before] + bend * start[k]
                steep[k] = slopes[pieces[k]]
                for other in range(hidden):
                    d0[other] -= gram[other, k] * shift
                    d1[other] -= gram[other, k] * bend * pace[k]
            low_cdf, low_density, low = high_cdf, high_density, high
    for k in range(hidden):
        for other in range(k + 1):
            total[k, other] /= len(across)
            total[other, k] = total[k, other]


@njit(
    void(_row, _rows, _row, _row, float64, _row, _row, _row, _rows, _row, _row),
    cache=True,
    nogil=True,
)
@kept
def wrong(mean, shift, pace, readout, label, kinks, offsets, slopes, points, failed, tied):
    """Write P(label * output < 0) + P(output = 0)/2 and P(output = 0) on each line.

    Args:
        mean: shape `(K,)`.
        shift: by how much a point moves the fields, shape `(K - 1, K)`.
        pace: d, shape `(K,)`.
        readout: shape `(K,)`.
        label: y.
        kinks: shape `(J,)`.
        offsets: shape `(J + 1,)`.
        slopes: shape `(J + 1,)`.
        points: standard normal points, shape `(S, K - 1)`.
        failed: shape `(S,)`.
        tied: shape `(S,)`.
    """
    hidden = len(mean)
    room = hidden * len(kinks)
    start, constant, linear = np.empty(hidden), np.empty(hidden), np.empty(hidden)
    places, units = np.empty(room), np.empty(room, np.int64)
    pieces = np.empty(hidden, np.int64)
    steepest, largest_offset = 0.0, 0.0
    for j in range(len(slopes)):
        steepest = max(steepest, abs(slopes[j]))
        largest_offset = max(largest_offset, abs(offsets[j]))
    for s in range(len(points)):
        for k in range(hidden):
            start[k] = mean[k]
            for i in range(hidden - 1):
                start[k] += shift[i, k] * points[s, i]
        count = breaks(start, pace, kinks, places, units, pieces)
        o0, o1, size0, size1 = 0.0, 0.0, 0.0, 0.0
        for k in range(hidden):
            weight = readout[k] * slopes[pieces[k]]
            constant[k] = readout[k] * offsets[pieces[k]] + weight * start[k]
            linear[k] = weight * pace[k]
            o0 += constant[k]
            o1 += linear[k]
            size0 += abs(readout[k]) * (largest_offset + steepest * abs(start[k]))
            size1 += abs(readout[k]) * steepest * abs(pace[k])
        # Neighbouring stretches of errors are joined, which saves most of the cdfs.
        low, total, first, last = -_FAR, 0.0, -_FAR, -_FAR
        tie = 0.0
        for i in range(count + 1):
            high = places[i] if i < count else _FAR
            begin, end = low, high
            if abs(o1) <= ZERO * size1:
                if abs(o0) <= ZERO * size0:
                    if high > low:
                        tie += cdf(high) - cdf(low)
                    end = low
                elif label * o0 > 0.0:
                    end = low
            elif label * o1 > 0.0:
                end = min(max(-o0 / o1, low), high)
            else:
                begin = min(max(-o0 / o1, low), high)
            if end > begin:
                if begin > last:
                    total += cdf(last) - cdf(first)
                    first = begin
                last = end
            if i < count:
                k = units[i]
                pieces[k] += 1 if pace[k] > 0.0 else -1
                weight = readout[k] * slopes[pieces[k]]
                change = readout[k] * offsets[pieces[k]] + weight * start[k]
                o0 += change - constant[k]
                constant[k] = change
                change = weight * pace[k]
                o1 += change - linear[k]
                linear[k] = change
            low = high
        failed[s] = total + cdf(last) - cdf(first) + 0.5 * tie
        tied[s] = tie
