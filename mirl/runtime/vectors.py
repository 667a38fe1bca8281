"""Three innermost loops, written with LLVM's vectors, as a compiler does not vectorise them well by itself.

In all three, sums stay in registers while their terms are read. Numba inlines the loops into the calling functions.
"""

from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 16 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 8
"""Number of float32 in a vector register of this machine."""
VECTORS = 8
"""Number of registers for sums: enough to hide the latency of a multiply-add."""
CHUNK = LANES * VECTORS
"""Number of pixels of a row that are computed at a time."""
SIDE = 4
"""Number of planes that are multiplied with as many others at a time: each vector that is read is used SIDE times."""
ACROSS = 4 if LANES == 16 else 2
"""Number of vectors of pixels of SIDE dense rows that are computed at a time; some registers stay free."""
STRIP = LANES * ACROSS
"""Number of pixels in ACROSS vectors."""
LINE = 16
"""Number of float32 in a cache line, and in the longest vector."""

FLOAT, INDEX = ir.FloatType(), ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, LANES)


@intrinsic
def sum_chunk(typing: Any, rows: Any, row: Any, memory: Any, read: Any, write: Any) -> Any:
    """Compute a CHUNK of a row: memory[write + t] = bias + sum over elements of weight * memory[read + offset + t]."""
    signature = types.void(rows, types.int64, memory, types.int64, types.int64)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        rows, row, memory, read, write = arguments
        starts, offsets, weights, bias = (
            _data(context, builder, kind, builder.extract_value(rows, place))
            for place, kind in enumerate(signature.args[0][:4])
        )
        memory = _data(context, builder, signature.args[2], memory)
        first, last = (
            builder.sext(_item(builder, starts, place), INDEX) for place in (row, builder.add(row, INDEX(1)))
        )
        start, before = _splat(builder, _item(builder, bias, row)), builder.block
        loop, end = builder.append_basic_block("row"), builder.append_basic_block("row.end")
        builder.cbranch(builder.icmp_signed("<", first, last), loop, end)

        builder.position_at_end(loop)
        element = builder.phi(INDEX)
        sums = [builder.phi(VECTOR) for _ in range(VECTORS)]
        weight = _splat(builder, _item(builder, weights, element))
        source = builder.add(read, builder.sext(_item(builder, offsets, element), INDEX))
        grown = [
            _multiply_add(builder, weight, _load(builder, memory, source, number), total)
            for number, total in enumerate(sums)
        ]
        following = builder.add(element, INDEX(1))
        builder.cbranch(builder.icmp_signed("<", following, last), loop, end)
        element.add_incoming(first, before)
        element.add_incoming(following, loop)
        for total, more in zip(sums, grown):
            total.add_incoming(start, before)
            total.add_incoming(more, loop)

        builder.position_at_end(end)
        results = [builder.phi(VECTOR) for _ in range(VECTORS)]
        for result, more in zip(results, grown):
            result.add_incoming(start, before)
            result.add_incoming(more, loop)
        for number, result in enumerate(results):
            builder.store(result, _vector(builder, memory, write, number), align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def sum_block(typing: Any, memory: Any, left: Any, right: Any, length: Any, block: Any) -> Any:
    """Compute block[r, c]: the sum of the plane at left[0] + r * left[1] times that at right[0] + c * right[1]."""
    signature = types.void(memory, left, right, types.int64, block)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        memory, left, right, length, block = arguments
        memory = _data(context, builder, signature.args[0], memory)
        block = _data(context, builder, signature.args[4], block)
        starts = [
            [
                builder.add(
                    builder.extract_value(side, 0), builder.mul(builder.extract_value(side, 1), INDEX(number))
                )
                for number in range(SIDE)
            ]
            for side in (left, right)
        ]
        zero, before = ir.Constant(VECTOR, [0.0] * LANES), builder.block
        loop, end = builder.append_basic_block("block"), builder.append_basic_block("block.end")
        builder.branch(loop)

        builder.position_at_end(loop)
        pixel = builder.phi(INDEX)
        sums = [builder.phi(VECTOR) for _ in range(SIDE * SIDE)]
        lefts, rights = (
            [_load(builder, memory, builder.add(start, pixel), 0) for start in side] for side in starts
        )
        grown = [
            _multiply_add(builder, lefts[number // SIDE], rights[number % SIDE], total)
            for number, total in enumerate(sums)
        ]
        following = builder.add(pixel, INDEX(LANES))
        builder.cbranch(builder.icmp_signed("<", following, length), loop, end)
        pixel.add_incoming(INDEX(0), before)
        pixel.add_incoming(following, loop)
        for total, more in zip(sums, grown):
            total.add_incoming(zero, before)
            total.add_incoming(more, loop)

        builder.position_at_end(end)
        add_up = _function(builder, FLOAT, [FLOAT, VECTOR], "vector.reduce.fadd")
        for number, total in enumerate(grown):
            one = builder.call(add_up, [ir.Constant(FLOAT, 0.0), total], fastmath=("reassoc",))
            builder.store(one, builder.gep(block, [INDEX(number)]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def sum_strip(typing: Any, matrix: Any, block: Any, memory: Any, read: Any, write: Any) -> Any:
    """Compute a STRIP of SIDE rows of `matrix` = (blocks, offsets): the bias plus the sum of weight times pixels.

    A column's pixels are at `read` plus its offset. `write` is (start of the first row's strip, distance to the next).
    """
    signature = types.void(matrix, types.int64, memory, types.int64, write)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        matrix, block, memory, read, write = arguments
        blocks, offsets = (builder.extract_value(matrix, place) for place in (0, 1))
        blocks = context.make_array(signature.args[0][0])(context, builder, value=blocks)
        offsets = _data(context, builder, signature.args[0][1], offsets)
        memory = _data(context, builder, signature.args[2], memory)
        lines = builder.extract_value(blocks.shape, 1)
        first = builder.mul(builder.mul(block, lines), INDEX(SIDE))

        def line(number: Any) -> list[Any]:
            place = builder.add(first, builder.mul(number, INDEX(SIDE)))
            return [
                _splat(builder, _item(builder, blocks.data, builder.add(place, INDEX(row))))
                for row in range(SIDE)
            ]

        bias = line(INDEX(0))
        before = builder.block
        loop, end = builder.append_basic_block("strip"), builder.append_basic_block("strip.end")
        builder.branch(loop)

        builder.position_at_end(loop)
        column = builder.phi(INDEX)
        sums = [builder.phi(VECTOR) for _ in range(SIDE * ACROSS)]
        offset = _item(builder, offsets, builder.sub(column, INDEX(1)))  # the first line is the bias
        source = builder.add(read, builder.sext(offset, INDEX))
        pixels = [_load(builder, memory, source, number) for number in range(ACROSS)]
        factors = line(column)
        grown = [
            _multiply_add(builder, factors[number // ACROSS], pixels[number % ACROSS], total)
            for number, total in enumerate(sums)
        ]
        following = builder.add(column, INDEX(1))
        builder.cbranch(builder.icmp_signed("<", following, lines), loop, end)
        column.add_incoming(INDEX(1), before)
        column.add_incoming(following, loop)
        for number, (total, more) in enumerate(zip(sums, grown)):
            total.add_incoming(bias[number // ACROSS], before)
            total.add_incoming(more, loop)

        builder.position_at_end(end)
        for row in range(SIDE):
            target = builder.add(
                builder.extract_value(write, 0), builder.mul(builder.extract_value(write, 1), INDEX(row))
            )
            for number in range(ACROSS):
                builder.store(grown[row * ACROSS + number], _vector(builder, memory, target, number), align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def fetch(typing: Any, array: Any, place: Any) -> Any:
    """Prefetch the cache line that holds array[place] (1-D), which will soon be read or written."""
    signature = types.void(array, types.int64)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        pointer = builder.gep(_data(context, builder, signature.args[0], arguments[0]), [arguments[1]])
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        ask = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        to_read, every_level, data = number(0), number(3), number(1)
        builder.call(ask, [builder.bitcast(pointer, byte), to_read, every_level, data])
        return context.get_dummy_value()

    return signature, generate


def _data(context: Any, builder: ir.IRBuilder, kind: Any, array: Any) -> Any:
    """Return a pointer to the elements of a numpy array."""
    return context.make_array(kind)(context, builder, value=array).data


def _item(builder: ir.IRBuilder, pointer: Any, place: Any) -> Any:
    return builder.load(builder.gep(pointer, [place]))


def _vector(builder: ir.IRBuilder, pointer: Any, place: Any, number: int) -> Any:
    """Return a pointer to the `number`-th vector from `place` on."""
    at = builder.gep(pointer, [builder.add(place, INDEX(number * LANES))])
    return builder.bitcast(at, VECTOR.as_pointer())


def _load(builder: ir.IRBuilder, pointer: Any, place: Any, number: int) -> Any:
    return builder.load(_vector(builder, pointer, place, number), align=4)


def _splat(builder: ir.IRBuilder, value: Any) -> Any:
    """Return a vector whose every number is `value`."""
    nothing = ir.Constant(VECTOR, ir.Undefined)
    one = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(
        one, nothing, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    )


def _multiply_add(builder: ir.IRBuilder, left: Any, right: Any, total: Any) -> Any:
    return builder.call(_function(builder, VECTOR, [VECTOR] * 3, "fmuladd"), [left, right, total])


def _function(builder: ir.IRBuilder, result: Any, given: list[Any], name: str) -> Any:
    """Return LLVM's own function `name` for vectors of floats."""
    kind = ir.FunctionType(result, given)
    return cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f32")
