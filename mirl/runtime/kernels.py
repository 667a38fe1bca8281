"""Layers of restoration networks, computed tile by tile: each tile is loaded, computed in cache and written back.

`image` and `out` are float32 of shape (channels, height, width). `memory` is the scratch of one thread, in planes of
the grid: first the planes of the tile's channels, then those that a layer needs between. Tiles are computed in
the order given.
"""

from typing import NamedTuple

import numpy as np

from mirl.runtime.compiled import compiled
from mirl.runtime.planes import (
    Norm,
    Part,
    Tile,
    Tiles,
    add_image,
    add_squares,
    add_sums,
    clear_outside,
    gate_gelu,
    inner,
    keep_counted,
    load,
    multiply_pairs,
    normalise,
    origin,
    pixels,
    store,
)
from mirl.runtime.products import add_products, multiply
from mirl.runtime.rows import Rows, sum_rows


class Mixing(NamedTuple):
    """Layer made of a normalisation, a 1x1 convolution and a depth-wise 3x3 convolution."""

    norm: Norm
    mix: Rows
    depthwise: Rows


class FeedForward(NamedTuple):
    """Layer made of a `Mixing`, a GELU gate and a 1x1 convolution.

    Rows 2 j and 2 j + 1 of the `Mixing` are gate and value of hidden channel j.
    """

    mixing: Mixing
    project: Rows
    hidden: int


class Products(NamedTuple):
    """Sums over all pixels that count, for channel attention with h heads of D channels each."""

    counted: Part

    dots: np.ndarray
    """Products of each query with each key, of shape (h, D, D)."""
    squares: np.ndarray
    """Squares of each query and of each key, of shape (2, h, D)."""


class Total(NamedTuple):
    """Sum of each channel over all pixels that count."""

    counted: Part
    sums: np.ndarray


class Feeding(NamedTuple):
    """Second branch of a NAFNet block: a normalisation, a 1x1 convolution, the gate and another 1x1 convolution."""

    norm: Norm
    widen: Rows
    """First 1x1 convolution: rows 2 j and 2 j + 1 are the two factors of hidden channel j."""
    project: Rows
    hidden: int


class Pointwise(NamedTuple):
    """End of a NAFNet block: a 1x1 convolution of the gated channels, then the second branch."""

    mix: Rows
    feeding: Feeding


BATCH = 8
"""Number of rows that are computed together."""


@compiled
def convolve(image: np.ndarray, tiles: Tiles, layer: Rows, out: np.ndarray, memory: np.ndarray) -> None:
    """Write a convolution of stride 1 with zero padding. `memory` holds BATCH planes besides those of the image."""
    for number in tiles.numbers:
        tile = load(image, tiles.grid, number, memory)
        project(layer, tile, (0, image.shape[0]), out, out[:0], memory)


@compiled
def attention_products(
    image: np.ndarray, tiles: Tiles, layer: Mixing, values: np.ndarray, products: Products, memory: np.ndarray
) -> None:
    """Write the values of channel attention, and add up the products of its queries and keys.

    The rows of `layer` are queries, keys and values, a third each. If no pixel counts, no query or key is computed.
    `memory` holds the planes of one head of queries and 2 BATCH planes besides those of the image.
    """
    grid, channels = tiles.grid, image.shape[0]
    heads, deep = products.dots.shape[:2]
    if products.counted.bottom == 0:
        heads = 0
    keys, free = channels + deep, channels + deep + BATCH
    for number in tiles.numbers:
        tile = load(image, grid, number, memory)
        normalise(memory, channels, grid, layer.norm, keys)
        for head in range(heads):
            for j in range(0, deep, BATCH):
                more = min(BATCH, deep - j)
                pointwise_depthwise(layer, (head * deep + j, more), tile, memory, free, channels + j)
                keep_counted(tile, products.counted, memory, channels + j, more)
                add_squares(grid, memory, channels + j, products.squares[0, head, j : j + more])
            for j in range(0, deep, BATCH):
                more = min(BATCH, deep - j)
                pointwise_depthwise(layer, (channels + head * deep + j, more), tile, memory, free, keys)
                keep_counted(tile, products.counted, memory, keys, more)
                add_squares(grid, memory, keys, products.squares[1, head, j : j + more])
                add_products(
                    memory,
                    (channels * grid.plane + grid.start, grid.plane),
                    (keys * grid.plane + grid.start, grid.plane),
                    inner(grid),
                    products.dots[head, :, j : j + more],
                )
        for j in range(0, channels, BATCH):
            more = min(BATCH, channels - j)
            pointwise_depthwise(layer, (2 * channels + j, more), tile, memory, free, keys)
            store(tile, memory, (keys, j, more), values, values[:0])


@compiled
def attention_output(
    values: np.ndarray,
    tiles: Tiles,
    matrix: tuple[np.ndarray, np.ndarray],
    out: np.ndarray,
    residual: np.ndarray,
    memory: np.ndarray,
) -> None:
    """Write `residual` plus a dense 1x1 convolution of the values; `matrix` is as in `multiply`.

    `memory` holds a plane for each row of the blocks besides those of the values.
    """
    grid, channels = tiles.grid, values.shape[0]
    write = (channels * grid.plane + grid.start, grid.plane)
    for number in tiles.numbers:
        tile = load(values, grid, number, memory)
        multiply(matrix, memory, grid.start, write, inner(grid))
        store(tile, memory, (channels, 0, out.shape[0]), out, residual)


