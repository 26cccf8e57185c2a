"""The decorators behind every compiled function of the package.

``@kernel`` marks what Python calls: GIL-free, cached on disk. ``@helper`` marks what only these call: compiled into
them (see :mod:`fastsl._runtime.parts`) and never cached alone, and ``@inlined`` one that is a layer less.

None has Numba's parallel loops: :func:`fastsl._runtime.launch.in_parts` calls kernels from several threads. A parallel
one is compiled in four layers, each of which optimises and translates all that is below it again (6 s of 20 for
LinearSVC, 9 of 26 for ridge), and Numba's threads do not survive a fork.

Numba's cache looks at the file of what Python calls only; a helper that changed in another file would go on answering
with the old code (numba issues 1833, 9312). The cache therefore lives in a folder named after the package version, a
digest of every kernel source, so that a change anywhere makes a new one, and Numba's version, since two of them would
discard each other's index. In it, no process takes another's code for its own, see :func:`_name_files_apart`.
``fastmath`` stays off everywhere: results must not depend on how a loop was vectorised.
"""

import hashlib
import os
import tempfile
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
from numba.core.ccallback import CFunc
from numba.core.sigutils import normalize_signature

from fastsl._runtime.collector import stopped_collector
from fastsl._runtime.parts import as_part
from fastsl._version import __version__

_PACKAGE = Path(__file__).resolve().parent.parent
_decorating = threading.Lock()
#: Without the wrapper for calls from C, which nobody makes.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}


def source_digest(folder: Path = _PACKAGE) -> str:
    """Digest of all compiled code: every source below ``_kernels``, and how they are compiled."""
    digest = hashlib.sha256()
    runtime = folder / "_runtime"
    for source in [*sorted((folder / "_kernels").glob("*.py")), runtime / "jit.py", runtime / "parts.py"]:
        digest.update(source.name.encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def cache_base() -> Path:
    """``NUMBA_CACHE_DIR`` when set, else ``fastsl`` in the user's cache folder."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastsl"


def _usable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _find_cache_folder() -> Path | None:
    try:
        folder = cache_base() / f"kernels-{__version__}-{source_digest()}-numba-{numba.__version__}"
    except RuntimeError:  # Path.home() where no home directory can be determined
        return None
    if _usable(folder):
        return folder
    warnings.warn(
        f"fastsl cannot write its compile cache to {folder}: kernels will be compiled again in every process "
        "(some 15 s). Point NUMBA_CACHE_DIR to a folder that you can write to.",
        RuntimeWarning,
        stacklevel=2,
    )
    return None


CACHE_FOLDER: Path | None = _find_cache_folder()


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile lazily, for the thread that calls it, cached in this version's own folder."""
    if CACHE_FOLDER is None:
        compiled = numba.njit(**_OPTIONS)(function)
    else:
        with _caching():
            compiled = numba.njit(cache=True, **_OPTIONS)(function)
            _name_files_apart(compiled)
    if not numba.config.DISABLE_JIT:
        compiled.compile = stopped_collector()(compiled.compile)
    return compiled


class NotCachedError(LookupError):
    """There is no compiled code of that function, those types and this processor in the cache."""


class _CachedCFunc(CFunc):
    def _compile_uncached(self) -> Any:
        raise NotCachedError(self.__qualname__)


def c_function(signature: Any, function: Callable[..., Any], *, only_cached: bool = False) -> CFunc:
    """Compile at once, cached as :func:`kernel` is, into what has an ``address`` by the conventions of C.

    With ``only_cached``, :class:`NotCachedError` is raised where that would take time.
    """
    kind = normalize_signature(signature)  # type: ignore[no-untyped-call]
    compiled = (_CachedCFunc if only_cached else CFunc)(function, kind, {}, {"error_model": "numpy"})
    if CACHE_FOLDER is not None:
        with _caching():
            compiled.enable_caching()
            _name_files_apart(compiled)
    with stopped_collector():
        compiled.compile()
    return compiled


@contextmanager
def _caching() -> Iterator[None]:
    """Have Numba take our folder, which it reads from its global configuration when it prepares a function's cache."""
    with _decorating:
        previous = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(CACHE_FOLDER)
        try:
            yield
        finally:
            numba.config.CACHE_DIR = previous


def _name_files_apart(compiled: Any) -> None:
    """Save the code of this function in files of names that no other process takes.

    Numba numbers a function's files, and writes first an index of them, then the code. Where two processes that share a
    folder compile for different processors or types at the same time, both take number 1; one's index may then name
    the other's code, which every later process would run: with an instruction that its processor does not have. With
    names of their own, the worst is that one's index takes the place of the other's, which compiles again next time.

    Names are drawn when code is saved, since a process may be forked before.
    """
    file: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    pattern = getattr(file, "_data_name_pattern", "")
    if "{number" in pattern:  # as Numba has it; there is no cache without compilation
        unique = pattern.replace("{number", "{unique}-{number")
        file._data_name = lambda number: unique.format(unique=uuid.uuid4().hex[:12], number=number)


def helper(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile as a part of the kernels that call it."""
    return as_part(function, **_OPTIONS)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """As :func:`helper`, as if it were written where it is called: for what a kernel calls once, and which calls much.

    Numba optimised and translated every helper by itself and again in all that call it, so that each layer of them cost
    once more; since they are parts, to have them here costs and gives little. A first fit before that, processor
    seconds: LinearSVC 15.8 with six of them in their callers, 21.1 before; SVC 19.0, 22.7. The innermost ones are
    better apart: LinearSVC took 25 with all of them in one function.
    """
    return numba.njit(inline="always", **_OPTIONS)(function)
