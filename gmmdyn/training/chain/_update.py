"""One update of the chain: the same code for the compiled loop on a CPU and for a GPU.

Legend (all vectors divided by sqrt(D)). The weights of one replica stand in an orthonormal basis of
r directions that hold the means and s = min(K, D - r) more that hold what the weights have beside:
`span` (r, K) and `rest` (s, K), both by direction, so that Q = span' span + rest' rest and
R = centres span. A sample has the coordinates p (r,) and sigma xi (s,) there, and chi is what its
noise has beyond them, squared, over sigma^2.

One update is span <- a span + p d', with d_k = (eta/D) gamma_k (`rule/_sgd.py`), while `rest` gets
a row more, sigma sqrt(chi) d, and is brought back to s rows by rotations, which leave Q as it is:

    1. The s + 1 rows a rest + sigma xi d', sigma sqrt(chi) d are turned so that the noise points
       along the last one. With Y = |xi|^2 + chi, this makes `rest` into a P' rest, where
       P P' = 1 - xi xi'/Y and P is lower triangular with entries known in closed form, and the
       last row into z = sigma sqrt(Y) d + a (rest' xi)/sqrt(Y).
    2. One rotation for each row of `rest` takes z into it (an update of a Cholesky factor).

Row j of `rest` is zero for units before j throughout. Nothing is subtracted from Q: it stays
positive semi-definite whatever the rounding.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

import math
from typing import Any

from numba.extending import register_jitable

from gmmdyn.training.rule._sgd import move_head


def runner(respond: Any) -> Any:
    """Return the function that moves one chain over updates, callable from compiled code.

    Args:
        respond: from `responder` in `rule/_sgd.py`.

    Returns:
        `run(handles, noise, sizes, mixture, numbers, state, work)`:

        * `handles` goes to `respond`.
        * `noise` for each of B updates: the learning rate over D, `(B,)`; a uniform number that
          chooses the cluster, `(B,)`; p's noise and xi, standard normal, `(B, r + s)`; chi, `(B,)`;
          a uniform number that chooses whether the label is the wrong one, `(B,)`.
        * `sizes`: B, r, s, C, K, O, and whether there are a bias, a chi (not if D = r + s) and
          wrong labels; what there is not is not read.
        * `mixture`: means in their basis, `(C, r)`; labels `(C, O)`; cumulative priors `(C,)`;
          sigma.
        * `numbers`: weight decay, probability of a wrong label, whether the readout learns.
        * `state`, changed in place: span `(r, K)`, rest `(s, K)`, readout `(O, K)`, bias `(K,)`.
        * `work`: places for p `(r,)`, rest' xi `(K,)`, what directions contribute to it `(s, K)`,
          d `(K,)`, and the sample of `respond`.
    """

    @register_jitable(inline="always")
    def run(handles, noise, sizes, mixture, numbers, state, work):
        updates, inside, outside, clusters, hidden, count, biased, beyond_it, misled = sizes
        rates, choices, normals, beyond, wrong = noise
        centres, labels, cumulative, sigma = mixture
        weight_decay, label_noise, train_readout = numbers
        span, rest, readout, bias = state
        # swing is rest' xi, later z; row j of later is what directions after j contribute to it.
        point, swing, later, steps, sample = work
        fields, label, _, _, _, gammas, slopes = sample
        units, learns = (hidden, count), (biased, train_readout)
        for i in range(updates):
            decay = 1.0 - rates[i] * weight_decay
            cluster = 0
            for c in range(clusters - 1):
                cluster += choices[i] >= cumulative[c]
            sign, shift = 1.0, 0
            if misled and wrong[i] < label_noise:
                if count == 1:
                    sign = -1.0
                else:  # the other classes of a label are its shifts
                    shift = 1 + int(wrong[i] / label_noise * (count - 1))
                    if shift == count:
                        shift -= 1
            for o in range(count):
                label[o] = sign * labels[cluster, (o + shift) % count]

            for k in range(hidden):
                fields[k] = 0.0
                swing[k] = 0.0
            for j in range(inside):
                point[j] = centres[cluster, j] + sigma * normals[i, j]
                for k in range(hidden):
                    fields[k] += span[j, k] * point[j]
            for j in range(outside - 1, -1, -1):
                xi = normals[i, inside + j]
                for k in range(hidden):
                    later[j, k] = swing[k]
                    swing[k] += rest[j, k] * xi

            for k in range(hidden):
                fields[k] += sigma * swing[k]
                if biased:
                    fields[k] += bias[k]
            respond(handles, units, readout, sample)
            for k in range(hidden):
                steps[k] = rates[i] * gammas[k]
            move_head(units, rates[i], (decay, decay), learns, (gammas, slopes), (bias, readout))

            for j in range(inside):
                for k in range(hidden):
                    span[j, k] = decay * span[j, k] + point[j] * steps[k]
            if not beyond_it:  # the basis is all of space
                for j in range(outside):
                    shift = sigma * normals[i, inside + j]
                    for k in range(hidden):
                        rest[j, k] = decay * rest[j, k] + shift * steps[k]
                continue
            total = beyond[i]
            for j in range(outside - 1, -1, -1):
                xi = normals[i, inside + j]
                before = total + xi * xi
                root = decay / math.sqrt(total * before)
                keep, pull = total * root, xi * root
                for k in range(j, hidden):
                    rest[j, k] = keep * rest[j, k] - pull * later[j, k]
                total = before
            length = math.sqrt(total)
            for k in range(hidden):
                swing[k] = sigma * length * steps[k] + decay / length * swing[k]
            for j in range(outside):
                radius = math.sqrt(rest[j, j] * rest[j, j] + swing[j] * swing[j])
                if radius == 0.0:
                    continue
                cosine, sine = rest[j, j] / radius, swing[j] / radius
                for k in range(j, hidden):
                    old = rest[j, k]
                    rest[j, k] = cosine * old + sine * swing[k]
                    swing[k] = cosine * swing[k] - sine * old

    return run
