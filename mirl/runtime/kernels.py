"""Layers of restoration networks, computed tile by tile: each tile is loaded, computed in cache and written back.

`image` and `out` are float32 of shape (channels, height, width). `memory` is the scratch of one thread, in planes of
the grid: first the planes of the tile's channels, then those between. Tiles are computed in the order given.
"""

from typing import NamedTuple

import numpy as np

from mirl.runtime.compiled import compiled
from mirl.runtime.planes import (
    Norm,
    Part,
    Tile,
    Tiles,
    add_planes,
    add_squares,
    add_sums,
    clear_outside,
    end,
    gate_gelu,
    inner,
    keep_counted,
    normalise,
    pixels,
)
from mirl.runtime.products import add_products
from mirl.runtime.rows import Rows, gate_rows, sum_rows
from mirl.runtime.transfers import add_image, load, load_squares, store, store_squares
from mirl.runtime.vectors import SIDE


class Convolution(NamedTuple):
    """Layer made of one convolution of stride 1 with zero padding, over a tile with a border."""

    rows: Rows
    fold: int
    """Side of the squares of pixels that are channels before."""
    spread: int
    """Side of the squares of pixels that become channels."""


class Mixing(NamedTuple):
    """Layer made of a normalisation, a 1x1 convolution and a depth-wise 3x3 convolution."""

    norm: Norm
    mix: Rows
    depthwise: Rows


