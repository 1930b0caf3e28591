"""Chapter 12: how alike two models answer, channels made level, and a softmax in codes, written by the reader."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from helpers.exercise.build import Build, Case, Mistake

CHAPTER = "12_your_model"


def top1_agreement(before: np.ndarray, after: np.ndarray) -> float:
    """Share of the N rows of two N×K score tables whose largest score is the same class: the course's own answer."""
    return float((before.argmax(1) == after.argmax(1)).mean())


def _agreement_cases(rng: np.random.Generator) -> Iterable[Case]:
    for before, after in (
        ([[3.0, 1.0]], [[2.0, 1.0]]),
        ([[3.0, 1.0]], [[1.0, 3.0]]),
        ([[1.0, 3.0, 2.0], [9.0, 0.0, 1.0]], [[0.0, 1.0, 2.0], [5.0, 4.0, 3.0]]),
        ([[2.0, 1.0], [4.0, 3.0], [0.0, 5.0]], [[1.0, 2.0], [9.0, 8.0], [6.0, 7.0]]),
    ):
        yield {"before": np.array(before), "after": np.array(after)}
    for count, classes in ((40, 8), (25, 100)):
        scores = rng.standard_normal((count, classes))
        yield {"before": scores, "after": scores + 0.4 * rng.standard_normal(scores.shape)}


def _whole_order(before: np.ndarray, after: np.ndarray) -> float:
    return float((before.argsort(1) == after.argsort(1)).all(1).mean())


TOP1 = Build(
    name="your_model.top1_agreement",
    chapter=CHAPTER,
    title="How often two models answer alike",
    level=1,
    minutes=4,
    reference=top1_agreement,
    cases=_agreement_cases,
    rtol=1e-9,
    hints=(
        "the answer to one input is the class with the largest score. Compare the classes, not the scores.",
        "before.argmax(1) and after.argmax(1) have N classes each; the mean of where they are equal is the share.",
    ),
    mistakes=(
        Mistake(
            "You looked down the columns. A row is one input, and its answer is the largest of its row.",
            lambda a, b: float((a.argmax(0) == b.argmax(0)).mean()),
        ),
        Mistake(
            "You compared the largest scores. Scores may change while the answer stays: compare the classes.",
            lambda a, b: float((a.max(1) == b.max(1)).mean()),
        ),
        Mistake(
            "That is how many inputs agree. Divide by N for the share.",
            lambda a, b: float((a.argmax(1) == b.argmax(1)).sum()),
        ),
        Mistake("That is the share that does not agree.", lambda a, b: float((a.argmax(1) != b.argmax(1)).mean())),
        Mistake("You asked for all classes in the same order. Only the first one is the answer.", _whole_order),
    ),
)


