"""One picture, one claim: functions that return a Matplotlib Figure."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import patheffects
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from . import calibrate, qdq, vision
from .affine import choose_qparams, fake_quantize, qrange

# Okabe & Ito (2008), told apart with every common colour vision deficiency.
BLUE, ORANGE, GREEN, RED, SKY, PURPLE, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#666666",
)  # fmt: skip
# Names that come from files, for `$` may stand in them, and Matplotlib would set a formula or fail.
LITERAL = {"parse_math": False}


def _figure(rows: int = 1, cols: int = 1, height: float = 3.6, **kw):
    """A figure at notebook width (8 in), closed so that only the cell's last value shows it."""
    fig, axes = plt.subplots(rows, cols, figsize=(8, height), layout="constrained", **kw)
    plt.close(fig)
    return fig, axes


def save(fig: Figure, path) -> None:
    """Write `fig` as a PNG at the size it has in a notebook."""
    fig.savefig(path, dpi=100)


def detections(picture, results: dict, names: dict, conf: float = 0.25) -> Figure:
    """One picture, once per model, with its boxes; the claim counts how many of the first model's boxes the last finds.

    `results` is {title: (xyxy px, scores, classes)}, as `vision.Detector.detect` gives them.
    """
    image = vision.open_picture(picture)
    shown = {t: tuple(part[r[1] >= conf] for part in r) for t, r in results.items()}
    fig, axes = _figure(1, len(shown), height=8 / len(shown) * image.height / image.width + 0.7, squeeze=False)
    halo = [patheffects.withStroke(linewidth=3, foreground="black")]
    for ax, (title, (xyxy, scores, classes)) in zip(axes[0], shown.items(), strict=True):
        ax.imshow(image)
        ax.set_axis_off()
        ax.set_title(f"{title}: {len(xyxy)} boxes", fontsize=10, **LITERAL)
        for (x0, y0, x1, y1), score, c in zip(xyxy, scores, classes, strict=True):
            ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=ORANGE, lw=1.5, path_effects=halo))
            text = f"{names.get(int(c), c)} {score:.2f}"
            ax.text(
                x0,
                max(y0 - 3, 8),
                text,
                color="white",
                fontsize=8,
                va="bottom",
                clip_on=True,
                path_effects=halo,
                **LITERAL,
            )
    first, last = next(iter(shown)), next(reversed(shown))
    found = len(vision.match(shown[first], shown[last]))
    fig.suptitle(f"{last} finds {found} of the {len(shown[first][0])} boxes of {first}", fontsize=11, **LITERAL)
    return fig


def table(rows: dict[str, dict[str, float]]) -> Figure:
    """AP of several models as bars with their values: {"FP32 CPU": {"AP50-95": 0.8, "AP50": 0.9}, …}."""
    fig, ax = _figure(height=0.6 + 0.45 * len(rows))
    values = [row["AP50-95"] for row in rows.values()]
    ax.barh(list(rows), values, color=[BLUE, *[ORANGE] * (len(rows) - 1)])
    for y, row in enumerate(rows.values()):
        ax.text(row["AP50-95"] + 0.01, y, f"{row['AP50-95']:.3f}   (AP50 {row['AP50']:.3f})", va="center", fontsize=9)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.25)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1])
    ax.set_xlabel("AP50-95 (1 is perfect)")
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(f"INT8 stays within {max(values[0] - v for v in values):.3f} AP of FP32", fontsize=11)
    return fig


def ranges(h, bands: dict[str, tuple[float, float]], title: str, symlog: bool = False) -> Figure:
    """A `calibrate.Histogram` with the range of each method as a bar below it; `symlog` for far outliers."""
    fig, (top, bottom) = _figure(2, height=3 + 0.3 * len(bands), sharex=True, height_ratios=[2.5, 0.3 * len(bands)])
    top.stairs(h.counts, h.edges, fill=True, fc=GREY, ec=GREY, lw=1)  # the edge keeps a lone thin bin visible
    top.set(yscale="log", ylabel="values per bin", title=title)
    top.set_ylim(bottom=0.5)
    colours = [BLUE, ORANGE, GREEN, RED, PURPLE, SKY]
    for row, (low, high) in enumerate(bands.values()):
        bottom.barh(row, high - low, left=low, height=0.7, color=colours[row % 6])
        bottom.annotate(f"{high:.4g}", (high, row), (4, 0), textcoords="offset points", va="center", fontsize=9)
    bottom.set_yticks(range(len(bands)), bands)
    bottom.invert_yaxis()
    bottom.set(xlabel="value of the activation", xscale="symlog" if symlog else "linear")
    top.margins(x=0.08)  # room for the labels
    return fig


