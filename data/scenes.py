"""Rendered scenes: lit, textured shapes with exact boxes, from NumPy and Pillow alone."""

import numpy as np
from PIL import Image, ImageFilter
from shapes import CLASSES, colour, noise, sprite

SIZE = 320  # pixels on each side of a scene
MIN_VISIBLE = 0.35  # an object of which less shows is not drawn at all


def background(light, rng, side: int = SIZE) -> np.ndarray:
    """A lit, textured surface of shape (3, side, side): marble, boards, tiles or cloth."""
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    turn, cells = rng.uniform(0, np.pi), rng.uniform(3, 9)
    u, v = (x * np.cos(turn) + y * np.sin(turn)) * cells, (y * np.cos(turn) - x * np.sin(turn)) * cells
    cloud, grain = noise(rng, side, int(rng.integers(2, 6)), 6), noise(rng, side, 80, 3, 0.8)
    style = rng.integers(4)
    if style == 1:  # boards, each of its own tone, with grain along them
        tone = rng.uniform(-0.5, 0.5, 64)[np.floor(u).astype(int) % 64] + 0.3 * np.sin(14 * v * 0.2 + 9 * cloud)
        cloud = tone - 1.5 * (np.abs(u % 1 - 0.5) > 0.485)
    elif style == 2:  # tiles
        tone = rng.uniform(-0.4, 0.4, (64, 64))[np.floor(u).astype(int) % 64, np.floor(v).astype(int) % 64]
        cloud = 0.5 * cloud + tone + 0.9 * (np.maximum(np.abs(u % 1 - 0.5), np.abs(v % 1 - 0.5)) > 0.475)
    elif style == 3:  # cloth
        cloud = 0.6 * cloud + 0.35 * np.sin(22 * u) * np.sin(22 * v)
    one, two = colour(rng, (0.03, 0.42), (0.35, 0.95)), colour(rng, (0.03, 0.42), (0.2, 0.8))
    mix = np.clip(0.5 + 0.5 * cloud, 0, 1)
    surface = one[:, None, None] * (1 - mix) + two[:, None, None] * mix
    lit = 1 + rng.uniform(0, 0.6) * ((x - 0.5) * light[0] + (y - 0.5) * light[1]) / 0.5
    return surface * lit * (1 + rng.uniform(0.03, 0.25) * grain)


def place(count: int, rng) -> list[tuple[str, float, np.ndarray]]:
    """Draw (class, size, centre) of up to `count` objects, largest first, that overlap only in part."""
    placed = []
    sizes = np.exp(rng.uniform(np.log(28), np.log(200 if count < 5 else 110), count))
    for size in sorted(np.where(rng.uniform(size=count) < 0.06, rng.uniform(16, 28, count), sizes))[::-1]:
        for _ in range(20):
            centre = rng.uniform(0.38 * size, SIZE - 0.38 * size, 2)
            if all(np.hypot(*(centre - other)) > 0.36 * (size + extent) for _, extent, other in placed):
                placed.append((str(rng.choice(CLASSES)), float(size), centre))
                break
    return placed


def drawn(canvas, objects, light, rng, shadow: float = 0.6) -> tuple[np.ndarray, list[int], np.ndarray]:
    """Composite objects in order over a (3, side, side) canvas.

    Returns it with the n objects' class indices and the share of each pixel that each covers visibly, (n, side, side).
    """
    side, layers = canvas.shape[-1], []
    for kind, size, centre in objects:
        rgb, alpha = sprite(kind, size, light, rng)
        n, full = len(alpha), np.zeros((side, side), np.float32)
        left, top = np.round(centre - n / 2).astype(int)
        rows, columns = slice(max(top, 0), min(top + n, side)), slice(max(left, 0), min(left + n, side))
        inner = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
        full[rows, columns] = alpha[inner]
        layers.append([kind, size, full, (rows, columns), rgb[:, *inner], alpha.sum()])
    while True:  # drop the most hidden object until all that are left show enough
        free, seen = np.ones((side, side), np.float32), []
        for layer in reversed(layers):
            seen.insert(0, layer[2] * free)
            free = free * (1 - layer[2])
        share = [visible.sum() / layer[5] for visible, layer in zip(seen, layers, strict=True)]
        if not share or min(share) >= MIN_VISIBLE:
            break
        layers.pop(int(np.argmin(share)))
    for _, size, full, window, rgb, _ in layers:
        if shadow:
            away = (1, 0, 0.12 * size * light[0], 0, 1, 0.12 * size * light[1])
            cast = Image.fromarray((full * 255).astype(np.uint8)).transform((side, side), Image.Transform.AFFINE, away)
            cast = np.asarray(cast.filter(ImageFilter.GaussianBlur(0.05 * size)), np.float32)
            canvas = canvas * (1 - shadow / 255 * cast)
        else:
            canvas = canvas.copy()
        cover = full[window]
        canvas[:, *window] = canvas[:, *window] * (1 - cover) + rgb * cover
    return canvas, [CLASSES.index(layer[0]) for layer in layers], np.array(seen).reshape(-1, side, side)


