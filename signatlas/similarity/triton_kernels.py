"""Triton kernels of the fine-grained similarity: scores of a tile of pairs, and the gradient of its cosines.

A tile is GA videos by GB texts: one product [GA * LP, D] x [D, GB * TP] accumulated in fp32, LP and TP the lengths
rounded up to powers of two. All further steps are in registers. x is S / tau.
"""

# Kernels take pointers and compile-time constants that Python has no types for.
# mypy: allow-untyped-defs

import triton
import triton.language as tl


@triton.jit
def _pair_of_tiles(A, B, GA: tl.constexpr, GB: tl.constexpr, GROUP: tl.constexpr):
    """Return the tile of this program, in groups of GROUP rows of tiles that share tokens in the L2 cache."""
    across, down = tl.cdiv(B, GB), tl.cdiv(A, GA)
    number = tl.program_id(0)
    first = number // (GROUP * across) * GROUP
    rows = tl.minimum(down - first, GROUP)
    return first + number % (GROUP * across) % rows, number % (GROUP * across) // rows


@triton.jit
def _tile(
    video, text, a0, b0, A, B, L, T, D,
    GA: tl.constexpr, GB: tl.constexpr, LP: tl.constexpr, TP: tl.constexpr, BD: tl.constexpr,
    PRECISION: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """Return cosines [GA, LP, GB, TP], zero outside A, B, L and T."""
    m, n, k = tl.arange(0, GA * LP), tl.arange(0, GB * TP), tl.arange(0, BD)
    row, column = a0 + m // LP, b0 + n // TP
    has_row, has_column = (row < A) & (m % LP < L), (column < B) & (n % TP < T)
    # 64 bits: 65536 texts of 64 tokens of width 512 are 2**31 numbers.
    row_offset = (row.to(tl.int64) * L + m % LP) * D
    column_offset = (column.to(tl.int64) * T + n % TP) * D
    S = tl.zeros((GA * LP, GB * TP), dtype=tl.float32)
    for start in range(0, D, BD):
        inside = start + k < D
        v = tl.load(video + row_offset[:, None] + start + k[None, :], has_row[:, None] & inside[None, :], 0.0)
        w = tl.load(text + column_offset[None, :] + start + k[:, None], has_column[None, :] & inside[:, None], 0.0)
        if WIDEN:  # Triton's interpreter would multiply the bit patterns of bf16
            v, w = v.to(tl.float32), w.to(tl.float32)
        S = tl.dot(v, w, S, input_precision=PRECISION)
    return tl.reshape(S, (GA, LP, GB, TP))


@triton.jit
def _shares(share, first, count, length, G: tl.constexpr, P: tl.constexpr, MASKED: tl.constexpr):
    """Return the weights in the outer mean [G, P] of G rows of P tokens, and which tokens are keys."""
    row, position = first + tl.arange(0, G), tl.arange(0, P)
    inside = (row < count)[:, None] & (position < length)[None, :]
    part = tl.load(share + row[:, None].to(tl.int64) * length + position[None, :], inside, 0.0)
    keys = inside
    if MASKED:
        keys = part > 0
    return part, keys


@triton.jit
def _sums(E, x, AXIS: tl.constexpr):
    """Return (sum of weights over AXIS, 1 if it is zero; weighted mean of x)."""
    total = tl.sum(E, AXIS)
    total = tl.where(total > 0, total, 1.0)
    return total, tl.sum(E * x, AXIS) / total


@triton.jit
def _exponentials(x, keys, AXIS: tl.constexpr):
    """Return exp(x - max over AXIS), zero for tokens that are not keys."""
    filled = tl.where(keys, x, -1e30)
    return tl.where(keys, tl.exp(filled - tl.expand_dims(tl.max(filled, AXIS), AXIS)), 0.0)


@triton.jit
def scores(
    video, text, video_share, text_share, to_text_out, to_video_out, A, B, L, T, D, tau,
    GA: tl.constexpr, GB: tl.constexpr, LP: tl.constexpr, TP: tl.constexpr, BD: tl.constexpr, GROUP: tl.constexpr,
    MASKED: tl.constexpr, SHARED: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """Compute both scores [A, B] of a tile of pairs."""
    down, across = _pair_of_tiles(A, B, GA, GB, GROUP)
    a0, b0 = down * GA, across * GB
    x = _tile(video, text, a0, b0, A, B, L, T, D, GA, GB, LP, TP, BD, PRECISION, WIDEN) / tau
    clip_share, clip_keys = _shares(video_share, a0, A, L, GA, LP, MASKED)
    word_share, word_keys = _shares(text_share, b0, B, T, GB, TP, MASKED)
    clips, words = tl.reshape(clip_keys, (GA, LP, 1, 1)), tl.reshape(word_keys, (1, 1, GB, TP))
    if SHARED:
        E = tl.where(clips & words, tl.exp(x), 0.0)
        _, r = _sums(E, x, 3)
        _, c = _sums(E, x, 1)
    else:
        _, r = _sums(_exponentials(x, words, 3), x, 3)
        _, c = _sums(_exponentials(x, clips, 1), x, 1)
    to_text = tl.sum(r * tl.reshape(clip_share, (GA, LP, 1)), 1) * tau
    to_video = tl.sum(c * tl.reshape(word_share, (1, GB, TP)), 2) * tau
    a, b = a0 + tl.arange(0, GA), b0 + tl.arange(0, GB)
    offset, inside = a[:, None].to(tl.int64) * B + b[None, :], (a < A)[:, None] & (b < B)[None, :]
    tl.store(to_text_out + offset, to_text, inside)
    tl.store(to_video_out + offset, to_video, inside)


@triton.jit
def gradients(
    video, text, video_share, text_share, to_text_gradient, to_video_gradient, out, A, B, L, T, D, tau,
    GA: tl.constexpr, GB: tl.constexpr, LP: tl.constexpr, TP: tl.constexpr, BD: tl.constexpr, GROUP: tl.constexpr,
    MASKED: tl.constexpr, SHARED: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """Compute the gradient [A * L, B * T] of the cosines from the gradients [A, B] of the two scores."""
    down, across = _pair_of_tiles(A, B, GA, GB, GROUP)
    a0, b0 = down * GA, across * GB
    x = _tile(video, text, a0, b0, A, B, L, T, D, GA, GB, LP, TP, BD, PRECISION, WIDEN) / tau
    clip_share, clip_keys = _shares(video_share, a0, A, L, GA, LP, MASKED)
    word_share, word_keys = _shares(text_share, b0, B, T, GB, TP, MASKED)
    a, b = a0 + tl.arange(0, GA), b0 + tl.arange(0, GB)
    offset, inside = a[:, None].to(tl.int64) * B + b[None, :], (a < A)[:, None] & (b < B)[None, :]
    g = tl.reshape(tl.load(to_text_gradient + offset, inside, 0.0), (GA, 1, GB)) * tl.reshape(clip_share, (GA, LP, 1))
    h = tl.expand_dims(tl.load(to_video_gradient + offset, inside, 0.0), 2) * tl.reshape(word_share, (1, GB, TP))
    clips, words = tl.reshape(clip_keys, (GA, LP, 1, 1)), tl.reshape(word_keys, (1, 1, GB, TP))
    # Each direction's part is E (x - (r - 1)) g / Z; with a shared E the factors of x and the rest are added first.
    if SHARED:
        E = tl.where(clips & words, tl.exp(x), 0.0)
        total, r = _sums(E, x, 3)
        g = g / total
        total, c = _sums(E, x, 1)
        h = h / total
        k, q = tl.expand_dims(g * (1 - r), 3), tl.expand_dims(h * (1 - c), 1)
        gradient = E * (x * (tl.expand_dims(g, 3) + tl.expand_dims(h, 1)) + (k + q))
    else:
        E = _exponentials(x, words, 3)
        total, r = _sums(E, x, 3)
        gradient = E * (x - tl.expand_dims(r - 1, 3)) * tl.expand_dims(g / total, 3)
        E = _exponentials(x, clips, 1)
        total, c = _sums(E, x, 1)
        gradient += E * (x - tl.expand_dims(c - 1, 1)) * tl.expand_dims(h / total, 1)
    m, n = tl.arange(0, GA * LP), tl.arange(0, GB * TP)
    row, column = a0 + m // LP, b0 + n // TP
    has_row, has_column = (row < A) & (m % LP < L), (column < B) & (n % TP < T)
    entry = (row.to(tl.int64) * L + m % LP)[:, None] * (B * T) + (column * T + n % TP)[None, :]
    flat = tl.reshape(gradient, (GA * LP, GB * TP))
    tl.store(out + entry, flat.to(out.dtype.element_ty), has_row[:, None] & has_column[None, :])