@compiled
def feed_forward(
    image: np.ndarray, tiles: Tiles, layer: FeedForward, out: np.ndarray, memory: np.ndarray
) -> None:
    """Write the image plus the outputs of a `FeedForward`.

    `memory` holds a plane for each hidden channel and 2 BATCH planes besides those of the image.
    """
    grid, channels = tiles.grid, image.shape[0]
    rows = 2 * layer.hidden
    gates, free = channels + rows // 2, channels + rows // 2 + BATCH
    for number in tiles.numbers:
        tile = load(image, grid, number, memory)
        normalise(memory, channels, grid, layer.mixing.norm, gates)
        for j in range(0, rows, BATCH):
            more = min(BATCH, rows - j)
            pointwise_depthwise(layer.mixing, (j, more), tile, memory, free, gates)
            for pair in range(more // 2):
                gate, value = gates + 2 * pair, gates + 2 * pair + 1
                gate_gelu(
                    pixels(memory, grid, gate),
                    pixels(memory, grid, value),
                    pixels(memory, grid, channels + j // 2 + pair),
                )
        project(layer.project, tile, (channels, gates), out, image, memory)


@compiled
def gate_neighbours(
    image: np.ndarray, tiles: Tiles, layer: Mixing, gated: np.ndarray, total: Total, memory: np.ndarray
) -> None:
    """Write the products of rows 2 j and 2 j + 1 of a `Mixing`, and add up the pixels of each that count.

    `memory` holds 2 BATCH planes besides those of the image.
    """
    grid, channels = tiles.grid, image.shape[0]
    rows = 2 * gated.shape[0]
    pairs, free = channels, channels + BATCH
    for number in tiles.numbers:
        tile = load(image, grid, number, memory)
        normalise(memory, channels, grid, layer.norm, pairs)
        for j in range(0, rows, BATCH):
            more = min(BATCH, rows - j)
            pointwise_depthwise(layer, (j, more), tile, memory, free, pairs)
            multiply_pairs(grid, memory, pairs, more // 2)
            store(tile, memory, (pairs, j // 2, more // 2), gated, gated[:0])
            keep_counted(tile, total.counted, memory, pairs, more // 2)
            add_sums(grid, memory, pairs, total.sums[j // 2 : (j + more) // 2])


@compiled
def feed_pixels(
    gated: np.ndarray, tiles: Tiles, layer: Pointwise, image: np.ndarray, out: np.ndarray, memory: np.ndarray
) -> None:
    """Write the end of a NAFNet block; `image` is the input of the block, `gated` the result of `gate_neighbours`.

    `memory` holds planes for both and for each hidden channel, and 2 BATCH planes.
    """
    grid, (hidden, channels) = tiles.grid, (gated.shape[0], image.shape[0])
    feeding, rows = layer.feeding, 2 * layer.feeding.hidden
    products, pairs = hidden + channels, hidden + channels + rows // 2
    for number in tiles.numbers:
        tile = load(gated, grid, number, memory)
        write = (hidden * grid.plane + grid.start, grid.plane)
        sum_rows(layer.mix, (0, channels), memory, grid.start, write, inner(grid))
        add_image(image, tile, memory, hidden)
        store(tile, memory, (hidden, 0, channels), out, out[:0])
        normalise(memory[hidden * grid.plane :], channels, grid, feeding.norm, channels)
        for j in range(0, rows, BATCH):
            more = min(BATCH, rows - j)
            aside = (pairs * grid.plane + grid.start, grid.plane)
            sum_rows(feeding.widen, (j, j + more), memory, write[0], aside, inner(grid))
            multiply_pairs(grid, memory, pairs, more // 2)
            for pair in range(more // 2):
                pixels(memory, grid, products + j // 2 + pair)[:] = pixels(memory, grid, pairs + pair)
        project(feeding.project, tile, (products, pairs), out, out, memory)


@compiled
def pointwise_depthwise(
    layer: Mixing, some: tuple[int, int], tile: Tile, memory: np.ndarray, free: int, target: int
) -> None:
    """Compute rows `some` = (first, count) of a `Mixing` from normalised planes into planes from `target` on.

    `free` is the first of the scratch planes.
    """
    grid = tile.grid
    whole = origin(grid) + (grid.rows + 2 * grid.border) * grid.pitch
    sum_rows(layer.mix, (some[0], some[0] + some[1]), memory, 0, (free * grid.plane, grid.plane), whole)
    clear_outside(tile, memory, free, some[1])
    for number in range(some[1]):
        row, read = some[0] + number, (free + number) * grid.plane + grid.start
        write = (target + number) * grid.plane + grid.start
        sum_rows(layer.depthwise, (row, row + 1), memory, read, (write, 0), inner(grid))


@compiled
def project(
    layer: Rows,
    tile: Tile,
    planes: tuple[int, int],
    out: np.ndarray,
    residual: np.ndarray,
    memory: np.ndarray,
) -> None:
    """Write all rows of a layer over planes [first, last); the BATCH planes after them are scratch."""
    grid, (first, last) = tile.grid, planes
    write = (last * grid.plane + grid.start, grid.plane)
    for row in range(0, out.shape[0], BATCH):
        more = min(BATCH, out.shape[0] - row)
        sum_rows(layer, (row, row + more), memory, first * grid.plane + grid.start, write, inner(grid))
        store(tile, memory, (last, row, more), out, residual)
