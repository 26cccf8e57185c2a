"""Routines that are compiled once for all kernels, and called by name as those of LAPACK are.

What else a kernel calls is compiled as a part of it. The name is that of a cell, from which the kernel reads a
routine's address when it calls it: neither has to be there for the other to be compiled, so that two processes compile
them at the same time.
"""

import ctypes
import functools
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FunctionType, ModuleType
from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba.core import types
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic

from fastsl._runtime import jit
from fastsl._runtime.elsewhere import elsewhere

_routines: dict[str, Callable[..., Any]] = {}
_symbols: dict[Callable[..., Any], str] = {}  # by what kernels call
_cells: dict[str, "_Cell"] = {}  # what the symbols stand for
_compiled: dict[str, Any] = {}
_promised: ContextVar[tuple[str, ...]] = ContextVar("promised", default=())


class _Cell:
    """A routine's address, in memory that stays where it is; until there is one, that of a function that says so."""

    def __init__(self, symbol: str) -> None:
        self._missing = ctypes.CFUNCTYPE(None)(lambda: _give_up(symbol))
        self.content = ctypes.c_void_p(ctypes.cast(self._missing, ctypes.c_void_p).value)


def _give_up(symbol: str) -> None:
    """Nothing can be raised through compiled code, and to go on would be to read what is not there."""
    message = f"fastsl: {symbol} was called before it was made; fastsl._kernels.named.needed did not find it.\n"
    os.write(2, message.encode())
    os.abort()


def named(*callers: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """Make a routine that the overloads of ``callers`` call, with one tuple.

    Of the routine's parameters, those annotated as int are whole numbers and others addresses of float64, for which
    the tuple has an array. It returns a whole number. Nothing can be raised out of it, so it may not allocate: where
    there is no memory, Numba would print so and return 0.
    """

    def decorate(routine: Callable[..., Any]) -> Any:
        symbol = f"fastsl{routine.__name__}"
        _routines[symbol] = routine
        _cells[symbol] = _Cell(symbol)
        llvm.add_symbol(symbol, ctypes.addressof(_cells[symbol].content))
        _symbols.update(dict.fromkeys(callers, symbol))
        return _call(symbol)

    return decorate


def _call(symbol: str) -> Any:
    @intrinsic
    def call(typing_context, arguments):
        if symbol not in _promised.get():
            make(symbol)

        def codegen(context, builder, signature, args):
            values = []
            for i, kind in enumerate(arguments):
                value = builder.extract_value(args[0], i)
                if isinstance(kind, types.Array):
                    values.append(context.make_array(kind)(context, builder, value).data)
                else:
                    values.append(context.cast(builder, value, kind, types.intp))
            routine = ir.FunctionType(context.get_value_type(types.intp), [value.type for value in values])
            known = builder.module.globals
            cell = known.get(symbol) or ir.GlobalVariable(builder.module, routine.as_pointer(), symbol)
            return builder.call(builder.load(cell), values)

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


def make_ready(compiled: Any, arguments: tuple[Any, ...]) -> None:
    """Compile or load the routines that a kernel needs, before it is called: their cells are empty until then.

    They are a third of what there is to compile. Where there are two threads, another process does that while this one
    compiles the kernel: a first fit of LinearSVC took 14.7 s instead of 22.5.
    """
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return
    missing = [symbol for symbol in sorted(needed(compiled) - _compiled.keys()) if not _load(symbol)]
    if missing and jit.CACHE_FOLDER is not None:
        modules = {_routines[symbol].__module__ for symbol in missing}
        with elsewhere(_MAKE, ",".join(modules), *missing), _promise(missing):
            compiled.compile(tuple(map(compiled.typeof_pyval, arguments)))
    for symbol in missing:
        make(symbol)


#: What the other process runs, with modules and the symbols of their routines.
_MAKE = """
import importlib, sys
from fastsl._kernels import named
for module in sys.argv[1].split(","):
    importlib.import_module(module)
for symbol in sys.argv[2:]:
    named.make(symbol)
"""


@contextmanager
def _promise(symbols: list[str]) -> Iterator[None]:
    """Let this thread compile kernels that call routines which are made later."""
    token = _promised.set(tuple(symbols))
    try:
        yield
    finally:
        _promised.reset(token)


def _load(symbol: str) -> bool:
    try:
        make(symbol, only_cached=True)
    except jit.NotCachedError:
        return False
    return True


def make(symbol: str, *, only_cached: bool = False) -> None:
    """Compile or load a routine, and fill its cell."""
    with global_compiler_lock:  # a lock of our own would be waited for by one that has this
        if symbol not in _compiled:
            routine = _routines[symbol]
            compiled = jit.c_function(_signature(routine), routine, only_cached=only_cached)
            _cells[symbol].content.value = compiled.address
            _compiled[symbol] = compiled
