"""Wrong answers to chapter 07, as readers write them: (build, function, words of the sentence that it must get)."""

import numpy as np

QNN, CPU = "QNNExecutionProvider", "CPUExecutionProvider"


def listed(placed):
    providers = list(placed.values())
    return providers.count(QNN), len(providers) - providers.count(QNN), QNN in providers


def two_providers(placed):
    providers = list(placed.values())
    return providers.count(QNN), providers.count(CPU), bool(providers) and CPU not in providers


def nothing_elsewhere(placed):
    elsewhere = [node for node, provider in placed.items() if provider != QNN]
    return len(placed) - len(elsewhere), len(elsewhere), not elsewhere


def one_after_the_other(macs, moved, peak, bandwidth):
    return macs / peak + moved / bandwidth


def compute_alone(macs, moved, peak, bandwidth):
    return macs / peak


def floats_equal(a, b, scale):
    return (a == b).mean(), np.abs(np.round((a - b) / scale)).max()


def whole_part(a, b, scale):
    steps = np.abs((a - b) / scale).astype(int)
    return (steps == 0).mean(), steps.max()


def largest(a, b, scale):
    steps = np.round((a - b) / scale)
    return (steps == 0).mean(), steps.max()


WRONG = [
    ("htp.placement", listed, "not QNN everywhere"),
    ("htp.placement", two_providers, "third provider"),
    ("htp.placement", nothing_elsewhere, "proves nothing"),
    ("htp.roofline_time", one_after_the_other, "You added the two"),
    ("htp.roofline_time", compute_alone, "multiplications alone"),
    ("htp.codes_apart", floats_equal, "compared real numbers"),
    ("htp.codes_apart", whole_part, "cut off the fraction"),
    ("htp.codes_apart", largest, "absolute value"),
]
