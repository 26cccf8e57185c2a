"""Data that several test files share, and what must hold after each of them."""

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numba.core.caching import FunctionCache
from numba.core.dispatcher import Dispatcher

from fastsl import make_phantom
from fastsl._kernels import named
from fastsl.compiled import CompiledEngine
from fastsl.general import GeneralEngine


def compiled_kernels():
    """Kernels that this process has compiled or loaded; helpers that tests call are in no cache."""
    for name in [name for name in sys.modules if name.startswith("fastsl._kernels.")]:
        for value in vars(sys.modules[name]).values():
            kernel = getattr(value, "__wrapped__", value)
            if isinstance(kernel, Dispatcher) and isinstance(kernel._cache, FunctionCache) and kernel.signatures:
                yield kernel


def called_by_name(kernel):
    """Symbols of the routines that stand in the compiled code of a kernel, as it is in the cache."""
    index = Path(kernel._cache._cache_file._index_path)
    code = [file.read_bytes() for file in index.parent.glob(f"{index.stem}.*.nbc")]
    assert code, f"{kernel} is not in the cache"
    return {symbol for symbol in named._routines if any(symbol.encode() + b"\0" in each for each in code)}


@pytest.fixture(autouse=True, scope="module")
def what_kernels_call_is_made_ready():
    """A routine that ``needed`` does not find ends the process of whoever loads the kernel from the cache."""
    yield
    for kernel in compiled_kernels():
        assert called_by_name(kernel) <= named.needed(kernel), kernel


@pytest.fixture(scope="session")
def phantom():
    """A small brain: 1,912 voxels of 10 mm, four runs of ten volumes. Not to be changed."""
    return make_phantom(voxel_size=10, n_runs=4, volumes_per_run=10, signal=2.0, seed=1)


@pytest.fixture(scope="session")
def saved_phantom(phantom, tmp_path_factory):
    """The same as files: bold.nii, mask.nii.gz, signal.nii.gz, labels.tsv. Not to be changed."""
    return phantom.save(tmp_path_factory.mktemp("phantom"))


@pytest.fixture(scope="session")
def few_centres(phantom):
    """Process mask for the phantom: all planted voxels and a few others."""
    centres = phantom.signal_img.get_fdata() > 0
    brain = np.argwhere(phantom.mask_img.get_fdata() > 0)
    centres[tuple(brain[:: len(brain) // 6].T)] = True
    return nib.Nifti1Image(centres.astype(np.uint8), phantom.mask_img.affine)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 64 spheres, each of which becomes a file."""
    monkeypatch.setattr("fastsl.compiled.FIRST_BLOCK", 64)
    monkeypatch.setattr("fastsl.search.LARGEST_BLOCK", 64)
    monkeypatch.setattr("fastsl.compiled.SECONDS_A_BLOCK", 1e9)
    monkeypatch.setattr("fastsl.checkpoints.recorder.SECONDS_A_FILE", 0.0)


@pytest.fixture
def decoded(monkeypatch):
    """Sizes of the blocks that are decoded; ``stop_after`` lets decoding fail when there are so many."""

    class Decoded(list):
        stop_after, error = None, ZeroDivisionError

    blocks = Decoded()
    for engine in (CompiledEngine, GeneralEngine):

        def watched(self, neighbours, decode=engine.__call__):
            if len(blocks) == blocks.stop_after:
                raise blocks.error
            blocks.append(len(neighbours))
            return decode(self, neighbours)

        monkeypatch.setattr(engine, "__call__", watched)
    return blocks
