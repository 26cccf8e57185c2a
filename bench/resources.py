"""Import time, compile time, latency and peak memory: ``python bench/resources.py [--write docs/performance.md]``.

Each is measured in processes of their own. This one does not even import numpy: Linux counts what the
starter of a process held among what that process held at most.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from markers import publish

from fastsl._runtime.cpus import processor_name

#: Peak memory may be so many times that of the masked matrix, and so many MB.
TIMES_MATRIX, BASE_MB = 1.3, 300
LATENCY, IMPORT, COMPILE = 0.1, 0.7, 15.0

FIRST_FIT = """
import sys, time
from fastsl import SearchLight, make_phantom
phantom = make_phantom(8, n_runs=2)
estimator = sys.argv[1]
if "(" in estimator:
    from sklearn.discriminant_analysis import *
    from sklearn.linear_model import *
    from sklearn.naive_bayes import *
    from sklearn.svm import *
    estimator = eval(estimator)
began = time.perf_counter()
SearchLight(phantom.mask_img, radius=16, estimator=estimator).fit(phantom.img, phantom.labels["condition"])
print(time.perf_counter() - began)
"""

LATENCY_OF_ROI = """
import json, sys, time
import nibabel as nib
import numpy as np
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import LeaveOneGroupOut
from fastsl import SearchLight, make_phantom
estimators = {"RidgeClassifier": RidgeClassifier()}
phantom = make_phantom(2)
voxels = np.argwhere(phantom.mask_img.get_fdata() > 0)
nearest = np.argsort(np.linalg.norm(voxels - np.array(phantom.mask_img.shape) * [0.3, 0.5, 0.5], axis=1))
roi = np.zeros(phantom.mask_img.shape, np.uint8)
roi[tuple(voxels[nearest[:300]].T)] = 1
roi = nib.Nifti1Image(roi, phantom.mask_img.affine)
took = {}
for name in sys.argv[1:] * 10:
    began = time.perf_counter()
    searchlight = SearchLight(
        phantom.mask_img, roi, 8.0, estimators.get(name, name), cv=LeaveOneGroupOut(), standardize=True
    )
    searchlight.fit(phantom.img, phantom.labels["condition"], phantom.labels["run"])
    took.setdefault(name, []).append(time.perf_counter() - began)
print(json.dumps({name: times[1:] for name, times in took.items()}))
"""

#: A brain of white noise, written volume by volume.
MAKE_BRAIN = """
import gzip
import sys
import nibabel as nib
import numpy as np
from fastsl import make_phantom
folder, voxel_size, n, suffix = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
phantom = make_phantom(voxel_size, n_runs=1, volumes_per_run=2)
mask = phantom.mask_img.get_fdata() > 0
header = nib.Nifti1Header()
header.set_data_shape((*mask.shape, n))
header.set_data_dtype(np.int16)
header.set_sform(phantom.mask_img.affine)
header.set_slope_inter(1, 0)
rng = np.random.default_rng(0)
header["vox_offset"] = 352
path = f"{folder}/bold{suffix}"
with gzip.open(path, "wb", compresslevel=1) if suffix.endswith("gz") else open(path, "wb") as file:
    file.write(header.binaryblock + bytes(4))
    for _ in range(n):
        volume = np.zeros(mask.shape, np.int16, order="F")
        volume[mask] = 1000 + 20 * rng.standard_normal(np.count_nonzero(mask), np.float32)
        file.write(volume.tobytes(order="F"))
