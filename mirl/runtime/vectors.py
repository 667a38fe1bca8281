"""The innermost loops, written with LLVM's vectors, as a compiler does not vectorise them well by itself.

In all of them sums stay in registers while their terms are read. Numba inlines the loops into the calling functions.
"""

from collections.abc import Callable
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
"""Number of vectors of pixels of SIDE rows that are computed at a time; some registers stay free."""
STRIP = LANES * ACROSS
"""Number of pixels in ACROSS vectors."""
LINE = 16
"""Number of float32 in a cache line, and in the longest vector."""

FLOAT, INDEX = ir.FloatType(), ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, LANES)


def _group(side: int, across: int, gated: bool) -> Any:
    """Make the kernel that computes `across` vectors of pixels of a group of `side` rows, or of gated products."""

    @intrinsic
    def group_sum(typing: Any, rows: Any, group: Any, memory: Any, read: Any, write: Any) -> Any:
        """Write the sums of a group's rows; if gated, their products with those SIDE rows later.

        Pixels are read from read[0] on, for the second group read[1] for each group in between further on. Row r is
        written from write[0] + r * write[1] on.
        """
        signature = types.void(rows, types.int64, memory, read, write)

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            rows, group, memory, read, write = arguments
            arrays = [
                _data(context, builder, kind, builder.extract_value(rows, place))
                for place, kind in enumerate(signature.args[0][:4])
            ]
            memory = _data(context, builder, signature.args[2], memory)
            source, step = (builder.extract_value(read, place) for place in (0, 1))
            sums = _sums(builder, arrays, (group, side, across), memory, source)
            if gated:
                apart = INDEX(SIDE // side)
                source = builder.add(source, builder.mul(apart, step))
                others = _sums(builder, arrays, (builder.add(group, apart), side, across), memory, source)
                sums = [builder.fmul(one, other) for one, other in zip(sums, others)]
            target, step = (builder.extract_value(write, place) for place in (0, 1))
            for row in range(side):
                place = builder.add(target, builder.mul(step, INDEX(row)))
                for number, total in enumerate(sums[row * across : (row + 1) * across]):
                    builder.store(total, _vector(builder, memory, place, number), align=4)
            return context.get_dummy_value()

        return signature, generate

    return group_sum


sum_row = _group(1, VECTORS, gated=False)
"""Writes a CHUNK of one row."""
sum_side = _group(SIDE, ACROSS, gated=False)
"""Writes a STRIP of a group of SIDE rows."""
gate_row = _group(1, VECTORS, gated=True)
"""Writes a CHUNK of the product of a row and that SIDE rows later."""
gate_side = _group(SIDE, ACROSS // 2, gated=True)
"""Writes half a STRIP of the products of a group of SIDE rows and the next group."""


def _sums(builder: ir.IRBuilder, arrays: Any, which: Any, memory: Any, read: Any) -> list[Any]:
    """Sum `which` = (group, rows in it, vectors of pixels): bias plus weight times pixels at an offset from `read`."""
    (starts, offsets, weights, bias), (group, side, across) = arrays, which
    first, last = (
        builder.sext(_item(builder, starts, place), INDEX) for place in (group, builder.add(group, INDEX(1)))
    )

    def factors(values: Any, number: Any) -> list[Any]:
        place = builder.mul(number, INDEX(side))
        return [
            _splat(builder, _item(builder, values, builder.add(place, INDEX(row)))) for row in range(side)
        ]

    def add(element: Any, totals: list[Any]) -> list[Any]:
        source = builder.add(read, builder.sext(_item(builder, offsets, element), INDEX))
        pixels = [_load(builder, memory, source, number) for number in range(across)]
        each = factors(weights, element)
        return [
            _multiply_add(builder, each[number // across], pixels[number % across], total)
            for number, total in enumerate(totals)
        ]

    start = [value for value in factors(bias, group) for _ in range(across)]
    return _loop(builder, (first, last, 1), start, add)


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

        def add(pixel: Any, totals: list[Any]) -> list[Any]:
            lefts, rights = (
                [_load(builder, memory, builder.add(start, pixel), 0) for start in side] for side in starts
            )
            return [
                _multiply_add(builder, lefts[number // SIDE], rights[number % SIDE], total)
                for number, total in enumerate(totals)
            ]

        zeros = [ir.Constant(VECTOR, [0.0] * LANES)] * SIDE**2
        sums = _loop(builder, (INDEX(0), length, LANES), zeros, add)
        add_up = _function(builder, FLOAT, [FLOAT, VECTOR], "vector.reduce.fadd")
        for number, total in enumerate(sums):
            one = builder.call(add_up, [ir.Constant(FLOAT, 0.0), total], fastmath=("reassoc",))
            builder.store(one, builder.gep(block, [INDEX(number)]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def normalise_strip(typing: Any, norm: Any, memory: Any, channels: Any, places: Any) -> Any:
    """Normalise a STRIP of pixels over their channels, `places` = (read from, write to, distance between channels)."""
    signature = types.void(norm, memory, types.int64, places)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        norm, memory, channels, places = arguments
        read, write, plane = (builder.extract_value(places, place) for place in range(3))
        gain, bias = (
            _data(context, builder, signature.args[0][place], builder.extract_value(norm, place))
            for place in (0, 1)
        )
        epsilon = builder.fptrunc(builder.extract_value(norm, 2), FLOAT)
        memory = _data(context, builder, signature.args[1], memory)
        bounds, zeros = (INDEX(0), channels, 1), [ir.Constant(VECTOR, [0.0] * LANES)] * ACROSS
        share = _splat(builder, builder.fdiv(ir.Constant(FLOAT, 1.0), builder.sitofp(channels, FLOAT)))

        def pixels(channel: Any) -> list[Any]:
            source = builder.add(read, builder.mul(channel, plane))
            return [_load(builder, memory, source, number) for number in range(ACROSS)]

        def add(channel: Any, totals: list[Any]) -> list[Any]:
            return [builder.fadd(total, here) for total, here in zip(totals, pixels(channel))]

        means = [builder.fmul(total, share) for total in _loop(builder, bounds, zeros, add)]

        def add_squares(channel: Any, totals: list[Any]) -> list[Any]:
            apart = [builder.fsub(here, mean) for here, mean in zip(pixels(channel), means)]
            return [_multiply_add(builder, one, one, total) for one, total in zip(apart, totals)]

        root, one = _function(builder, VECTOR, [VECTOR], "sqrt"), ir.Constant(VECTOR, [1.0] * LANES)
        spreads = [
            builder.fdiv(
                one, builder.call(root, [_multiply_add(builder, total, share, _splat(builder, epsilon))])
            )
            for total in _loop(builder, bounds, zeros, add_squares)
        ]

        def normalise(channel: Any, nothing: list[Any]) -> list[Any]:
            factor, shift = (_splat(builder, _item(builder, values, channel)) for values in (gain, bias))
            target = builder.add(write, builder.mul(channel, plane))
            for number, here in enumerate(pixels(channel)):
                apart = builder.fmul(builder.fsub(here, means[number]), spreads[number])
                result = _multiply_add(builder, apart, factor, shift)
                builder.store(result, _vector(builder, memory, target, number), align=4)
            return nothing

        _loop(builder, bounds, [], normalise)
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


def _loop(
    builder: ir.IRBuilder, bounds: Any, start: list[Any], body: Callable[[Any, list[Any]], list[Any]]
) -> list[Any]:
    """Emit a loop over `bounds` = (first, last, step) in which `body` makes new vectors of the old; return the last."""
    first, last, step = bounds
    before = builder.block
    loop, end = builder.append_basic_block("loop"), builder.append_basic_block("loop.end")
    builder.cbranch(builder.icmp_signed("<", first, last), loop, end)

    builder.position_at_end(loop)
    place, values = builder.phi(INDEX), [builder.phi(VECTOR) for _ in start]
    made = body(place, values)
    following = builder.add(place, INDEX(step))
    builder.cbranch(builder.icmp_signed("<", following, last), loop, end)
    place.add_incoming(first, before)
    place.add_incoming(following, loop)

    builder.position_at_end(end)
    results = [builder.phi(VECTOR) for _ in start]
    for phis, once in ((values, loop), (results, loop)):
        for phi, initial, new in zip(phis, start, made):
            phi.add_incoming(initial, before)
            phi.add_incoming(new, once)
    return results


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