class FeedForward(NamedTuple):
    """Layer made of a `Mixing`, a GELU gate and a 1x1 convolution.

    Of the `Mixing`, SIDE rows are gates, the next SIDE are the values of the same hidden channels, and so on.
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
    """First 1x1 convolution: SIDE rows are left factors, the next SIDE the right ones of the same channels, and so on."""
    project: Rows
    hidden: int


class Pointwise(NamedTuple):
    """End of a NAFNet block: a 1x1 convolution of the gated channels, then the second branch."""

    mix: Rows
    feeding: Feeding


BATCH = 2 * SIDE
"""Number of rows that are computed together."""


@compiled
def convolve(
    image: np.ndarray,
    tiles: Tiles,
    layer: Convolution,
    out: np.ndarray,
    residual: np.ndarray,
    memory: np.ndarray,
) -> None:
    """Write a convolution, plus `residual` unless that is empty.

    `memory` holds BATCH planes besides those of the channels, or SIDE for each pixel of a row of a square if that is more.
    """
    grid, fold, spread = tiles.grid, layer.fold, layer.spread
    channels, batch = image.shape[0] * fold * fold, max(BATCH, SIDE * spread)
    for number in tiles.numbers:
        tile = (
            load_squares(image, fold, grid, number, memory) if fold > 1 else load(image, grid, number, memory)
        )
        for row in range(0, out.shape[0] * spread * spread, batch):
            more = min(batch, out.shape[0] * spread * spread - row)
            write = (channels * grid.plane + grid.start, grid.plane)
            sum_rows(layer.rows, (row, row + more), memory, (grid.start, 0), write, inner(grid))
            if spread == 1:
                store(tile, memory, (channels, row, more), out, residual)
            else:
                store_squares(tile, memory, (channels, row, more), spread, out, residual)


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
        normalise(memory, (0, 0), channels, grid, layer.norm)
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
    matrix: Rows,
    out: np.ndarray,
    residual: np.ndarray,
    memory: np.ndarray,
) -> None:
    """Write `residual` plus a 1x1 convolution of the values.

    `memory` holds a plane for each row of whole groups besides those of the values.
    """
    grid, channels = tiles.grid, values.shape[0]
    write = (channels * grid.plane + grid.start, grid.plane)
    for number in tiles.numbers:
        tile = load(values, grid, number, memory)
        sum_rows(matrix, (0, out.shape[0]), memory, (grid.start, 0), write, inner(grid))
        store(tile, memory, (channels, 0, out.shape[0]), out, residual)


@compiled
def feed_forward(
    image: np.ndarray, tiles: Tiles, layer: FeedForward, out: np.ndarray, memory: np.ndarray
) -> None:
    """Write the image plus the outputs of a `FeedForward`.

    `memory` holds a plane for each hidden channel, in whole groups, and 2 BATCH planes besides those of the image.
    """
    grid, channels = tiles.grid, image.shape[0]
    rows = 2 * layer.hidden
    gates, free = channels + rows // 2, channels + rows // 2 + BATCH
    for number in tiles.numbers:
        tile = load(image, grid, number, memory)
        normalise(memory, (0, 0), channels, grid, layer.mixing.norm)
        for j in range(0, rows, BATCH):
            pointwise_depthwise(layer.mixing, (j, BATCH), tile, memory, free, gates)
            for pair in range(SIDE):
                gate_gelu(
                    pixels(memory, grid, gates + pair),
                    pixels(memory, grid, gates + SIDE + pair),
                    pixels(memory, grid, channels + j // 2 + pair),
                )
        for row in range(0, channels, BATCH):
            more = min(BATCH, channels - row)
            read, write = (
                (channels * grid.plane + grid.start, 0),
                (gates * grid.plane + grid.start, grid.plane),
            )
            sum_rows(layer.project, (row, row + more), memory, read, write, inner(grid))
            store(tile, memory, (gates, row, more), out, image)


@compiled
def gate_neighbours(
    image: np.ndarray, tiles: Tiles, layer: Mixing, gated: np.ndarray, total: Total, memory: np.ndarray
) -> None:
    """Write the products of the rows of a `Mixing` as `gate_rows` does, and add up the pixels of each that count.

    `memory` holds SIDE and BATCH planes besides those of the image.
    """
    grid, channels = tiles.grid, image.shape[0]
    products, free = channels, channels + SIDE
    read, write = (
        (free * grid.plane + grid.start, grid.plane),
        (products * grid.plane + grid.start, grid.plane),
    )
    for number in tiles.numbers:
        tile = load(image, grid, number, memory)
        normalise(memory, (0, 0), channels, grid, layer.norm)
        for j in range(0, gated.shape[0], SIDE):
            more = min(SIDE, gated.shape[0] - j)
            pointwise(layer.mix, (2 * j, BATCH), tile, memory, free)
            gate_rows(layer.depthwise, 2 * j, memory, read, write, inner(grid))
            store(tile, memory, (products, j, more), gated, gated[:0])
            keep_counted(tile, total.counted, memory, products, more)
            add_sums(grid, memory, products, total.sums[j : j + more])


@compiled
def feed_pixels(
    gated: np.ndarray, tiles: Tiles, layer: Pointwise, image: np.ndarray, out: np.ndarray, memory: np.ndarray
) -> None:
    """Write the end of a NAFNet block; `image` is the input of the block, `gated` the result of `gate_neighbours`.

    `out` may be in the place of `gated`. `memory` holds planes for the more of gated and hidden channels, these in whole
    groups, twice the planes of the image, and BATCH planes.
    """
    grid, channels, hidden = tiles.grid, image.shape[0], layer.feeding.hidden
    mixed = max(gated.shape[0], hidden)
    normal, free = mixed + channels, mixed + 2 * channels
    for number in tiles.numbers:
        tile = load(gated, grid, number, memory)
        write = (mixed * grid.plane + grid.start, grid.plane)
        sum_rows(layer.mix, (0, channels), memory, (grid.start, 0), write, inner(grid))
        add_image(image, tile, memory, mixed)
        normalise(memory, (mixed, normal), channels, grid, layer.feeding.norm)
        for j in range(0, hidden, SIDE):
            read, write = (normal * grid.plane + grid.start, 0), (j * grid.plane + grid.start, grid.plane)
            gate_rows(layer.feeding.widen, 2 * j, memory, read, write, inner(grid))
        for row in range(0, channels, BATCH):
            more = min(BATCH, channels - row)
            write = (free * grid.plane + grid.start, grid.plane)
            sum_rows(layer.feeding.project, (row, row + more), memory, (grid.start, 0), write, inner(grid))
            add_planes(grid, memory, free, mixed + row, more)
            store(tile, memory, (free, row, more), out, out[:0])


@compiled
def pointwise(layer: Rows, some: tuple[int, int], tile: Tile, memory: np.ndarray, free: int) -> None:
    """Compute rows `some` = (first, count) of a 1x1 convolution with the border, 0 outside the image, into `free` on."""
    grid = tile.grid
    write = (free * grid.plane, grid.plane)
    sum_rows(layer, (some[0], some[0] + some[1]), memory, (0, 0), write, end(grid))
    clear_outside(tile, memory, free, some[1])


@compiled
def pointwise_depthwise(
    layer: Mixing, some: tuple[int, int], tile: Tile, memory: np.ndarray, free: int, target: int
) -> None:
    """Compute rows `some` = (first, count) of a `Mixing` from normalised planes into planes from `target` on.

    `free` is the first of the scratch planes.
    """
    grid = tile.grid
    pointwise(layer.mix, some, tile, memory, free)
    read, write = (free * grid.plane + grid.start, grid.plane), (target * grid.plane + grid.start, grid.plane)
    sum_rows(layer.depthwise, (some[0], some[0] + some[1]), memory, read, write, inner(grid))