nib.save(phantom.mask_img, f"{folder}/mask.nii.gz")
few = np.zeros(mask.shape, np.uint8)
few.ravel()[np.flatnonzero(mask)[:: np.count_nonzero(mask) // 1000]] = 1
nib.save(nib.Nifti1Image(few, phantom.mask_img.affine), f"{folder}/few.nii.gz")
runs, places = np.arange(n) * 4 // n, np.arange(n)
lines = [f"{'ab'[place % 2]}\\t{run}" for place, run in zip(places, runs)]
open(f"{folder}/labels.tsv", "w").write("\\n".join(["condition\\trun", *lines]) + "\\n")
print(np.count_nonzero(mask))
"""


def run(command, cache=None):
    """Seconds of a process, what it printed, and its peak memory in MB."""
    environment = {**os.environ, **({"NUMBA_CACHE_DIR": str(cache)} if cache else {})}
    began = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, env=environment)
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status != 0:
        raise SystemExit(f"{command} ended with status {status}")
    return time.perf_counter() - began, printed, usage.ru_maxrss / 1024


def forget_libraries():
    """Have compiled libraries read from the disk again, as after a boot, where no other process has them.

    Linux holds a file that was just written, as after an installation, in larger pieces and maps a piece as a whole
    (6.18, ext4): 99 instead of 40 MB of llvmlite's library count for a process, whatever it uses of them.
    """
    os.sync()
    for library in Path(sysconfig.get_path("platlib")).rglob("*.so*"):
        with library.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def python(code, *arguments, cache=None):
    """What a process of this code printed."""
    return run([sys.executable, "-c", code, *arguments], cache)[1]


def first_fit(estimator, cache):
    """Seconds of a first fit of a small brain, which compiles where the cache is empty."""
    return float(python(FIRST_FIT, estimator, cache=cache))


def verdict(value, target, unit="s"):
    return f"{'within' if value <= target else '**over**'} {target:g} {unit}"


def imports():
    # What SearchLight inherits from, and what is compiled and read with: without these nothing can be imported.
    floor = "sklearn.base, numba, scipy.ndimage, nibabel"
    cases = [("fastsl", IMPORT), ("fastsl.searchlight", IMPORT), (floor, None)]
    if importlib.util.find_spec("nilearn"):
        cases.append(("nilearn.decoding", None))
    for modules, target in cases:
        took = statistics.median(run([sys.executable, "-c", f"import {modules}"])[0] for _ in range(5))
        yield f"process that does `import {modules}`", f"{took:.2f} s", verdict(took, target) if target else ""


def compiling(work):
    for name in ("svc", "ridge_classifier", "gnb"):
        first = first_fit(name, work / name)
        later = statistics.median(first_fit(name, work / name) for _ in range(3))
        yield f"first fit of {name!r} with an empty compile cache", f"{first:.1f} s", verdict(first, COMPILE)
        yield "the same in the next process", f"{later:.2f} s", ""


def latency(work):
    names = ["svc", "RidgeClassifier", "ridge_classifier", "gnb"]
    for name, times in json.loads(python(LATENCY_OF_ROI, *names, cache=work / "svc")).items():
        middle = statistics.median(times)
        yield (
            f"fit of {name!r} on an ROI of 300 voxels, 2 mm brain in memory, compiled",
            f"{middle * 1e3:.0f} ms ({min(times) * 1e3:.0f}–{max(times) * 1e3:.0f})",
            verdict(middle, LATENCY),
        )


def memory(work, voxel_size, n_volumes, suffix, cases):
    """A row for each (estimator, radius, whether few centres)."""
    folder = work / f"brain-{voxel_size:g}{suffix}"
    folder.mkdir()
    n_voxels = int(python(MAKE_BRAIN, folder, voxel_size, n_volumes, suffix))
    matrix = n_voxels * n_volumes * 4 / 2**20
    budget = TIMES_MATRIX * matrix + BASE_MB
    for estimator in {estimator for estimator, *_ in cases}:  # compiling takes memory, once
        run([sys.executable, "-m", "fastsl", "warmup", "--quiet", f"--estimator={estimator}"], work / "svc")
    for estimator, radius, few in cases:
        command = [
            sys.executable,
            "-m",
            "fastsl",
            "run",
            f"--imgs={folder}/bold{suffix}",
            f"--mask={folder}/mask.nii.gz",
        ]
        command += [f"--labels={folder}/labels.tsv", "--target=condition", "--groups=run", "--standardize", "--quiet"]
        command += [f"--radius={radius}", f"--estimator={estimator}", "--overwrite", f"--out={folder}/out"]
        seconds, _, peak = run([*command, *([f"--process-mask={folder}/few.nii.gz"] if few else [])], work / "svc")
        spheres = "1,000" if few else f"{n_voxels:,}"
        what = (
            f"`fastsl run` {estimator}, {radius} mm, {spheres} spheres, {n_voxels:,} voxels × {n_volumes} from {suffix}"
        )
        yield (
            what,
            f"{peak:.0f} MB at the peak, {seconds:.0f} s; the matrix has {matrix:.0f} MB",
            verdict(round(peak), round(budget), "MB"),
        )


def measured(arguments):
    forget_libraries()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        work = Path(folder)
        if not arguments.only or "import" in arguments.only:
            yield from imports()
        if not arguments.only or "compile" in arguments.only:
            yield from compiling(work)
        if not arguments.only or "latency" in arguments.only:
            python(FIRST_FIT, "svc", cache=work / "svc")
            yield from latency(work)
        if not arguments.only or "memory" in arguments.only:
            python(FIRST_FIT, "svc", cache=work / "svc")
            few = [("svc", 8, True), ("gnb", 8, True)]
            yield from memory(work, 2.0, 120, ".nii.gz", [*few, ("gnb", 8, False), ("svc", 2, False)])
        if not arguments.only or "large" in arguments.only:
            yield from memory(
                work, arguments.large, 24, ".nii", [("svc", 4, True), ("gnb", 4, True), ("gnb", 2, False)]
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=["import", "compile", "latency", "memory", "large"])
    parser.add_argument("--large", type=float, default=0.8, help="voxel size of the large brain, in mm")
    parser.add_argument("--folder", type=Path, help="where there is 1 GB of room for it; a temporary folder by default")
    parser.add_argument("--write", type=Path, help="put the table between the resources markers of this file")
    arguments = parser.parse_args()
    lines = ["| what | measured | target |", "| --- | --- | --- |"]
    for row in measured(arguments):
        lines.append(f"| {' | '.join(row)} |")
        print(lines[-1], flush=True)
    lines += [
        "",
        f"{len(os.sched_getaffinity(0))} processors ({processor_name()}), Python {platform.python_version()}. The "
        f"target of memory is {TIMES_MATRIX:g} times the masked matrix and {BASE_MB} MB. Made by `python "
        "bench/resources.py`.",
    ]
    publish("\n".join(lines), arguments.write, "resources")


if __name__ == "__main__":
    main()
