"""The published entropy search, written out slowly, and how far `calibrate.entropy` is from it."""

from pathlib import Path

import numpy as np

from helpers.affine import choose_qparams
from helpers.calibrate import entropy, expected_error, minmax

# Made by tests/benchmarks/entropy.py: YOLOv8n, data/'s own model, and PP-OCRv4's text detector (Apache-2.0, from the
# package rapidocr-onnxruntime 1.4.4). Each layer's histogram, and its |x| counted straight into 2048 uniform bins.
LAYERS = Path(__file__).with_name("entropy_layers.npz")


def published(counts, levels=128, first=128):
    """(bins below T, {bins: KL}), T by T and level by level; of equals the widest.

    Migacz, "8-bit inference with TensorRT", GTC 2017, with what NVIDIA's pytorch-quantization adds: bin 0 counts as
    bin 1, T may be the maximum. There is no smoothing: where P has something and Q nothing, KL is infinite.
    """
    bins = np.array(counts, float)
    bins[0] = bins[1]
    found = {}
    for i in range(first, len(bins) + 1):
        p = bins[:i].copy()
        p[-1] += bins[i:].sum()
        filled = bins[:i] > 0
        if p[-1] > 0 and not filled[-1]:
            found[i] = np.inf
            continue
        level = np.arange(i) * levels // i
        total = np.bincount(level, bins[:i], levels)
        members = np.bincount(level[filled], minlength=levels)
        p, q = p[filled], (total[level] / np.maximum(members, 1)[level])[filled]
        p, q = p / p.sum(), q / q.sum()
        found[i] = float(p @ np.log(p / q))
    least = min(found.values())
    return max(i for i, kl in found.items() if kl <= least + 1e-12), found


def decibels(h, low, high):
    """SQNR in dB of a range, on uint8, expected over the histogram."""
    square = ((h.edges[1:] + h.edges[:-1]) / 2) ** 2 @ h.counts / h.n
    return float(10 * np.log10(square / sum(expected_error(h, choose_qparams(low, high)))))


def agreement(h, counts):
    """(bins between the two T, SQNR of the published T, of entropy's, of minmax's)."""
    width = max(-h.min, h.max) / len(counts)
    best, (low, high) = published(counts)[0], entropy(h)
    theirs = np.clip([-best * width, best * width], h.min, h.max)
    apart = abs(max(-low, high) / width - best)
    return apart, *(decibels(h, *r) for r in (theirs, (low, high), minmax(h)))
