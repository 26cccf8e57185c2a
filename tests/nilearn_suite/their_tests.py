"""nilearn's own SearchLight tests, from its wheel, with our class in place of theirs.

Runs in a process of its own (see test_nilearn_suite.py): it rebinds names inside nilearn.
"""

from pathlib import Path

import nilearn._utils.estimator_checks as checks
from nilearn.decoding import searchlight as theirs

from fastsl.estimators import check_estimator as our_check
from fastsl.searchlight import SearchLight

PATH = Path(theirs.__file__).parent / "tests" / "test_searchlight.py"


def _check(estimator, *, scoring, y):
    """Their helper's signature on our checks, which are spread over where the arguments are known."""
    our_check(estimator, scoring)
    if y is None and not hasattr(estimator, "decision_function"):
        raise TypeError("y is required: no estimator here works without; theirs names decision_function")


theirs.SearchLight = checks.SearchLight = SearchLight
theirs._check_searchlight_estimator = _check
exec(compile(PATH.read_text(), str(PATH), "exec"))
