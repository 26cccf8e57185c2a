"""Fingerprints: the same words for the same analysis in every process, other words for another one."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from fastsl.checkpoints.fingerprint import describe, differences, fingerprint


def scorer(estimator, X, y):
    return float((estimator.predict(X) == y).mean())


def other_scorer(estimator, X, y):
    return float((estimator.predict(X) != y).mean())


DIFFERENT = [
    None,
    True,
    1,
    1.5,
    "1",
    [1],
    [1, 2],
    {"a": 1},
    {"a": 2},
    np.arange(3),
    np.arange(3.0),
    np.arange(3).reshape(1, 3),
    np.array(["a", None], object),
    np.array(["a", "b"], object),
    Ridge(),
    Ridge(alpha=2),
    SVC(),
    SVC(class_weight={0: 1, 1: 2}),
    make_pipeline(StandardScaler(), Ridge()),
    make_pipeline(StandardScaler(with_std=False), Ridge()),
    scorer,
    other_scorer,
    partial(scorer, X=1),
    make_scorer(accuracy_score),
    make_scorer(accuracy_score, greater_is_better=False),
    np.random.RandomState(0),
    np.random.RandomState(1),
    np.random.default_rng(0),
    np.random.default_rng(1),
    Ridge,
]


def test_different_values_have_different_descriptions():
    words = [describe(value) for value in DIFFERENT]
    assert len(set(words)) == len(words)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.float64(8), 8.0),
        (np.arange(6).reshape(2, 3)[:, ::2], np.array([[0, 2], [3, 5]])),
        (LogisticRegression(C=2.0), LogisticRegression(C=2.0)),
        (np.random.RandomState(3), np.random.RandomState(3)),
        (make_scorer(accuracy_score), make_scorer(accuracy_score)),
        ((1, 2), [1, 2]),
    ],
)
def test_equal_values_have_one_description(one, other):
    assert describe(one) == describe(other)


def test_what_can_neither_be_described_nor_pickled_is_refused():
    class Local:
        def __reduce__(self):
            raise TypeError("no way")

    with pytest.raises(ValueError, match=r"checkpoint: Local cannot be described.*leave out checkpoint and shard"):
        describe(Local())


def test_descriptions_are_the_same_in_every_process():
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_fingerprint import DIFFERENT, describe\n"
        "print('\\n'.join(map(describe, DIFFERENT)))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_differences_are_named_and_shown_where_they_can_be_read():
    here = {"radius": "8.0", "y": "array(40,) <U5 0123", "cv": "3", "same": "1"}
    there = {"radius": "10.0", "y": "array(40,) <U5 4567", "same": "1", "new": "2"}
    expected = "cv (3 here, absent there), new (absent here, 2 there), radius (8.0 here, 10.0 there), y"
    assert differences(here, there) == expected
    assert differences(here, here) == ""
    assert fingerprint(here) != fingerprint(there)
    assert fingerprint({"a": "1", "b": "2"}) == fingerprint({"b": "2", "a": "1"})
