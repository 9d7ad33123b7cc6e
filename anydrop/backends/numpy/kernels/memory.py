"""Pointers from addresses, memory on the stack, and prefetching."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from anydrop.backends.numpy.kernels.philox import I32, I64, WORDS

# How many bytes ahead to prefetch. Values from 1 to 8 KB differ little. With 4 KB, a sum on one
# thread takes a tenth less time than with 2 KB.
AHEAD = 2**12
LINE = 64


@intrinsic
def pointer(context, address):
    """Return an address as a pointer."""

    def code(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(address), code


@intrinsic(prefer_literal=True)
def own_memory(context, n, dtype):
    """Return memory for n elements on the function's stack; n must be a constant."""

    def code(context, builder, signature, arguments):
        kind = context.get_data_type(signature.args[1].dtype)
        memory = cgutils.alloca_once(builder, kind, size=I64(signature.args[0].literal_value))
        memory.align = LINE
        return builder.bitcast(memory, context.get_value_type(types.voidptr))

    return types.voidptr(n, dtype), code


@intrinsic
def prefetch(context, array, i):
    """Prefetch the memory of a group, `AHEAD` bytes after element i.

    That may be past the end of the array.
    """

    def code(context, builder, signature, arguments):
        (kind, _), (array, i) = signature.args, arguments
        size = context.get_abi_sizeof(context.get_data_type(kind.dtype))
        byte = ir.IntType(8).as_pointer()
        data = builder.bitcast(context.make_array(kind)(context, builder, array).data, byte)
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32]),
            "llvm.prefetch.p0",
        )
        here = builder.mul(i, I64(size))
        for line in range(AHEAD, AHEAD + WORDS * size, LINE):
            address = builder.gep(data, [builder.add(here, I64(line))])
            builder.call(function, [address, I32(0), I32(3), I32(1)])  # to read, to keep, data
        return context.get_dummy_value()

    return types.void(array, types.uint64), code