def draw(canvas, objects, light, rng, shadow: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Composite objects as `drawn` does; give the canvas with rows of class, x1, y1, x2, y2."""
    canvas, kinds, seen = drawn(canvas, objects, light, rng, shadow)
    boxes = np.zeros((len(kinds), 5), np.float32)
    for row, (kind, visible) in enumerate(zip(kinds, seen, strict=True)):
        ys, xs = np.nonzero(visible >= 0.5)
        boxes[row] = kind, xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
    return canvas, boxes


def camera(canvas, rng) -> np.ndarray:
    """Expose, blur, add sensor noise and encode: (3, side, side) linear light to (side, side, 3) uint8."""
    side = canvas.shape[-1]
    balance = rng.uniform(0.9, 1.1, (3, 1, 1)) * rng.uniform(0.7, 1.35)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    linear = canvas * balance * (1 - rng.uniform(0, 0.2) * (x * x + y * y))
    encoded = np.clip(linear, 0, 1).transpose(1, 2, 0) ** (1 / 2.2) * 255
    soft = Image.fromarray(encoded.astype(np.uint8)).filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.8)))
    noisy = np.asarray(soft) + rng.normal(size=(side, side, 3)) * rng.uniform(0.5, 6)
    return np.clip(np.round(noisy), 0, 255).astype(np.uint8)


def lit(rng) -> np.ndarray:
    """Draw the direction of the light, a unit vector (x, y, z): from above (y points down), towards the viewer."""
    angle, height = rng.uniform(-np.pi, 0), rng.uniform(0.5, 0.85)
    side = np.sqrt(1 - height**2)
    return np.array([side * np.cos(angle), side * np.sin(angle), height])


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Render one scene.

    Returns the picture, (SIZE, SIZE, 3) uint8 RGB, and its boxes, (n, 5) float32 rows of class index,
    x1, y1, x2, y2 in pixels: the visible extent, to the whole pixel.

    >>> picture, boxes = scene(7)
    >>> picture.shape, boxes.shape[1]
    ((320, 320, 3), 5)
    """
    rng = np.random.default_rng(seed)
    light = lit(rng)
    objects = place(int(rng.integers(1, 13)), rng)
    canvas, boxes = draw(background(light, rng), objects, light, rng)
    return camera(canvas, rng), boxes


def small_scene(seed: int, side: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Render a small scene of 1 to `most` objects, each large in it.

    Returns the picture, (side, side, 3) uint8 RGB, and its mask, (side, side) uint8: 0 where the background shows,
    else 1 + the class index of the object that covers most of the pixel.

    >>> picture, mask = small_scene(7, 64, 1)
    >>> picture.shape, mask.shape, len(np.unique(mask))
    ((64, 64, 3), (64, 64), 2)
    """
    rng = np.random.default_rng(seed)
    light, count = lit(rng), int(rng.integers(1, most + 1))
    sizes = sorted(rng.uniform(0.4, 0.8, count) * side / np.sqrt(count))[::-1]
    objects = [(str(rng.choice(CLASSES)), float(s), rng.uniform(0.4 * s, side - 0.4 * s, 2)) for s in sizes]
    canvas, kinds, seen = drawn(background(light, rng, side), objects, light, rng)
    covered = np.concatenate([1 - seen.sum(0, keepdims=True), seen]).argmax(0)
    return camera(canvas, rng), np.uint8([0, *(kind + 1 for kind in kinds)])[covered]