def staircase(qp, low: float, high: float) -> Figure:
    """What a number becomes under one scale and zero point: the staircase, and its sawtooth error below."""
    x = np.linspace(low, high, 4001, dtype=np.float32)
    y = fake_quantize(x, qp)
    first, last = (qp.scale * (code - qp.zero_point) for code in qrange(qp.dtype))
    fig, (top, bottom) = _figure(2, height=5, sharex=True, height_ratios=[2, 1])
    top.plot(x, x, color=GREY, lw=1, ls="--")
    top.plot(x, y, color=BLUE, lw=1.8)
    top.plot(0, 0, "o", color=RED, ms=5, label=f"0 is code {qp.zero_point}, exactly")
    bottom.plot(x, y - x, color=BLUE, lw=1)
    half = qp.scale / 2
    bottom.axhspan(-half, half, color=SKY, alpha=0.3, lw=0, label="half a step, ±S/2")
    clipped = [(a, b) for a, b in ((low, first - half), (last + half, high)) if a < b]
    for ax in (top, bottom):
        for k, (a, b) in enumerate(clipped):
            ax.axvspan(a, b, color=ORANGE, alpha=0.25, lw=0, label="clipped" if ax is top and not k else None)
        ax.legend(loc="upper left", fontsize=9, frameon=False)
        ax.grid(alpha=0.25)
    bottom.set_ylim(-3 * half, 3 * half)
    top.set(
        xlim=(low, high), ylabel="S·(q − Z)", title=f"Inside the range the error is half a step at most, {half:.4g}"
    )
    bottom.set(xlabel="x, the real number", ylabel="error")
    return fig


def _box(ax, x, y, text, colour, width=0.9):
    ax.add_patch(Rectangle((x - width / 2, y - 0.3), width, 0.6, fc=colour, ec="black", lw=0.8, zorder=2))
    ax.text(x, y, text, ha="center", va="center", fontsize=8, zorder=3)


