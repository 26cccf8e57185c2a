"""Where the time of a sphere goes: ``python bench/stages.py [--write docs/performance.md]``.

Spheres of 8 mm in the middle of the standardised 2 mm phantom, 120 volumes, leave one run out of six. Stages and whole
decoders take turns on the same spheres; microseconds of one processor a sphere, medians (ranges) of turns. The bound is
the Gram product and one Cholesky factor by OpenBLAS. Six factors by tiles are what discriminant analysis cannot do
without, since its penalty is another one in each fold.
"""

import argparse
import platform
import statistics
import time
from pathlib import Path

import numba
import numpy as np
from compare import spread
from decoders import Brain
from markers import publish
from scipy.linalg.blas import dsyrk
from scipy.linalg.lapack import dpotrf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import RidgeClassifier, RidgeClassifierCV
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.svm import LinearSVC

from fastsl._kernels import matrices
from fastsl._kernels.block import Block, allocate, part_of, read_gram
from fastsl._runtime.cpus import processor_name
from fastsl._runtime.launch import kernel_threads
from fastsl.decoders import find_decoder
from fastsl.folds import Folds
from fastsl.matrix import means_subtracted
from fastsl.neighbours import plan_spheres
from fastsl.shared import group_spheres

DECODERS = {
    "RidgeClassifier": RidgeClassifier(),
    "LinearSVC": LinearSVC(),
    "LinearDiscriminantAnalysis, fixed shrinkage": LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1),
    "RidgeClassifierCV, three penalties": RidgeClassifierCV(),
}


@numba.njit(error_model="numpy")
def gram_products(block):
    work = allocate(block, 0)
    for b in block.order:
        read_gram(block, b, work)


@numba.njit(error_model="numpy")
def factors_by_tiles(S, work, n_folds, times):
    """As the folds of a sphere need them, each from a copy."""
    for _ in range(times * n_folds):
        work[:] = S
        matrices.factor(work, len(S), len(S))


class Spheres:
    """What every stage works on."""

    def __init__(self, n):
        brain = Brain()
        self.y, runs = brain.is_face.astype(int), brain.runs
        train, test = zip(*LeaveOneGroupOut().split(self.y, self.y, runs), strict=True)
        self.folds = Folds(len(self.y), train, test)
        self.X = np.ascontiguousarray(brain.X.T)
        self.search = plan_spheres(brain.mask, brain.affine, brain.radius, brain.centres(n).astype(bool))
        self.listed = self.list_voxels()
        self.voxels = [self.X[members].astype(float) for members in self.listed]
        self.G = np.zeros((len(self.y), len(self.y)), order="F")

    def list_voxels(self):
        """All of them, by the offsets that a search finds once."""
        return self.search.block(0, len(self.search))

    def block(self, means):
        """Spheres that share what they have in common, and with a penalised intercept."""
        listed = self.listed
        return Block(
            self.X, means, listed.indptr, listed.indices, 1.0, 0, 0, *group_spheres(listed.centres, listed.levels)
        )

    def products_by_blas(self):
        """Gram matrices of voxels that are gathered already."""
        for voxels in self.voxels:
            dsyrk(1.0, voxels.T, c=self.G, overwrite_c=1)

    def factors_by_blas(self):
        """As many factors of one of them, with a penalty and copied first."""
        S = self.G + np.eye(len(self.y)) * self.G[0, 0]
        for _ in self.voxels:
            dpotrf(S)

    def factors_of_folds(self):
        """One of the training samples for each fold."""
        m, n_folds = len(self.folds.train[0]), len(self.folds.train)
        S = np.ascontiguousarray(self.G[:m, :m] + np.eye(m) * self.G[0, 0])
        factors_by_tiles(S, np.empty_like(S), n_folds, len(self.voxels))

    def decode(self, estimator, block):
        """A function that decodes all spheres."""
        make_plan, _ = find_decoder(estimator, self.folds)
        plan = make_plan(estimator, self.y, self.folds)
        out, status = np.empty((len(self.listed), plan.n_out)), np.empty(len(self.listed), np.int8)
        return lambda: plan.run(block._replace(s2=plan.intercept), out, status)


def measure(n, repeats):
    """Microseconds a sphere of each stage, in all turns."""
    spheres, found = Spheres(n), {}
    with means_subtracted(spheres.X) as means, kernel_threads(1):
        block = spheres.block(means)
        alone = part_of(block, 0, n)._replace(order=np.arange(n))
        stages = {
            "listing its voxels": spheres.list_voxels,
            "Gram product by OpenBLAS": spheres.products_by_blas,
            "Cholesky factor of it by OpenBLAS": spheres.factors_by_blas,
            "gathering, Gram product by tiles": lambda: gram_products(alone),
            "the same, shared with neighbours": lambda: gram_products(block),
            "Cholesky factors of six folds by tiles": spheres.factors_of_folds,
        }
        stages |= {name: spheres.decode(estimator, block) for name, estimator in DECODERS.items()}
        for stage in stages.values():
            stage()  # compiles
        for _ in range(repeats):
            for name, stage in stages.items():
                began = time.process_time()
                stage()
                found.setdefault(name, []).append(1e6 * (time.process_time() - began) / n)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spheres", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--write", type=Path, help="Markdown file to write the table to, between its markers")
    arguments = parser.parse_args()
    found = measure(arguments.spheres, arguments.repeats)
    median = {name: statistics.median(times) for name, times in found.items()}
    bound = median["Gram product by OpenBLAS"] + median["Cholesky factor of it by OpenBLAS"]
    gram = median["the same, shared with neighbours"]
    lines = ["| part | µs | of it Gram products | times the bound |", "| --- | --- | --- | --- |"]
    for name, times in found.items():
        whole = f"{gram / median[name]:.0%} | {median[name] / bound:.1f}" if name in DECODERS else " | "
        lines.append(f"| {name} | {spread(times)} | {whole} |")
    versions = f"numba {numba.__version__}, numpy {np.__version__}, Python {platform.python_version()}"
    lines += ["", f"{processor_name()}, one core, {versions}. Made by `python bench/stages.py`."]
    publish("\n".join(lines), arguments.write, "stages")


if __name__ == "__main__":
    main()
