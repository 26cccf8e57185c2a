"""Data that several test files share."""

import nibabel as nib
import numpy as np
import pytest

from fastsl import make_phantom
from fastsl.compiled import CompiledEngine
from fastsl.general import GeneralEngine


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
