"""What docs/ticket-format.md says of codes, bit by bit and without a line of mirl's."""


def mask_by_the_page(code: bytes, n: int, k: int) -> list[bool]:
    """The `n` elements, `k` of them kept, that a code stands for."""
    m = min(k, n - k)
    keep = [k > n - k] * n
    if m:
        b, end = code[0], 1 + -(-m * code[0] // 8)
        low, high = ("".join(f"{byte:08b}" for byte in part) for part in (code[1:end], code[end:]))
        element = -1
        for zeros, i in zip(high.split("1"), range(m)):
            element += len(zeros) * 2**b + int("0" + low[i * b : (i + 1) * b], 2) + 1
            keep[element] = not keep[element]
    return keep
