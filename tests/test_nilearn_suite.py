"""nilearn's own tests of its SearchLight pass with ours in its place."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "nilearn_suite"
#: What does not apply: a link into nilearn's website, a shim for scikit-learn before 1.6, a 3-D transform of labels
#: that it makes up, and what is asked of nilearn's Decoder because ours can predict: arrays in place of images, values
#: of ``standardize`` that are no booleans.
NOT_OURS = (
    "check_doc_link",
    "check_tags",
    "transform_applies_mask_correctly",
    "check_decoder_with_arrays",
    "check_img_estimator_n_elements",
    "check_img_estimator_standardization",
)


@pytest.mark.slow
def test_nilearns_own_tests_pass_on_our_class():
    for needed in ("nilearn", "pandas", "polars", "numpydoc"):
        pytest.importorskip(needed, reason="nilearn's own tests need nilearn, pandas, polars and numpydoc")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore"]
    command += ["-o", "addopts=", "-o", "xfail_strict=false", "-o", "filterwarnings="]
    command += ["-k", " and ".join(f"not {name}" for name in NOT_OURS), str(FOLDER / "their_tests.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
