"""Compiled loops on the threads of torch's own operations, which OpenMP keeps awake between them.

A second set of threads would fight for the cores with torch's, which stay busy for a while after
each operation. So `share_out` does from compiled code what a C compiler makes of `#pragma omp
parallel`: nobody takes Python's lock, and no thread waits for another before the end.
"""

import ctypes
import sys
from pathlib import Path
from typing import Any

import torch
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

CALLED = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
ENDING = ".dylib" if sys.platform == "darwin" else ".so"
NOTHING, INT = ir.VoidType(), ir.IntType(32)
POINTER = ir.IntType(8).as_pointer()


def found() -> bool:
    """Say whether torch's OpenMP has what `share_out` calls, and make it known to compiled code."""
    try:
        library = ctypes.CDLL(
            str(Path(torch.__file__).parent / f"lib/libtorch_global_deps{ENDING}")
        )
        for name in CALLED:
            binding.add_symbol(name, ctypes.cast(getattr(library, name), ctypes.c_void_p).value)
    except (OSError, AttributeError):  # torch was built without OpenMP, or with another one
        return False
    return True


@intrinsic
def share_out(context: Any, loop: Any, threads: Any, pieces: Any, given: Any) -> Any:
    """Call `loop(first, last, *given)` on several threads, each with its stretch of the pieces.

    Args:
        context: of Numba, which passes it.
        loop: a compiled function.
        threads: how many to ask OpenMP for, which may give fewer.
        pieces: how many there are.
        given: the other arguments, a tuple.
    """
    function, handed = loop.dispatcher, (pieces, given)
    here = types.ExternalFunction("omp_get_thread_num", types.int32())
    team = types.ExternalFunction("omp_get_num_threads", types.int32())

    def stretch(pieces: int, given: Any) -> None:
        first, last = pieces * here() // team(), pieces * (here() + 1) // team()
        function(first, last, *given)

    def write(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, count, *values = arguments
        there = cgutils.alloca_once_value(builder, cgutils.pack_struct(builder, values))
        kind = ir.FunctionType(NOTHING, [POINTER])
        name = builder.module.get_unique_name("stretch")
        each = ir.Function(builder.module, kind, name)  # what OpenMP calls, with a pointer to these
        each.linkage = "internal"
        inside = ir.IRBuilder(each.append_basic_block())
        packed = inside.load(inside.bitcast(each.args[0], there.type))
        body = target.compile_subroutine(inside, stretch, types.void(*handed)).fndesc
        unpacked = cgutils.unpack_tuple(inside, packed, len(handed))
        target.call_internal_no_propagate(inside, body, types.void(*handed), unpacked)
        inside.ret_void()
        kind = ir.FunctionType(NOTHING, [each.type, POINTER, INT, INT])
        parallel = cgutils.get_or_insert_function(builder.module, kind, "GOMP_parallel")
        place, number = builder.bitcast(there, POINTER), builder.trunc(count, INT)
        builder.call(parallel, [each, place, number, INT(0)])
        return target.get_dummy_value()

    return types.void(loop, types.int64, *handed), write