def level(w1: np.ndarray, b1: np.ndarray, w2: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """w₁/s, b₁/s, w₂·s with s = √(r₁/r₂) for each channel (Nagel et al. 2019, eq. 11): the course's own answer."""
    return _leveled()(w1, b1, w2)


def _largest(weight: np.ndarray, axis: int) -> np.ndarray:
    return np.abs(weight).max(axis)


def _leveled(
    factor: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda r1, r2: np.sqrt(r1 / r2),
    largest: Callable[[np.ndarray, int], np.ndarray] = _largest,
    bias: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda b, s: b / s,
    back: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda w2, s: w2 * s,
) -> Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The rule, or one with another s, another size of a channel, another bias, or another way back."""

    def answer(w1: np.ndarray, b1: np.ndarray, w2: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        s = factor(largest(w1, 1), largest(w2, 0))
        return w1 / s[:, None], bias(b1, s), back(w2, s)

    return answer


def _level_cases(rng: np.random.Generator) -> Iterable[Case]:
    yield _pair([[4.0]], [8.0], [[1.0]])
    yield _pair([[1.0]], [2.0], [[-4.0]])
    yield _pair([[9.0, -2.0], [0.5, 0.25]], [3.0, 1.0], [[1.0, 2.0]])
    yield _pair([[1.0], [4.0]], [1.0, 2.0], [[1.0, 0.0], [-4.0, 1.0], [2.0, 0.5]])
    for channels, inputs, outputs in ((5, 3, 4), (16, 9, 8)):
        sizes = np.exp(rng.normal(0, 2, (channels, 1)))
        w1, w2 = rng.standard_normal((channels, inputs)) * sizes, rng.standard_normal((outputs, channels))
        yield _pair(w1, rng.standard_normal(channels), w2)


def _pair(w1: object, b1: object, w2: object) -> Case:
    return {"w1": np.array(w1), "b1": np.array(b1), "w2": np.array(w2)}


LEVEL = Build(
    name="your_model.level",
    chapter=CHAPTER,
    title="Make channels level",
    level=2,
    minutes=10,
    reference=level,
    cases=_level_cases,
    rtol=1e-6,
    hints=(
        "r₁ has a number for each of the C channels, and so has r₂: a row of w1 writes a channel, a column of w2 reads "
        "it. What is divided in front is multiplied behind.",
        "r1 = np.abs(w1).max(1), r2 = np.abs(w2).max(0), s = np.sqrt(r1 / r2); return w1 / s[:, None], b1 / s, w2 * s.",
    ),
    mistakes=(
        Mistake("Your s is upside down: s = √(r₁/r₂), and the first layer is divided by it.",
                _leveled(lambda r1, r2: np.sqrt(r2 / r1))),
        Mistake("The square root is missing: r₁/s and r₂·s are to become equal.", _leveled(lambda r1, r2: r1 / r2)),
        Mistake("The bias belongs to the channel, too: divide it by s.", _leveled(bias=lambda b, s: b)),
        Mistake("You multiplied the bias. It is part of what the channel holds: divide it.",
                _leveled(bias=lambda b, s: b * s)),
        Mistake("You did not give the factor back: multiply what the next layer reads by s.",
                _leveled(back=lambda w2, s: w2)),
        Mistake("You divided both layers. What the next layer reads has to be multiplied.",
                _leveled(back=lambda w2, s: w2 / s)),
        Mistake("You took the largest weight with its sign. A large negative one counts as well: use |w|.",
                _leveled(largest=lambda w, axis: w.max(axis))),
        Mistake("You took one s for the whole layer. Each channel has its own.",
                _leveled(lambda r1, r2: np.full(r1.shape, np.sqrt(r1.max() / r2.max())))),
    ),
)  # fmt: skip


def softmax(codes: np.ndarray, scale: float, out_scale: float) -> np.ndarray:
    """Codes of exp(S·q) / Σ exp(S·q), in steps of `out_scale`, zero point 0: the course's own answer."""
    return _softmax_of()(codes, scale, out_scale)


def _softmax_of(
    power: Callable[[np.ndarray], np.ndarray] = np.exp, rounded: Callable[[np.ndarray], np.ndarray] = np.rint
) -> Callable[..., np.ndarray]:
    """The rule, or one with another power or another last rounding."""

    def answer(codes: np.ndarray, scale: float, out_scale: float) -> np.ndarray:
        x = scale * codes.astype(float)
        parts = power(x - x.max())
        return np.clip(rounded(parts / parts.sum() / out_scale), 0, 255)

    return answer


def _softmax_cases(rng: np.random.Generator) -> Iterable[Case]:
    for codes, scale, out_scale in (
        ([7], 0.1, 1 / 255),
        ([100, 100], 0.1, 1 / 255),
        ([0, 255], 0.02, 1 / 255),
        ([10, 20, 30], 0.05, 1 / 255),
        ([40, 250, 0, 90], 0.04, 0.5 / 255),
        ([255, 255, 0], 4.0, 1 / 255),
    ):
        yield {"codes": np.array(codes, np.uint8), "scale": scale, "out_scale": out_scale}
    for scale, out_scale in ((0.05, 1 / 255), (0.03, 0.1 / 255)):
        yield {"codes": rng.integers(0, 256, 64).astype(np.uint8), "scale": scale, "out_scale": out_scale}


def _stays_real(codes: np.ndarray, scale: float, out_scale: float) -> np.ndarray:
    x = np.exp(scale * (codes.astype(float) - codes.max()))
    return x / x.sum()


def _without_scale(codes: np.ndarray, scale: float, out_scale: float) -> np.ndarray:
    return softmax(codes, 1.0, out_scale)


def _not_shared_out(codes: np.ndarray, scale: float, out_scale: float) -> np.ndarray:
    return np.clip(np.rint(np.exp(scale * (codes.astype(float) - codes.max())) / out_scale), 0, 255)


def _never_clamps(codes: np.ndarray, scale: float, out_scale: float) -> np.ndarray:
    return np.rint(_stays_real(codes, scale, out_scale) / out_scale)


def _linear(codes: np.ndarray, scale: float, out_scale: float) -> np.ndarray:
    return np.clip(np.rint(codes / np.sum(codes, dtype=float) / out_scale), 0, 255)


SOFTMAX = Build(
    name="your_model.softmax",
    chapter=CHAPTER,
    title="A softmax from codes to codes",
    level=2,
    minutes=8,
    reference=softmax,
    cases=_softmax_cases,
    hints=(
        "codes → real numbers → softmax → codes. A zero point is the same for all, so it cancels out; take the largest "
        "code off first, and no power can overflow.",
        "x = scale·codes.astype(float); p = np.exp(x − x.max()); p /= p.sum(); then np.rint(p / out_scale), clipped to "
        "0 … 255.",
    ),
    mistakes=(
        Mistake("You cut the fraction off. Round to the nearest code.", _softmax_of(rounded=np.floor)),
        Mistake("These are the real numbers. Divide by out_scale and round: codes are asked.", _stays_real),
        Mistake("The scale is missing: a step of the codes is worth `scale`.", _without_scale),
        Mistake("You did not divide by the sum, so the parts do not add up to 1.", _not_shared_out),
        Mistake("Your codes leave 0 … 255: clip them.", _never_clamps),
        Mistake("You took powers of 2. Softmax takes powers of e.", _softmax_of(np.exp2)),
        Mistake("You divided the codes by their sum. Softmax divides exp(x) by the sum of exp(x).", _linear),
    ),
)

BUILDS = [TOP1, LEVEL, SOFTMAX]