def block(qdq_model, conv: str) -> Figure:
    """One Conv + SiLU of a QDQ graph three times: as floats, as the graph says it, as an NPU may run it.

    `conv` is the name of a Conv node whose output goes into a SiLU. Scales and zero points stand on the edges.
    """
    params = qdq.list_qparams(qdq_model)
    unit = next(g for g in qdq.fused_groups(qdq_model) if g.nodes[0] == conv)
    silu = next(g for g in qdq.fused_groups(qdq_model) if g.op == "SiLU" and g.inputs[0] == unit.output)
    sigmoid = next(n for n in qdq.read_model(qdq_model).graph.node if n.name == silu.nodes[0])
    edges = [unit.inputs[0], unit.output, sigmoid.output[0], silu.output]
    fig, ax = _figure(height=4.2)
    ax.set(xlim=(-1.4, 9.7), ylim=(-0.5, 4.7))
    ax.set_axis_off()
    arrow = {"arrowstyle": "->", "color": GREY}

    def lane(y, title, boxes, bypass=None):
        ax.text(-1.3, y + 0.6, title, fontsize=9, weight="bold")
        ax.annotate("", (9.4, y), (-0.9, y), arrowprops=arrow, zorder=1)
        if bypass:
            bent = arrow | {"connectionstyle": "arc3,rad=-0.25"}
            ax.annotate("", (bypass, y + 0.32), (2.8, y), arrowprops=bent, zorder=1)
        for x, text, colour in boxes:
            _box(ax, x, y, text, colour, 1.8 if len(text) > 9 else 0.74)

    white, pale_blue, pale_orange = "white", "#cce3f0", "#fbe6bf"
    floats = [(1.2, "Conv", white), (4.45, "Sigmoid", white), (7.55, "Mul", white)]
    lane(3.8, "FP32 graph: 32 bits on every edge", floats, bypass=7.5)
    contract = [(-0.36, "Q", white), (0.42, "DQ", pale_blue), (1.2, "Conv", pale_blue), (1.98, "Q", pale_blue)]
    contract += [(x, t, pale_orange) for x, t in ((3.67, "DQ"), (4.45, "Sigmoid"), (5.23, "Q"), (6.77, "DQ"))]
    lane(2, "QDQ graph: the contract", [*contract, (7.55, "Mul", pale_orange), (8.33, "Q", pale_orange)], bypass=6.77)
    stored = "\n".join(f"{letter} {params[t].dtype}" for letter, t in zip("wb", unit.inputs[1:], strict=False))
    ax.text(0.81, 1.62, stored, fontsize=8, ha="center", va="top", color=GREY)
    for x, name in zip((-0.36, 1.98, 5.23, 8.33), edges, strict=True):
        qp = params[name]
        ax.text(x, 1.62, f"S = {qp.scale:.3g}\nZ = {qp.zero_point}", fontsize=8, ha="center", va="top", color=BLUE)
    kernels = [(1.2, "Conv, int8 × uint8", pale_blue), (6, "SiLU, one table", pale_orange)]
    lane(0, "What an NPU may run: 8 bits on every edge", kernels)
    for x in (-0.4, 3.6, 8.2):
        ax.text(x, 0.08, "uint8", fontsize=8, ha="center", color=BLUE)
    ax.set_title("Each coloured group of the contract may become one integer kernel", fontsize=11)
    return fig


def scores(reference, others: dict, title: str) -> Figure:
    """Scores of quantized models against FP32's, a dot for each class and place above 0.05; the diagonal is no change.

    `reference` and the values of `others` are arrays as `vision.class_scores` gives them.
    """
    fig, ax = _figure(height=4.2)
    seen = reference > 0.05
    ax.axline((0, 0), slope=1, color=GREY, lw=1, ls="--")
    for (name, values), colour, marker in zip(others.items(), (RED, BLUE, GREEN), "xo^", strict=False):
        ax.scatter(reference[seen], values[seen], s=18, color=colour, marker=marker, lw=1, label=name, alpha=0.7)
    ax.set(xlim=(0, 1), ylim=(-0.04, 1), xlabel="FP32 score", ylabel="INT8 score", title=title)
    ax.legend(frameon=False)
    ax.grid(alpha=0.25)
    return fig


def placement(placed: dict[str, dict[str, str]]) -> Figure:
    """Where each node of a graph runs, as ONNX Runtime lists them: {title: `session.placement(…)`}, a row for each."""
    fig, ax = _figure(height=1 + 0.55 * len(placed))
    colours = {"QNNExecutionProvider": BLUE, "CPUExecutionProvider": ORANGE}
    for row, nodes in enumerate(placed.values()):
        for provider in dict.fromkeys(nodes.values()):
            at = [k for k, p in enumerate(nodes.values()) if p == provider]
            ax.bar(at, 0.6, 1.0, bottom=row - 0.3, color=colours.get(provider, GREY))
            text = f"{len(at)} on {provider.removesuffix('ExecutionProvider')} "
            ax.text(
                max(at), row, text, ha="right", va="center", color="black" if "CPU" in text else "white", fontsize=9
            )
    ax.set_yticks(range(len(placed)), placed)
    ax.invert_yaxis()
    ax.spines[["top", "right"]].set_visible(False)
    ax.set(xlabel="node, as ONNX Runtime lists it", title="Ask where each node went, not which providers are listed")
    return fig


