"""Codes of one layer's weights: to nearest, by least error of its output, and the scales that make that error small."""

from __future__ import annotations

import numpy as np

CODES = {"int8": (-127, 127), "int4": (-8, 7)}  # symmetric 8 bits leave the lowest code unused, 4 bits cannot spare it


def nearest_rows(weight: np.ndarray, scale: np.ndarray, dtype: str = "int8") -> np.ndarray:
    """Codes of C×K weights, each rounded to nearest, halves to even; `scale` is C long, `dtype` int8 or int4.

    >>> nearest_rows(np.array([[-9.0, 0.4, 9.0]]), np.array([1.0]), "int4")
    array([[-8.,  0.,  7.]])
    """
    return np.clip(np.rint(weight / scale[:, None]), *CODES[dtype])


def best_scales(weight: np.ndarray, second: np.ndarray, dtype: str = "int4") -> np.ndarray:
    """The scale of each row of C×K weights, rounded to nearest, with the least error of its output: C, float32.

    min over S of (w − ŵ)·H·(w − ŵ)ᵀ with H = X^T X/n, K×K: what the inputs are loud in weighs most. S is searched
    from half to all of max|w| over the largest code, and a little beyond. A row of zeros gets S = 1.

    >>> w, second = np.array([[0.3, 0.3, 7.0]]), np.diag([1.0, 1.0, 1e-6])  # nothing speaks through the large one
    >>> best_scales(w, second).round(2)
    array([0.47], dtype=float32)
    """
    largest = np.abs(weight).max(1) / ((CODES[dtype][1] - CODES[dtype][0]) / 2)
    start = np.where(largest > 0, largest, 1.0)
    scales, least = start.astype(np.float32), np.full(len(weight), np.inf)
    for share in np.arange(0.5, 1.08, 0.04):
        scale = (start * share).astype(np.float32)
        lost = weight - nearest_rows(weight, scale, dtype) * scale[:, None]
        error = ((lost @ second) * lost).sum(1)
        better = (error < least) & (largest > 0)
        scales[better], least[better] = scale[better], error[better]
    return scales


def round_rows(
    weight: np.ndarray,
    scale: np.ndarray,
    second: np.ndarray,
    damp: float = 0.01,
    block: int = 128,
    dtype: str = "int8",
) -> np.ndarray:
    """Codes of C×K weights that keep Σ(x·w − x·ŵ)² small, where `second` = X^T X/n is K×K; `scale` is C long.

    Columns are rounded in turn, the loudest input first; with U^T·U = (second + λ)⁻¹, U upper triangular, the error
    e of column i moves the later ones by −e·U_ij/U_ii. λ is `damp` times the mean diagonal.
    Source: Frantar et al., "GPTQ", 2023; Hassibi & Stork, "Optimal Brain Surgeon", 1993.

    >>> x = np.array([[1.0, 1.0]])  # what one weight loses, the other one gives
    >>> round_rows(np.array([[0.4, 0.4]]), np.array([1.0]), x.T @ x).sum()
    np.float32(1.0)
    """
    order = np.argsort(-np.diag(second), kind="stable")
    rest = weight[:, order].astype(np.float32)
    upper = _upper_root(second, order, damp)
    codes = np.empty_like(rest)
    step = np.asarray(scale, np.float32)[:, None]
    for a in range(0, rest.shape[1], block):
        b = min(a + block, rest.shape[1])
        now, u = rest[:, a:b], upper[a:b, a:b]
        error = np.empty_like(now)
        for i in range(b - a):
            q = np.clip(np.rint(now[:, i : i + 1] / step), *CODES[dtype])
            error[:, i : i + 1] = (now[:, i : i + 1] - q * step) / u[i, i]
            now[:, i + 1 :] -= error[:, i : i + 1] * u[i, i + 1 :]
            codes[:, a + i] = q[:, 0]
        rest[:, b:] -= error @ upper[a:b, b:]
    return codes[:, np.argsort(order)]


def _upper_root(second, order, damp: float, block: int = 512) -> np.ndarray:
    """U, upper triangular, with U^T·U = (second + λ)⁻¹, rows and columns in `order`; a copy in float64, no more."""
    back = order[::-1]  # a lower root of the reversed matrix, reversed again, is an upper one
    h = np.empty(second.shape)
    for a in range(0, len(h), block):
        h[a : a + block] = second[np.ix_(back[a : a + block], back)]
    h[np.diag_indices_from(h)] += damp * np.diag(h).mean() + 1e-12
    return _inverse_root(h)[::-1, ::-1].astype(np.float32)


def _inverse_root(h: np.ndarray, block: int = 256) -> np.ndarray:
    """L⁻¹, lower triangular, of h = L·Lᵀ, block by block in the memory of h: K = 5184 takes 0.2 GB and not 1 GB.

    >>> np.round(_inverse_root(np.array([[4.0, 2.0], [2.0, 2.0]])), 6)
    array([[ 0.5,  0. ],
           [-0.5,  1. ]])
    """
    steps = [slice(a, min(a + block, len(h))) for a in range(0, len(h), block)]
    for s in steps:  # h becomes L, its blocks above the diagonal stay unread
        h[s.start :, s] -= h[s.start :, : s.start] @ h[s, : s.start].T
        h[s, s] = np.linalg.cholesky(h[s, s])
        h[s.stop :, s] = h[s.stop :, s] @ np.linalg.inv(h[s, s]).T
    for s in steps:  # L becomes L⁻¹: the inverse of [[A, 0], [B, C]] is [[A⁻¹, 0], [−C⁻¹·B·A⁻¹, C⁻¹]]
        h[s, s] = np.linalg.inv(h[s, s])
        h[s, : s.start] = -h[s, s] @ (h[s, : s.start] @ h[: s.start, : s.start])
        h[s, s.stop :] = 0
    return h
