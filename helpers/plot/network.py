"""Pictures of a graph: a block, where its nodes run, how well each tensor comes through."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np
from matplotlib.figure import Figure

from helpers.graph import Model, ModelLike, fused_groups, list_qparams
from helpers.graph.cost import Layer
from helpers.plot.style import BLUE, GREEN, GREY, LITERAL, ORANGE, PURPLE, RED, SKY, new_figure, node_box


def block(qdq_model: ModelLike, conv: str) -> Figure:
    """One Conv + SiLU of a QDQ graph three times: as floats, as the graph says it, as an NPU may run it.

    `conv` is the name of a Conv node whose output goes into a SiLU. Scales and zero points stand on the edges.
    """
    params = list_qparams(qdq_model)
    unit = next(g for g in fused_groups(qdq_model) if g.nodes[0] == conv)
    silu = next(g for g in fused_groups(qdq_model) if g.op == "SiLU" and g.inputs[0] == unit.output)
    sigmoid = next(n for n in Model.of(qdq_model).nodes if n.name == silu.nodes[0])
    edges = [unit.inputs[0], unit.output, sigmoid.output[0], silu.output]
    fig, ax = new_figure(height=4.2)
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
            node_box(ax, x, y, text, colour, 1.8 if len(text) > 9 else 0.74)

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


def placement(placed: Mapping[str, Mapping[str, str]]) -> Figure:
    """Where each node of a graph runs, as ONNX Runtime lists them: {title: `targets.placement(…)`}, a row for each."""
    fig, ax = new_figure(height=1 + 0.55 * len(placed))
    colours = {"QNNExecutionProvider": BLUE, "CPUExecutionProvider": ORANGE}
    for row, nodes in enumerate(placed.values()):
        for provider in dict.fromkeys(nodes.values()):
            at = [k for k, p in enumerate(nodes.values()) if p == provider]
            ax.bar(at, 0.6, 1.0, bottom=row - 0.3, color=colours.get(provider, GREY))
            text = f"{len(at)} on {provider.removesuffix('ExecutionProvider')} "
            colour = "black" if "CPU" in text else "white"
            ax.text(max(at), row, text, ha="right", va="center", color=colour, fontsize=9)
    ax.set_yticks(range(len(placed)), placed)
    ax.invert_yaxis()
    ax.spines[["top", "right"]].set_visible(False)
    ax.set(xlabel="node, as ONNX Runtime lists it", title="Ask where each node went, not which providers are listed")
    return fig


def roofline(
    layers: Iterable[Layer],
    peak: float,
    bandwidth: float,
    modelled: Mapping[str, float],
    published: Mapping[str, float],
) -> Figure:
    """Layers under the roof of `peak` MAC/s and `bandwidth` bytes/s; beside it, its times and the chip's, ms.

    `modelled` and `published` hold three times, {what: ms}, under the same names.
    """
    fig, (left, right) = new_figure(1, 2, height=3.4, width_ratios=[1.3, 1])
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


def sqnr_by_depth(rows: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """SQNR of each tensor in graph order, a row for each {title: `qdq.layer_sqnr(…)`}, its worst named."""
    fig, axes = new_figure(len(rows), height=0.6 + 1.9 * len(rows), sharex=True, sharey=True, squeeze=False)
    longest = max(rows.values(), key=len)
    order = {t: k for k, t in enumerate(longest)}
    for ax, (name, sqnr) in zip(axes[:, 0], rows.items(), strict=True):
        seen = {t: v for t, v in sqnr.items() if np.isfinite(v)}
        worst = min(seen, key=lambda t: seen[t])
        ax.bar([order[t] for t in seen], seen.values(), 1.0, color=BLUE)
        ax.bar(order[worst], seen[worst], 2.5 if len(order) > 40 else 1.0, color=RED)
        text = f"worst: {worst.strip('/').removesuffix('_output_0')}, {seen[worst]:.1f} dB"
        ax.text(0.995, 0.97, text, color=RED, fontsize=9, ha="right", va="top", transform=ax.transAxes, **LITERAL)
        ax.set_title(f"{name}: median {np.median(list(seen.values())):.1f} dB", fontsize=10, loc="left", **LITERAL)
        ax.set_ylabel("SQNR, dB")
        ax.grid(alpha=0.25, axis="y")
    axes[0, 0].set_ylim(0, 1.25 * max(v for r in rows.values() for v in r.values() if np.isfinite(v)))
    axes[-1, 0].set_xlabel("quantized activation, in the order of the graph")
    fig.suptitle(title, fontsize=11, **LITERAL)
    return fig


def roundings(shares: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """Share of codes in which one operator alone differs, a dot for each: {operator: {tensor: share}}; depth is x."""
    order = {t: k for k, t in enumerate(t for each in shares.values() for t in each)}
    fig, ax = new_figure(height=3.8)
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


def noise_by_size(noise: Mapping[str, float], size: Mapping[str, int], chosen: Collection[str]) -> Figure:
    """What each layer adds to the output's noise against how many weights it has, those `chosen` for more bits marked.

    `noise` is {layer: noise power over signal power at the output}, `size` {layer: weights}.
    """
    fig, ax = new_figure(height=4.2)
    for marked, colour, marker in ((False, GREY, "o"), (True, ORANGE, "D")):
        names = [name for name in noise if (name in chosen) == marked]
        x, y = [size[name] for name in names], [noise[name] for name in names]
        label = f"{len(names)} layers in {'8' if marked else '4'} bits"
        ax.scatter(x, y, s=36, color=colour, marker=marker, label=label, alpha=0.8)
    worst = max(noise, key=lambda name: noise[name])
    text = worst.removesuffix(".weight").removesuffix(".conv")
    ax.annotate(text, (size[worst], noise[worst]), (9, -3), textcoords="offset points", fontsize=9, **LITERAL)
    shares = [sum(each[name] for name in chosen) / sum(each.values()) for each in (size, noise)]
    ax.set(xscale="log", yscale="log", xlabel="weights in the layer", ylabel="noise ÷ signal at the output")
    ax.set_title(f"{100 * shares[0]:.2g} % of the weights make {100 * shares[1]:.2g} % of the noise", fontsize=11)
    ax.legend(frameon=False)
    ax.grid(alpha=0.25)
    return fig