def steps(differences: dict, title: str) -> Figure:
    """How often two runs differ by how many steps of the output's scale: {title: integer array} as histograms."""
    fig, axes = _figure(1, len(differences), height=3, sharey=True, squeeze=False)
    for ax, (name, diff) in zip(axes[0], differences.items(), strict=True):
        reach = 6
        shown = np.clip(np.asarray(diff).ravel(), -reach, reach)
        share = np.bincount(shown + reach, minlength=2 * reach + 1) / shown.size
        ax.bar(range(-reach, reach + 1), share, color=BLUE)
        ax.set(yscale="log", ylim=(1e-6, 2), xlabel="difference in steps (ends: or more)")
        ax.set_title(f"{name}: {100 * share[reach]:.1f} % equal", fontsize=10)
        ax.grid(alpha=0.25, axis="y")
    axes[0, 0].set_ylabel("share of all outputs")
    fig.suptitle(title, fontsize=11)
    return fig


def tradeoff(h, dtype: str = "uint8") -> Figure:
    """Clipping and rounding error of a `calibrate.Histogram` against the upper end of its range, and their sum."""
    low, high = calibrate.minmax(h)
    ends = np.geomspace(high / 100, high, 200)
    qp = choose_qparams(np.full_like(ends, low), ends, dtype, axis=0)
    clipping, rounding = calibrate.expected_error(h, qp)
    total = clipping + rounding
    best = int(np.argmin(total))
    fig, ax = _figure(height=4)
    for values, colour, style, name in ((clipping, ORANGE, "--", "clipping"), (rounding, BLUE, "-.", "rounding")):
        seen = values > total[best] / 30
        ax.plot(ends[seen], values[seen], color=colour, ls=style, lw=2)
        k = int(np.argmax(seen)) if name == "clipping" else len(ends) - 1
        ax.annotate(name, (ends[k], values[k]), (6, -14 if name == "clipping" else 0), textcoords="offset points",
                    color=colour, fontsize=10)  # fmt: skip
    ax.plot(ends, total, color="black", lw=1.2)
    ax.plot(ends[best], total[best], "o", color=RED)
    ax.annotate(
        f"least at {ends[best]:.3g}", (ends[best], total[best]), (0, 14), textcoords="offset points", ha="center"
    )
    ax.set(xscale="log", yscale="log", xlabel="upper end of the range", ylabel="mean squared error")
    ax.set_ylim(total[best] / 30, total.max() * 2)
    ax.set_xlim(ends[0], high * 2.2)
    ax.grid(alpha=0.25, which="both")
    ax.set_title(f"{dtype}: a wider range clips less and rounds more; the sum has one best end", fontsize=11)
    return fig


def channels(weight: np.ndarray, name: str) -> Figure:
    """The largest weight of every output channel (axis 0), sorted, against the one step that they would share."""
    top = np.sort(np.abs(weight).reshape(len(weight), -1).max(1))[::-1]
    step = top[0] / 127
    fig, ax = _figure(height=3.6)
    ax.bar(range(len(top)), top, color=BLUE, width=1.0, ec="white", lw=0.3)
    ax.axhline(step, color=RED, lw=2, label=f"one shared step: {step:.3g}")
    ax.legend(loc="upper right", frameon=False)
    ax.set(yscale="log", xlabel="output channel, largest first", ylabel="largest |weight|")
    ax.set_title(
        f"The smallest channel of {name} is left with {int(top[-1] / step)} of 127 steps", fontsize=11, **LITERAL
    )
    return fig


def growth(running: list, methods: dict) -> Figure:
    """The upper end that each method reads from the first 1, 2, … pictures: `running` holds their summed histograms."""
    fig, ax = _figure(height=3.6)
    styles = zip([BLUE, ORANGE, GREEN, RED, PURPLE], ["-", "--", "--", "-.", ":"], strict=True)  # `ranges`' colours
    for (name, method), (colour, style) in zip(methods.items(), styles, strict=False):
        if method is calibrate.moving_average:
            continue  # it reads the order of feeds, which a sum of single pictures lacks
        ends = [method(h)[1] for h in running]
        ax.plot(range(1, len(ends) + 1), ends, color=colour, ls=style, lw=2, label=name)
    ax.set(xlabel="pictures", ylabel="upper end of the range", ylim=(0, None))
    ax.set_title("minmax never comes to rest: every picture can only push it up", fontsize=11)
    ax.legend(frameon=False, ncols=3, loc="lower right")
    ax.grid(alpha=0.25)
    return fig


