"""The demo's photographs: a shape with colour, size, angle, background, light and clutter that vary by shop and by chance."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

from prodcat.catalog.demo_shapes import CANVAS, SHAPES, Colour, Pen


@dataclass(frozen=True, slots=True)
class PhotoStyle:
    """How a shop photographs.

    Args:
        side: pixels of the saved image, (smallest, largest).
        background: colour behind the product.
        gradient: how much darker the background is at the bottom, 0 to 1.
        cast: factors on red, green and blue.
        clutter: most things that lie around the product.
        tilt: largest angle, degrees.
    """

    side: tuple[int, int]
    background: Colour
    gradient: float
    cast: tuple[float, float, float]
    clutter: int
    tilt: float


def photograph(leaf: str, colour: Colour, style: PhotoStyle, rng: np.random.Generator) -> Image.Image:
    """One picture of a product.

    Args:
        leaf: name of the category, a key of SHAPES.
        colour: of the product; varied a little.
        style: of the shop.
        rng: source of chance.
    """
    canvas = _background(style, rng)
    for _ in range(int(rng.integers(0, style.clutter + 1))):
        _clutter(canvas, rng)
    layer = Image.new("RGBA", (CANVAS, CANVAS), (0, 0, 0, 0))
    SHAPES[leaf](Pen(layer, _varied(colour, 18, rng), _accent(colour, rng)))
    if rng.random() < 0.4:
        layer = layer.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    layer = _moved(layer, style.tilt, rng)
    canvas.paste(layer, (0, 0), layer)
    side = int(rng.integers(style.side[0], style.side[1] + 1))
    image = canvas.resize((side, side), Image.Resampling.LANCZOS)
    noise = rng.normal(0, 3, (side, side, 1))
    pixels = np.asarray(image, dtype=np.float32) * np.array(style.cast, dtype=np.float32) + noise
    return ImageEnhance.Brightness(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))).enhance(float(rng.uniform(0.9, 1.08)))


def _moved(layer: Image.Image, tilt: float, rng: np.random.Generator) -> Image.Image:
    """Turned, stretched, scaled and shifted, in one pass."""
    angle = np.radians(rng.uniform(-tilt, tilt))
    scale = rng.uniform(0.72, 1.05) * np.array([rng.uniform(0.92, 1.08), 1.0])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    inverse = np.linalg.inv(turn * scale)
    middle = np.full(2, CANVAS / 2)
    shift = middle - inverse @ (middle + rng.uniform(-0.056, 0.056, 2) * CANVAS)
    (a, b), (d, e) = inverse
    return layer.transform(layer.size, Image.Transform.AFFINE, (a, b, float(shift[0]), d, e, float(shift[1])), Image.Resampling.BILINEAR)


def jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _background(style: PhotoStyle, rng: np.random.Generator) -> Image.Image:
    base = np.array(_varied(style.background, 8, rng), dtype=np.float32)
    shade = np.linspace(1, 1 - style.gradient, CANVAS, dtype=np.float32)[:, None, None]
    return Image.fromarray(np.broadcast_to(base * shade, (CANVAS, CANVAS, 3)).astype(np.uint8))


def _clutter(canvas: Image.Image, rng: np.random.Generator) -> None:
    """A thing at the rim: a label, a leaf, a corner of a box."""
    draw = ImageDraw.Draw(canvas)
    angle = rng.uniform(0, 2 * np.pi)
    x, y = CANVAS * (0.5 + 0.47 * np.cos(angle)), CANVAS * (0.5 + 0.47 * np.sin(angle))
    half = rng.uniform(0.04, 0.11, 2) * CANVAS
    colour = tuple(int(c) for c in rng.integers(60, 220, 3))
    (draw.ellipse if rng.random() < 0.5 else draw.rectangle)((x - half[0], y - half[1], x + half[0], y + half[1]), fill=colour)


def _varied(colour: Colour, spread: int, rng: np.random.Generator) -> Colour:
    red, green, blue = (int(np.clip(c + rng.integers(-spread, spread + 1), 0, 255)) for c in colour)
    return red, green, blue


def _accent(colour: Colour, rng: np.random.Generator) -> Colour:
    """Light on dark products, anything dark on light ones."""
    low, high = (150, 250) if sum(colour) < 330 else (20, 120)
    red, green, blue = (int(c) for c in rng.integers(low, high, 3))
    return red, green, blue
