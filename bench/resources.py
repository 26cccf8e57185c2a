"""Import time, compile time and peak memory, each in processes of their own: ``python bench/resources.py``."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib

import fastsl

ROI = """
import sys, time
began = time.perf_counter()
from fastsl import SearchLight, make_phantom
phantom = make_phantom(8, n_runs=2)
began = time.perf_counter()
SearchLight(phantom.mask_img, radius=16, estimator=sys.argv[1]).fit(phantom.img, phantom.labels["condition"])
print(time.perf_counter() - began)
"""


def run(command, cache=None):
    """Seconds of a process, what it printed, and its peak memory in MB."""
    environment = {**os.environ, **({"NUMBA_CACHE_DIR": str(cache)} if cache else {})}
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{command} ended with status {status}")
    return time.perf_counter() - began, printed, usage.ru_maxrss / 1024


def main():
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        print("| what | measured |\n| --- | --- |")
        for module in ("fastsl", "fastsl.searchlight"):
            times = sorted(run([sys.executable, "-c", f"import {module}"])[0] for _ in range(5))
            print(f"| process that does `import {module}` | {times[2]:.2f} s |")
        for name in ("svc", "ridge_classifier"):
            cache = work / name
            first = float(run([sys.executable, "-c", ROI, name], cache)[1])
            later = sorted(float(run([sys.executable, "-c", ROI, name], cache)[1]) for _ in range(3))[1]
            print(f"| first fit of {name!r} with an empty compile cache | {first:.1f} s |")
            print(f"| the same in the next process | {later:.2f} s |")
        fastsl.make_phantom(2.0).save(work / "data")
        n_voxels = int((nib.load(work / "data" / "mask.nii.gz").get_fdata() > 0).sum())
        matrix = n_voxels * 120 * 4 / 2**20
        centres = nib.load(work / "data" / "signal.nii.gz")
        nib.save(nib.Nifti1Image((centres.get_fdata() > 0).astype("uint8"), centres.affine), work / "centres.nii.gz")
        files = [f"--imgs={work}/data/bold.nii", f"--mask={work}/data/mask.nii.gz", f"--labels={work}/data/labels.tsv"]
        settings = ["--target=condition", "--groups=run", "--standardize", "--quiet", "--overwrite"]
        for spheres in (["--process-mask", str(work / "centres.nii.gz")], []):
            command = [sys.executable, "-m", "fastsl", "run", *files, *settings, *spheres, f"--out={work}/out"]
            seconds, _, peak = run(command, work / "svc")
            what = "some hundred spheres" if spheres else f"{n_voxels:,} spheres"
            print(
                f"| `fastsl run`, 2 mm brain from file, {what} | {seconds:.0f} s, peak {peak:.0f} MB "
                f"(the matrix has {matrix:.0f} MB) |"
            )


if __name__ == "__main__":
    main()