def pipeline(stages: dict[str, str], title: str) -> Figure:
    """One output value on its way through the integer unit: {what is done: the number it leaves}, left to right."""
    fig, ax = _figure(height=1.7)
    ax.set(xlim=(-0.5, len(stages) - 0.5), ylim=(-0.9, 0.8))
    ax.set_axis_off()
    ax.annotate("", (len(stages) - 0.6, 0), (-0.4, 0), arrowprops={"arrowstyle": "->", "color": GREY}, zorder=1)
    for k, (what, number) in enumerate(stages.items()):
        _box(ax, k, 0, number, "#cce3f0" if k < len(stages) - 1 else "#fbe6bf", 0.84)
        ax.text(k, -0.42, what, fontsize=9, ha="center", va="top", color=GREY)
    ax.set_title(title, fontsize=11, **LITERAL)
    return fig


def near_half(real: np.ndarray, different: np.ndarray) -> Figure:
    """How far values are from a rounding border (…½), for all of them and for those that came out `different`."""
    distance = np.abs(real - np.floor(real) - 0.5)
    fig, ax = _figure(height=3)
    bins = np.linspace(0, 0.5, 51)
    for values, colour, name in ((distance, SKY, "all outputs"), (distance[different], RED, "not what rounding gives")):
        ax.hist(values.ravel(), bins, color=colour, label=name)
    ax.set(yscale="log", xlabel="distance of Σ·M from the border between two codes, in codes", ylabel="outputs")
    ax.legend(framealpha=1, loc="center right")
    ax.set_title("The two disagree only where the value lies next to a border", fontsize=11)
    return fig


def accumulators(length: dict[str, int], bits: dict[str, float]) -> Figure:
    """Bits that a convolution's sum can need, sign included, against how many products it adds: both {layer: …}."""
    fig, ax = _figure(height=3.2)
    ax.scatter(length.values(), [bits[name] for name in length], color=BLUE, s=22, zorder=3)
    for width in (16, 32):
        ax.axhline(width, color=RED if width == 16 else GREY, ls="--", lw=1)
        ax.text(max(length.values()), width - 0.4, f"int{width}", ha="right", va="top", color=GREY, fontsize=9)
    ax.set_xscale("log", base=2)
    ax.set(ylim=(14, 33), yticks=range(16, 33, 4), xlabel="products in one sum", ylabel="bits, worst case")
    ax.set_title("8-bit factors need sums far wider than 16 bits, and 32 are enough", fontsize=11)
    ax.grid(alpha=0.25)
    return fig


def roofline(layers, peak: float, bandwidth: float, modelled: dict[str, float], published: dict[str, float]) -> Figure:
    """`cost.Layer`s under the roof of `peak` MAC/s and `bandwidth` bytes/s; beside it, its times and the chip's, ms."""
    fig, (left, right) = _figure(1, 2, height=3.4, width_ratios=[1.3, 1])
    intensity = np.array([x.macs / (x.reads + x.writes + x.weights) for x in layers if x.macs])
    reach = np.geomspace(1, 4000, 100)
    left.plot(reach, np.minimum(peak, bandwidth * reach) / 1e12, color=GREY)
    left.plot(intensity, np.minimum(peak, bandwidth * intensity) / 1e12, "o", color=BLUE, ms=5, alpha=0.6)
    left.axvline(peak / bandwidth, color=GREY, ls=":", lw=1)
    left.set(xscale="log", yscale="log", xlabel="MACs for each byte moved", ylabel="at most, 10¹² MAC/s")
    right.bar(np.arange(3) - 0.2, modelled.values(), 0.38, color=SKY, label="roofline: at least")
    right.bar(np.arange(3) + 0.2, [published[k] for k in modelled], 0.38, color=ORANGE, label="published, on the chip")
    right.set_xticks(range(3), modelled)
    right.set(ylabel="ms a picture")
    right.legend(frameon=False, loc="upper left", fontsize=9)
    fig.suptitle("Most convolutions wait for memory, and the chip takes longer still", fontsize=11)
    return fig


