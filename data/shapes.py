"""Shaded shapes: eight outlines, each with its normals, its material and its antialiased coverage."""

import colorsys

import numpy as np
from PIL import Image

CLASSES = ("ball", "cube", "cone", "ring", "star", "cross", "gear", "bolt")
BOLT = np.array([(-0.1, -1), (0.5, -1), (0.15, -0.25), (0.6, -0.25), (-0.35, 1), (-0.05, 0.1), (-0.5, 0.1)])


def noise(rng, size: int, cells: int, octaves: int = 4, fall: float = 0.55) -> np.ndarray:
    """Sum octaves of smooth random grids into a (size, size) field of about −1 to 1."""
    field = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        grid = rng.uniform(-1, 1, (min(cells << octave, size),) * 2).astype(np.float32)
        field += fall**octave * np.asarray(Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC))
    return field


def colour(rng, saturation: tuple, value: tuple) -> np.ndarray:
    """Draw a colour of any hue in linear light."""
    hsv = rng.uniform(), rng.uniform(*saturation), rng.uniform(*value)
    return np.array(colorsys.hsv_to_rgb(*hsv), np.float32) ** 2.2


def polygon(x, y, corners) -> np.ndarray:
    """Signed distance to a polygon: negative inside (even-odd rule)."""
    nearest, inside = np.full(x.shape, np.inf, np.float32), np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, 0), strict=True):
        ex, ey = bx - ax, by - ay
        along = np.clip(((x - ax) * ex + (y - ay) * ey) / (ex * ex + ey * ey), 0, 1)
        nearest = np.minimum(nearest, np.hypot(x - ax - along * ex, y - ay - along * ey))
        if ey:
            inside ^= ((ay > y) != (by > y)) & (x < ax + ex * (y - ay) / ey)
    return np.where(inside, -nearest, nearest)


