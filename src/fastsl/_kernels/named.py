"""Routines that are compiled once, and called by name as those of LAPACK are.

What a kernel calls is compiled as a part of it. While helpers were also compiled by themselves, in each of their
layers, tiles added 4 s to the first fit of a decoder. By name they take half a second each, once for all kernels.
"""

import functools
import inspect
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic

from fastsl._runtime import jit

_routines: dict[str, Callable[..., Any]] = {}
_symbols: dict[Callable[..., Any], str] = {}  # by what kernels call
_compiled: dict[str, Any] = {}


def named(*callers: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """Make a routine that the overloads of ``callers`` call, with one tuple.

    Of the routine's parameters, those annotated as int are whole numbers and others addresses of float64, for which
    the tuple has an array. It returns a whole number. Nothing can be raised out of it, so it may not allocate: where
    there is no memory, Numba would print so and return 0.
    """

    def decorate(routine: Callable[..., Any]) -> Any:
        symbol = f"fastsl{routine.__name__}"
        _routines[symbol] = routine
        _symbols.update(dict.fromkeys(callers, symbol))
        return _call(symbol)

    return decorate


def _call(symbol: str) -> Any:
    @intrinsic
    def call(typing_context, arguments):
        _make(symbol)

        def codegen(context, builder, signature, args):
            values = []
            for i, kind in enumerate(arguments):
                value = builder.extract_value(args[0], i)
                if isinstance(kind, types.Array):
                    values.append(context.make_array(kind)(context, builder, value).data)
                else:
                    values.append(context.cast(builder, value, kind, types.intp))
            routine = ir.FunctionType(context.get_value_type(types.intp), [value.type for value in values])
            return builder.call(cgutils.get_or_insert_function(builder.module, routine, symbol), values)

        return types.intp(arguments), codegen

    return call


def _signature(routine: Callable[..., Any]) -> Any:
    kinds = (parameter.annotation for parameter in inspect.signature(routine).parameters.values())
    return types.intp(*(types.intp if kind is int else types.CPointer(types.float64) for kind in kinds))


@functools.cache
def needed(kernel: Callable[..., Any]) -> frozenset[str]:
    """Symbols of the routines that a kernel calls, itself or through others."""
    symbols, seen = set(), set()
    waiting: list[Any] = [kernel]
    while waiting:
        function = waiting.pop()
        function = getattr(function, "py_func", function)  # what a compiled one is made of
        if not isinstance(function, FunctionType) or function in seen:
            continue
        seen.add(function)
        if function in _symbols:
            symbols.add(_symbols[function])
            continue
        names = function.__code__.co_names
        for value in [function.__globals__.get(name) for name in names]:
            # A module's own functions stand in the code as its name and theirs.
            waiting += [getattr(value, name, None) for name in names] if isinstance(value, ModuleType) else [value]
    return frozenset(symbols)


def make_ready(kernel: Callable[..., Any]) -> None:
    """Compile or load what a kernel needs, before it is loaded itself: a symbol without address ends the process."""
    if not numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        for symbol in sorted(needed(kernel) - _compiled.keys()):
            _make(symbol)


def _make(symbol: str) -> None:
    with global_compiler_lock:  # a lock of our own would be waited for by one that has this
        if symbol not in _compiled:
            compiled = jit.c_function(_signature(_routines[symbol]), _routines[symbol])
            llvm.add_symbol(symbol, compiled.address)
            _compiled[symbol] = compiled