def depth(rows: dict[str, dict[str, float]], title: str) -> Figure:
    """SQNR of each tensor in graph order, a row for each {title: `qdq.layer_sqnr(…)`}, its worst named."""
    fig, axes = _figure(len(rows), height=0.6 + 1.9 * len(rows), sharex=True, sharey=True, squeeze=False)
    order = {t: k for k, t in enumerate(max(rows.values(), key=len))}
    for ax, (name, sqnr) in zip(axes[:, 0], rows.items(), strict=True):
        seen = {t: v for t, v in sqnr.items() if np.isfinite(v)}
        worst = min(seen, key=seen.get)
        ax.bar([order[t] for t in seen], seen.values(), 1.0, color=BLUE)
        ax.bar(order[worst], seen[worst], 2.5, color=RED)
        text = f"worst: {worst.strip('/').removesuffix('_output_0')}, {seen[worst]:.1f} dB"
        ax.text(0.995, 0.97, text, color=RED, fontsize=9, ha="right", va="top", transform=ax.transAxes, **LITERAL)
        ax.set_title(f"{name}: median {np.median(list(seen.values())):.1f} dB", fontsize=10, loc="left", **LITERAL)
        ax.set_ylabel("SQNR, dB")
        ax.grid(alpha=0.25, axis="y")
    axes[0, 0].set_ylim(0, 1.25 * max(v for r in rows.values() for v in r.values() if np.isfinite(v)))
    axes[-1, 0].set_xlabel("quantized activation, in the order of the graph")
    fig.suptitle(title, fontsize=11, **LITERAL)
    return fig


def roundings(shares: dict[str, dict[str, float]], title: str) -> Figure:
    """Share of codes in which one operator alone differs, a dot for each: {operator: {tensor: share}}; depth is x."""
    order = {t: k for k, t in enumerate(t for each in shares.values() for t in each)}
    fig, ax = _figure(height=3.8)
    colours, markers = [BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY], "os^Dv*P"
    for k, (op, each) in enumerate(shares.items()):
        y = 100 * np.array(list(each.values()))
        name = f"{op} (mean {y.mean():.2g} %)"
        ax.scatter([order[t] for t in each], y, s=22, color=colours[k % 7], marker=markers[k % 7], label=name)
    ax.set(xlabel="operators, by kind, each in the order of the graph", ylabel="codes that differ, %", title=title)
    ax.set_yscale("symlog", linthresh=0.1)
    ax.set_ylim(-0.03, 300)
    ax.legend(frameon=False, ncols=3, fontsize=9, loc="upper center")
    ax.grid(alpha=0.25)
    return fig


def overlay(picture, reference, test, names: dict, conf: float = 0.25) -> Figure:
    """One picture with both detectors' boxes above `conf`: the test's dashed over the reference's."""
    image = vision.open_picture(picture)
    a, b = (tuple(part[r[1] > conf] for part in r) for r in (reference, test))
    fig, ax = _figure(height=min(3.9, 8 * image.height / image.width) + 0.4)
    ax.imshow(image)
    ax.set_axis_off()
    halo = [patheffects.withStroke(linewidth=4, foreground="black")]
    found = dict(vision.match(a, b))
    for (xyxy, scores, classes), colour, style, partner in (
        (a, SKY, "-", found),
        (b, ORANGE, "--", {j: i for i, j in found.items()}),
    ):
        for k, (x0, y0, x1, y1) in enumerate(xyxy):
            effects = halo if style == "-" else None
            box = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=colour, lw=2, ls=style, path_effects=effects)
            ax.add_patch(box)
            name = names.get(int(classes[k]), classes[k])
            write = {"fontsize": 8, "clip_on": True, "path_effects": halo} | LITERAL
            if x0 > 0.7 * image.width:  # or the picture's edge would cut the text
                x0, write = x1, write | {"ha": "right"}
            if k not in partner:
                only = "FP32" if style == "-" else "INT8"
                ax.annotate(
                    f"{name} {scores[k]:.2f}, {only} only",
                    (x0, y1),
                    (0, -11),
                    color=ORANGE,
                    zorder=9,
                    textcoords="offset points",
                    **write,
                )
            elif style == "-":
                text = f"{name} {scores[k]:.2f} → {b[1][partner[k]]:.2f}"
                ax.text(x0, max(y0 - 3, 9), text, color="white", **write)
    ax.set_title(f"{len(a[1])} boxes of FP32 (solid), {len(b[1])} of INT8 (dashed): {len(found)} in both", fontsize=11)
    return fig