def outline(kind: str, x, y, variant: float) -> np.ndarray:
    """Signed distance to a flat shape within the unit circle; `variant` in 0..1 alters its proportions."""
    r, angle = np.hypot(x, y), np.arctan2(y, x)
    if kind == "ball":
        return r - 1
    if kind == "ring":
        return np.abs(r - 0.72) - (0.2 + 0.08 * variant)
    if kind == "star":
        fold = np.abs((angle + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
        inner = (0.42 + 0.12 * variant) * np.array([np.cos(np.pi / 5), np.sin(np.pi / 5)])
        edge = np.array([inner[1], 1 - inner[0]]) / np.hypot(inner[1], 1 - inner[0])
        return (r * np.cos(fold) - 1) * edge[0] + r * np.sin(fold) * edge[1]
    if kind == "cross":
        a, b, arm = np.abs(x), np.abs(y), 0.24 + 0.1 * variant
        return np.minimum(np.maximum(a - 0.95, b - arm), np.maximum(a - arm, b - 0.95))
    if kind == "gear":
        teeth = 7 + int(4 * variant)
        return np.maximum(r - 0.84 - 0.15 * np.clip(2.5 * np.cos(teeth * angle), -1, 1), 0.3 - r)
    if kind == "cone":
        base = (np.hypot(x / 0.7, (y - 0.66) / 0.26) - 1) * 0.26
        return np.minimum(np.maximum(np.abs(x) * 0.92 - (y + 1) * 0.39, y - 0.66), base)
    return polygon(x, y, BOLT)


def relief(kind: str, x, y, rng) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance and surface normals, shapes (n, n) and (3, n, n), z towards the viewer."""
    if kind == "cube":
        axes = np.linalg.qr(rng.normal(size=(3, 3)))[0].astype(np.float32)
        while np.abs(axes[2]).max() > 0.85:  # seen face-on, a cube would be a square
            axes = np.linalg.qr(rng.normal(size=(3, 3)))[0].astype(np.float32)
        axes *= np.where(axes[2] < 0, -1, 1)  # every axis points at the viewer, so its + face is the seen one
        start = axes[0][:, None, None] * x + axes[1][:, None, None] * y
        entry, leave = [(start + s * 0.58) / axes[2][:, None, None] for s in (-1, 1)]
        return entry.max(0) - leave.min(0), np.take(axes, entry.argmax(0), 1)
    d = outline(kind, x, y, rng.uniform())
    if kind == "cone":
        across = np.clip(x / np.maximum(0.42 * (y + 1), 0.05), -1, 1)
        return d, np.stack([across * 0.92, np.full_like(x, -0.39), np.sqrt(1 - across**2) * 0.92])
    bevel = {"ball": 1.0, "ring": 0.24}.get(kind) or rng.uniform(0.1, 0.3)
    gy, gx = np.gradient(d)
    steep = np.maximum(np.hypot(gx, gy), 1e-9)
    flat = np.clip(-d / bevel, 0, 1)
    return d, np.stack([gx / steep * (1 - flat), gy / steep * (1 - flat), np.sqrt(1 - (1 - flat) ** 2)])


def material(x, y, rng) -> np.ndarray:
    """Albedo of shape (3, n, n): plain, striped, chequered or marbled in two colours."""
    one, two = colour(rng, (0.45, 1), (0.45, 1)), colour(rng, (0.2, 1), (0.3, 1))
    grain, frequency = noise(rng, len(x), 5), rng.uniform(4, 10)
    pattern = rng.choice(4, p=(0.4, 0.2, 0.15, 0.25))
    if pattern == 0:
        two, mix = one * 0.7, 0.5 + 0.3 * grain
    elif pattern == 1:
        mix = 0.5 + 4 * np.sin(frequency * x + 0.6 * grain)
    elif pattern == 2:
        mix = 0.5 + 6 * np.sin(frequency * x) * np.sin(frequency * y)
    else:
        mix = 0.5 + 1.2 * grain
    mix = np.clip(mix, 0, 1)
    return (one[:, None, None] * (1 - mix) + two[:, None, None] * mix) * (1 + 0.12 * grain)


def sprite(kind: str, size: float, light, rng) -> tuple[np.ndarray, np.ndarray]:
    """Shade one object: colour (3, n, n) and coverage (n, n), both for the n × n pixels about its centre."""
    n = int(np.ceil(size)) + 4
    steps = ((np.arange(2 * n) + 0.5) / (2 * n) - 0.5) * (2 * n / size)  # two samples per pixel
    px, py = np.meshgrid(steps.astype(np.float32), steps.astype(np.float32))
    turn, tilt, squeeze = rng.uniform(0, 2 * np.pi), rng.uniform(0, np.pi), rng.uniform(0.72, 1)
    if kind in ("ball", "cube"):
        squeeze = 1.0
    c, s = np.cos(tilt), np.sin(tilt)
    a, b = (px * c + py * s) / squeeze, py * c - px * s  # tilted away about one axis of the picture
    x, y = a * np.cos(turn) + b * np.sin(turn), b * np.cos(turn) - a * np.sin(turn)
    d, normal = relief(kind, x, y, rng)
    gy, gx = np.gradient(d)
    alpha = np.clip(0.5 - d / np.maximum(np.hypot(gx, gy), 1e-9), 0, 1)
    c, s = np.cos(turn + tilt), np.sin(turn + tilt)
    normal = np.stack([normal[0] * c - normal[1] * s, normal[0] * s + normal[1] * c, normal[2]])
    lambert = np.maximum(np.tensordot(light, normal, 1), 0)
    half = (light + np.array([0, 0, 1])) / np.linalg.norm(light + np.array([0, 0, 1]))
    shine = np.maximum(np.tensordot(half, normal, 1), 0) ** rng.uniform(12, 70) * rng.uniform(0, 0.6)
    rgb = material(x, y, rng) * (rng.uniform(0.2, 0.4) + 0.9 * lambert) + shine
    average = lambda v: v.reshape(*v.shape[:-2], n, 2, n, 2).mean((-3, -1))  # noqa: E731
    return average(rgb * alpha) / np.maximum(average(alpha), 1e-6), average(alpha)
