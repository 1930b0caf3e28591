"""Functions of one code, one net each: behind an Add, so that no operator stands at the graph's input."""

import numpy as np
from nets import two


def constant(n, low, high):
    return n.constant(np.float32(n.rng.uniform(low, high)))


def unary(kind, low, high, **attributes):
    """`kind` behind an Add, its output's range a part of (low, high) and at times a little more."""

    def build(n):
        y = n.op(kind, two(n, "Add"), **attributes)
        n.ranges[y] = (low * n.rng.uniform(0.6, 1.1), high * n.rng.uniform(0.6, 1.1))
        return y

    return build


def arithmetic(kind, low, high, first=False):
    """`kind` of an Add and a constant of one element, or of both the other way round."""

    def build(n):
        inputs = [two(n, "Add"), constant(n, low, high)]
        return n.op(kind, *(reversed(inputs) if first else inputs), width=n.rng.uniform(4, 12))

    return build


def hard_swish(n):
    """x·clip(x + 3, 0, 6)/6 in four operators, as older exports write it."""
    x = two(n, "Add")
    shifted = n.op("Add", x, n.constant(np.float32(3)), width=12)
    gate = n.op("Clip", shifted, n.constant(np.float32(0)), n.constant(np.float32(6)))
    n.ranges[gate] = (0, 6)
    return n.op("Div", n.op("Mul", x, gate, width=40), n.constant(np.float32(6)), width=8)


def scaled_softly(n):
    """A factor in front of a function of one code, and one behind it."""
    x = n.op("Mul", two(n, "Add"), n.constant(np.float32(0.7)), width=6)
    return n.op("Mul", n.op("Tanh", x, width=2), n.constant(np.float32(1.3)), width=2)


def joined(n):
    """A Concat of another scale behind functions of one code, of which one begins at 0."""
    parts = [
        n.op("Elu", n.conv(n.x, 8, 8), width=8),
        n.op("Sigmoid", n.conv(n.x, 8, 8)),
        n.op("Abs", n.conv(n.x, 8, 8)),
    ]
    n.ranges |= {parts[1]: (0, 1), parts[2]: (0, 5)}
    return n.op("Concat", *parts, width=n.rng.uniform(5, 9), axis=1)


NETS = {
    "HardSwish as chain": hard_swish,
    "factors around Tanh": scaled_softly,
    "Concat of functions": joined,
    "LeakyRelu": unary("LeakyRelu", -0.5, 6, alpha=0.1),
    "HardSwish": unary("HardSwish", -0.4, 6),
    "HardSigmoid": unary("HardSigmoid", 0, 1, alpha=1 / 6),
    "HardSigmoid a=.2": unary("HardSigmoid", 0, 1),
    "Sigmoid": unary("Sigmoid", 0, 1),
    "Tanh": unary("Tanh", -1, 1),
    "Elu": unary("Elu", -1, 6),
    "Softplus": unary("Softplus", 0, 6),
    "Sqrt": unary("Sqrt", 0, 2.5),
    "Exp": unary("Exp", 0, 20),
    "Log": unary("Log", -2, 2),
    "Abs": unary("Abs", 0, 6),
    "Neg": unary("Neg", -6, 6),
    "Floor": unary("Floor", -6, 6),
    "Ceil": unary("Ceil", -6, 6),
    "Round": unary("Round", -6, 6),
    "Sign": unary("Sign", -1, 1),
    "Sin": unary("Sin", -1, 1),
    "Cos": unary("Cos", -1, 1),
    "Pow 2": lambda n: n.op("Pow", two(n, "Add"), n.constant(np.float32(2)), width=n.rng.uniform(4, 12)),
    "Reciprocal": unary("Reciprocal", -3, 3),
    "ThresholdedRelu": unary("ThresholdedRelu", 0, 6, alpha=0.7),
    "Add scalar": arithmetic("Add", -3, 3),
    "Sub scalar": arithmetic("Sub", -3, 3),
    "Sub from scalar": arithmetic("Sub", -3, 3, first=True),
    "Mul scalar": arithmetic("Mul", 0.3, 3),
    "Mul scalar below 0": arithmetic("Mul", -3, -0.3),
    "Mul scalar behind Conv": lambda n: n.op(
        "Mul", n.conv(n.x, 8, 8), constant(n, 0.3, 3), width=n.rng.uniform(20, 40)
    ),
    "Div scalar": arithmetic("Div", 0.3, 3),
    "Max scalar": arithmetic("Max", -1, 1),
    "Min scalar": arithmetic("Min", -1, 1),
}