def moved(boxes: dict[str, np.ndarray]) -> Figure:
    """Distributions over matched boxes, from `paired.paired_boxes`: IoU drift, and the change of score."""
    fig, (left, right) = _figure(1, 2, height=3.4, sharey=True)
    for ax, values, label in (
        (left, boxes["iou_drift"], "IoU drift, 1 − IoU"),
        (right, boxes["jitter"], "score of INT8 − score of FP32"),
    ):
        low, high = (0, np.quantile(values, 0.99)) if ax is left else np.quantile(values, [0.005, 0.995])
        ax.hist(np.clip(values, low, high), bins=40, color=BLUE)
        middle = float(np.median(values))
        ax.axvline(middle, color=RED, lw=2, label=f"median {middle:.3g}")
        ax.set_xlabel(label)
        ax.legend(frameon=False)
        ax.grid(alpha=0.25)
    left.set_ylabel("matched boxes")
    fig.suptitle("Boxes stay nearly where they were; scores move both ways (ends: or more)", fontsize=11)
    return fig


def fates(score: np.ndarray, jitter: np.ndarray) -> Figure:
    """Boxes of FP32 that a threshold loses, and wins, through INT8 alone, for each threshold."""
    at = np.linspace(0.1, 0.95, 171)[:, None]
    before, after = score > at, score + jitter > at
    fig, ax = _figure(height=3.6)
    ax.fill_between(
        at[:, 0], (before & ~after).sum(1), color=ORANGE, step="mid", label="FP32 shows them, INT8 does not"
    )
    ax.fill_between(at[:, 0], -(after & ~before).sum(1), color=BLUE, step="mid", label="INT8 shows them, FP32 does not")
    ax.axhline(0, color="black", lw=0.8)
    most = int((before != after).sum(1).max())
    ax.set(xlabel="threshold on the score", ylabel="boxes that change sides")
    ax.set_title(f"INT8 alone moves up to {most} of {len(score)} boxes across one threshold", fontsize=11)
    ax.yaxis.set_major_formatter(lambda y, _: f"{abs(y):.0f}")
    ax.legend(frameon=False, fontsize=9)
    ax.grid(alpha=0.25)
    return fig


def intervals(panels: dict[str, dict], title: str) -> Figure:
    """Values with their 95 % intervals, a panel for each {quantity: {method: `paired.Interval`}}."""
    rows = list(next(iter(panels.values())))
    fig, axes = _figure(1, len(panels), height=1.4 + 0.45 * len(rows), sharey=True, squeeze=False)
    for ax, (quantity, found) in zip(axes[0], panels.items(), strict=True):
        for y, (value, low, high) in enumerate(found.values()):
            ax.plot([low, high], [y, y], color=BLUE, lw=3, solid_capstyle="butt")
            ax.plot(value, y, "o", color=RED, ms=6)
            ax.annotate(f"{value:.4f}", (value, y), (0, 7), textcoords="offset points", ha="center", fontsize=9)
        ax.axvline(0, color=GREY, lw=1, ls="--")
        ax.set_xlabel(quantity)
        ax.set_ylim(len(rows) - 0.5, -0.6)
        ax.grid(alpha=0.25, axis="x")
        ax.locator_params(axis="x", nbins=4)
    axes[0, 0].set_yticks(range(len(rows)), rows)
    fig.suptitle(title, fontsize=11)
    return fig
