"""nilearn's own tests of its SearchLight pass with ours in its place."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "nilearn_suite"
#: What does not apply: a link into nilearn's website, a shim for scikit-learn before 1.6, and transform, which ours
#: does not have (theirs answers with labels that it makes up).
NOT_OURS = ("check_doc_link", "check_tags", "transform_applies_mask_correctly")


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
