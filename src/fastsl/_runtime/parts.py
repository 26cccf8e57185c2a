"""Helpers as parts of kernels: compiled to code that is linked and optimised there, not to instructions of their own.

Of every function Numba makes what could be called from Python: a wrapper that unpacks Python objects, all of it
optimised together and translated to instructions. What calls the function then links its code, and optimises and
translates it once more. For a helper the first of both is in vain, a fourth of the time of a first fit.
"""

import functools
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numba
from numba.core import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

#: Versions of Numba whose libraries are known to work as they are used here; with later ones helpers are compiled as
#: Numba does, which takes longer.
KNOWN = ((0, 62), (0, 68))


class _Part(JITCodeLibrary):
    """A library whose code is linked by others, and never run from it.

    Its functions are optimised one by one: without, GaussianNB took a tenth to a fifth longer. Passes over the library
    as a whole, the "cheap" ones or all, make no kernel faster.
    """

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()  # type: ignore[no-untyped-call]
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        return 0

    @property
    def codegen(self) -> "_Environments":
        return _Environments(self._codegen)


class _Environments:
    """Gives parts their environments, the Python objects for what they print and raise, as Numba gives kernels theirs.

    It looks for the variable of that name where instructions are, and those of a part come with a kernel later: the
    variable is therefore defined here, 1 ms a part, and kernels find it.
    """

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def set_env(self, name: str, environment: Any) -> None:
        self._codegen._add_module(llvm.parse_assembly(f'@"{name}" = global ptr null'))
        self._codegen._engine.finalize_object()
        self._codegen.set_env(name, environment)


class _PartCompiler(Compiler):
    def compile_extra(self, func: Callable[..., Any]) -> Any:
        codegen = self.state.targetctx.codegen()
        self.state["library"] = _Part(codegen, func.__qualname__)  # type: ignore[no-untyped-call]
        return super().compile_extra(func)  # type: ignore[no-untyped-call]


def as_part(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Compile a part where compiled code calls the function, and as Numba does where Python calls it, as tests do.

    A part may neither call itself nor be a value that is chosen while code runs.
    """
    njit: Any = numba.njit  # whose types lack an option
    whole = njit(**options)(function)
    if numba.config.DISABLE_JIT or not KNOWN[0] <= numba.version_info.short <= KNOWN[1]:
        return whole

    @functools.cache
    def part() -> Any:
        return njit(pipeline_class=_PartCompiler, no_cpython_wrapper=True, **options)(function)

    def get_call_template(args: Any, kws: dict[str, Any]) -> Any:
        # Of whole numbers that are written in a call, or stand in for what is not known yet, Numba makes types of
        # their own: a part would be compiled for each of them, and once more for all others.
        kinds = dict(zip(kws, map(types.unliteral, kws.values()), strict=True))
        return part().get_call_template(tuple(map(types.unliteral, args)), kinds)

    whole.get_call_template = get_call_template
    whole.get_overload = lambda signature: part().get_overload(signature)
    return whole
