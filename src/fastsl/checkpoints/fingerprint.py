"""What an analysis is, in words that two processes can compare: the same words, the same results.

Anything that a score depends on is an ingredient: settings, labels, folds, images, seeds, and the code itself. Shards
and checkpoints of one analysis carry the same ingredients; where they differ, the ingredients say in what.
"""

import hashlib
import json
import pickle
import types
import warnings
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from fastsl._runtime.jit import source_digest
from fastsl.analysis import Analysis
from fastsl.kept import Keep
from fastsl.record import versions

#: Packages whose versions may change a result; ``fastsl`` with the digest of its kernels.
_PACKAGES = ("fastsl", "numba", "numpy", "scipy", "scikit-learn")
#: Longer descriptions are shown by their digest.
_LONGEST = 300


def describe(value: Any) -> str:
    """Say what a value is: the same text in every process, and another one for another value.

    Arrays by their digest, estimators by class and parameters, functions by name and code, random states by state.

    Raises
    ------
    ValueError
        For an object that is none of these and cannot be pickled: nothing can be said of it.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> describe(Ridge(alpha=2))[:45]
    'sklearn.linear_model._ridge.Ridge(alpha=2, co'
    """
    if isinstance(value, np.ndarray | np.generic):
        return _describe_array(np.asarray(value))
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(describe, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{describe(key)}: {describe(entry)}' for key, entry in value.items())}}}"
    if isinstance(value, partial):
        return f"partial({describe([value.func, value.args, value.keywords])})"
    if isinstance(value, type):
        return _name(value)
    if hasattr(value, "get_params"):
        return f"{_name(type(value))}({_join(value.get_params(deep=False))})"
    if is_dataclass(value):
        return f"{_name(type(value))}({_join({one.name: getattr(value, one.name) for one in fields(value)})})"
    if isinstance(value, np.random.RandomState):
        return f"RandomState({describe(value.get_state())})"
    if isinstance(value, np.random.Generator):
        return f"Generator({describe(value.bit_generator.state)})"
    if isinstance(value, types.FunctionType):
        code = value.__code__
        names = [
            code.co_names,
            code.co_varnames,
            [one for one in code.co_consts if not isinstance(one, types.CodeType)],
        ]
        return f"{_name(value)}({_digest(code.co_code)}, {describe([names, value.__defaults__, value.__kwdefaults__])})"
    return _describe_object(value)


def _describe_array(array: NDArray[Any]) -> str:
    if array.ndim == 0:
        return repr(array.item())
    if array.dtype == object:
        return f"array{array.shape}({_digest(describe(array.ravel().tolist()).encode())})"
    return f"array{array.shape} {array.dtype.str} {_digest(np.ascontiguousarray(array).data)}"


def _describe_object(value: Any) -> str:
    try:
        return f"{_name(type(value))}({joblib.hash(value)})"
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise ValueError(
            f"checkpoint: {type(value).__name__} cannot be described, so that nobody can tell whether two runs are the "
            f"same analysis ({error}). Use an object that can be pickled, or leave out checkpoint and shard."
        ) from error


def _join(entries: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={describe(entry)}" for name, entry in sorted(entries.items()))


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _digest(content: Any) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def ingredients(X: NDArray[Any], analysis: Analysis, keep: Keep, **others: Any) -> dict[str, str]:
    """All that the scores depend on, by name; X (n_voxels, n_samples) as it was read, before anything is done to it.

    ``others`` is what the analysis does not know: masks, affines, radius, standardisation, and settings of a test.
    """
    found = {one.name: getattr(analysis, one.name) for one in fields(analysis) if one.name != "engine"}
    package = {name: version for name, version in versions().items() if name in _PACKAGES}
    kept = {f"keep_{name}": value for name, value in keep.settings.items()}
    everything = {**found, **others, **kept, "path": analysis.engine.path, "imgs": X, **package}
    words = {name: _shorten(describe(value)) for name, value in everything.items()}
    return {**words, "kernels": source_digest()}


def warn_of_chance(analysis: Analysis) -> None:
    """Warn of an estimator that draws other numbers in every process: blocks of two processes are not those of one."""
    unseeded = any(
        name.rpartition("__")[2] == "random_state" and value is None
        for name, value in analysis.estimator.get_params().items()
    )
    if unseeded and not analysis.compiled:
        warnings.warn(
            f"{type(analysis.estimator).__name__} draws random numbers without a seed (random_state=None): shards, and "
            "a search that goes on after an interruption, draw others than one search would. Give it a random_state.",
            RuntimeWarning,
            stacklevel=3,
        )


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:60]}... {_digest(text.encode())}"


def fingerprint(words: Mapping[str, str]) -> str:
    """One word for all ingredients."""
    return _digest(json.dumps(words, sort_keys=True).encode())


def differences(words: Mapping[str, str], others: Mapping[str, str]) -> str:
    """What is not the same in two analyses, for a message: "radius is 8.0 here and 10.0 there"."""
    found = []
    for name in sorted({*words, *others}):
        here, there = words.get(name, "absent"), others.get(name, "absent")
        if here != there:
            readable = len(here) + len(there) < 120 and "array" not in here
            found.append(f"{name} ({here} here, {there} there)" if readable else name)
    return ", ".join(found)
