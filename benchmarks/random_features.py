"""Time and peak memory of the theories of random features against D and P/D.

Run with the machine otherwise idle; each line is a process of its own:

    python benchmarks/random_features.py

XOR mixture at variance 0.05, ReLU, columns of F of length sqrt(D). `best` is the best readout
(first-order covariances; Woodbury's form where it is the smaller), `curve` the learning curve
to t = 1000 at learning rate 0.3. Memory is the peak of the whole process, libraries included.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

CASES = [
    ("best", 200, 2.0),
    ("best", 800, 2.0),
    ("best", 800, 5.0),
    ("best", 800, 20.0),
    ("best", 1600, 5.0),
    ("curve", 200, 2.0),
    ("curve", 400, 2.0),
    ("curve", 800, 2.0),
]


def one(kind, dim, ratio):
    import gmmdyn as gd

    mixture = gd.data_model("xor", dim=dim, variance=0.05)
    network = gd.network("random-features", dim=dim, ratio=ratio, bias=True, seed=0)
    experiment = gd.Experiment(mixture, network, gd.OnlineSGD(0.3))
    begin = time.perf_counter()
    if kind == "best":
        found = experiment.solve("random-features")
    else:
        found = experiment.solve("random-features-dynamics", duration=1000, order="first")
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{kind:>6} {dim:>5} {ratio:>5g} {network.size:>6} {seconds:>8.2f} {peak:>6.2f} "
        f"{found.pmse[-1]:>8.4f} {found.classification_error[-1]:>8.4f}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", type=int, help="one line of the table, in this process")
    options = parser.parse_args()
    if options.case is not None:
        one(*CASES[options.case])
        return
    print(
        f"{'theory':>6} {'D':>5} {'P/D':>5} {'P':>6} {'s':>8} {'GiB':>6} {'pmse':>8} {'error':>8}"
    )
    for case in range(len(CASES)):
        subprocess.run([sys.executable, __file__, "--case", str(case)], check=True)


if __name__ == "__main__":
    main()
