"""The shapes of the demo's categories, each a few strokes of a pen. Knows no background, no shop and no chance."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
# Drawn this large, then reduced: smooth edges without a drawing library.
CANVAS = 224


class Pen:
    """Draws in coordinates from -1 to 1, y downwards, with one main and one accent colour."""

    def __init__(self, image: Image.Image, main: Colour, accent: Colour) -> None:
        self._draw = ImageDraw.Draw(image)
        self.main = main
        self.accent = accent
        self.dark = tuple(int(c * 0.6) for c in main)
        self.light = tuple(min(255, int(c * 1.25) + 24) for c in main)

    @staticmethod
    def _at(*points: float) -> list[float]:
        return [(value * 0.42 + 0.5) * CANVAS for value in points]

    def polygon(self, colour: tuple[int, ...], *points: float) -> None:
        self._draw.polygon(self._at(*points), fill=colour)

    def ellipse(self, colour: tuple[int, ...], x0: float, y0: float, x1: float, y1: float) -> None:
        self._draw.ellipse(self._at(x0, y0, x1, y1), fill=colour)

    def ring(self, colour: tuple[int, ...], x0: float, y0: float, x1: float, y1: float, width: float) -> None:
        self._draw.ellipse(self._at(x0, y0, x1, y1), outline=colour, width=int(width * CANVAS * 0.42))

    def box(self, colour: tuple[int, ...], x0: float, y0: float, x1: float, y1: float, radius: float = 0.0) -> None:
        self._draw.rounded_rectangle(self._at(x0, y0, x1, y1), radius=radius * CANVAS * 0.42, fill=colour)

    def line(self, colour: tuple[int, ...], width: float, *points: float) -> None:
        self._draw.line(self._at(*points), fill=colour, width=max(1, int(width * CANVAS * 0.42)), joint="curve")

    def arc(self, colour: tuple[int, ...], x0: float, y0: float, x1: float, y1: float, start: float, end: float, width: float) -> None:
        self._draw.arc(self._at(x0, y0, x1, y1), start, end, fill=colour, width=int(width * CANVAS * 0.42))


def _t_shirt(p: Pen) -> None:
    p.polygon(p.main, -0.45, -0.8, 0.45, -0.8, 1, -0.4, 0.75, -0.05, 0.5, -0.2, 0.5, 0.9, -0.5, 0.9, -0.5, -0.2, -0.75, -0.05, -1, -0.4)
    p.ellipse(p.light, -0.24, -0.95, 0.24, -0.62)
    p.ellipse(p.accent, -0.2, -0.25, 0.2, 0.15)


def _shirt(p: Pen) -> None:
    p.polygon(
        p.main, -0.4, -0.8, 0.4, -0.8, 0.75, -0.6, 1, 0.7, 0.75, 0.75, 0.5, -0.2, 0.5, 0.9, -0.5, 0.9, -0.5, -0.2, -0.75, 0.75, -1, 0.7, -0.75, -0.6
    )
    p.polygon(p.light, -0.4, -0.85, 0, -0.5, 0.4, -0.85, 0.2, -0.9, 0, -0.7, -0.2, -0.9)
    p.line(p.dark, 0.03, 0, -0.5, 0, 0.9)
    for y in (-0.3, 0.0, 0.3, 0.6):
        p.ellipse(p.accent, -0.05, y - 0.05, 0.05, y + 0.05)


def _sweater(p: Pen) -> None:
    p.polygon(
        p.main,
        -0.35,
        -0.7,
        0.35,
        -0.7,
        0.8,
        -0.5,
        1,
        0.8,
        0.72,
        0.85,
        0.55,
        -0.05,
        0.55,
        0.85,
        -0.55,
        0.85,
        -0.55,
        -0.05,
        -0.72,
        0.85,
        -1,
        0.8,
        -0.8,
        -0.5,
    )
    p.box(p.dark, -0.3, -0.85, 0.3, -0.62, 0.08)
    p.box(p.dark, -0.55, 0.72, 0.55, 0.88)
    for y in (-0.3, -0.05, 0.2, 0.45):
        p.line(p.accent, 0.06, -0.52, y, -0.26, y + 0.12, 0, y, 0.26, y + 0.12, 0.52, y)


def _jacket(p: Pen) -> None:
    p.polygon(
        p.main, -0.4, -0.75, 0.4, -0.75, 0.85, -0.5, 1, 0.65, 0.7, 0.7, 0.6, -0.1, 0.6, 0.8, -0.6, 0.8, -0.6, -0.1, -0.7, 0.7, -1, 0.65, -0.85, -0.5
    )
    p.polygon(p.dark, -0.4, -0.95, 0.4, -0.95, 0.3, -0.6, -0.3, -0.6)
    p.line(p.accent, 0.08, 0, -0.65, 0, 0.8)
    p.box(p.dark, -0.48, 0.2, -0.18, 0.5, 0.04)
    p.box(p.dark, 0.18, 0.2, 0.48, 0.5, 0.04)


def _jeans(p: Pen) -> None:
    p.polygon(p.main, -0.45, -0.9, 0.45, -0.9, 0.6, 0.95, 0.15, 0.95, 0, -0.2, -0.15, 0.95, -0.6, 0.95)
    p.box(p.dark, -0.46, -0.95, 0.46, -0.8)
    p.arc(p.accent, -0.5, -0.95, -0.1, -0.45, 20, 90, 0.04)
    p.arc(p.accent, 0.1, -0.95, 0.5, -0.45, 90, 160, 0.04)
    p.line(p.accent, 0.03, -0.4, -0.3, -0.48, 0.9)


def _shorts(p: Pen) -> None:
    p.polygon(p.main, -0.6, -0.55, 0.6, -0.55, 0.85, 0.5, 0.15, 0.55, 0, -0.05, -0.15, 0.55, -0.85, 0.5)
    p.box(p.dark, -0.61, -0.65, 0.61, -0.48)
    p.line(p.accent, 0.05, -0.08, -0.5, -0.14, -0.1)
    p.line(p.accent, 0.05, 0.08, -0.5, 0.14, -0.1)


def _skirt(p: Pen) -> None:
    p.polygon(p.main, -0.35, -0.75, 0.35, -0.75, 0.95, 0.75, -0.95, 0.75)
    p.box(p.accent, -0.37, -0.85, 0.37, -0.68)
    for x in (-0.55, -0.2, 0.2, 0.55):
        p.line(p.dark, 0.03, x * 0.45, -0.65, x * 1.1, 0.74)


def _dress(p: Pen) -> None:
    p.line(p.main, 0.08, -0.25, -0.95, -0.25, -0.5)
    p.line(p.main, 0.08, 0.25, -0.95, 0.25, -0.5)
    p.polygon(p.main, -0.35, -0.7, 0.35, -0.7, 0.25, -0.1, 0.75, 0.95, -0.75, 0.95, -0.25, -0.1)
    p.box(p.accent, -0.27, -0.2, 0.27, -0.05)


def _sneaker(p: Pen) -> None:
    p.polygon(p.main, -0.95, -0.25, -0.45, -0.45, -0.1, -0.1, 0.6, 0.05, 0.95, 0.3, 0.95, 0.42, -0.95, 0.42)
    p.box((240, 240, 238), -1, 0.38, 1, 0.58, 0.1)
    p.polygon(p.accent, -0.5, 0.3, 0.1, -0.02, 0.25, 0.02, -0.3, 0.36)
    for x in (-0.3, -0.15, 0.0):
        p.line((245, 245, 245), 0.05, x, -0.28, x + 0.16, -0.12 + (x + 0.3) * 0.3)


def _boot(p: Pen) -> None:
    p.polygon(p.main, -0.6, -0.95, 0.05, -0.95, 0.1, 0.15, 0.7, 0.3, 0.85, 0.65, -0.6, 0.65)
    p.box(p.dark, -0.65, 0.62, 0.9, 0.8, 0.03)
    p.box(p.dark, -0.65, 0.7, -0.3, 0.95)
    p.box(p.accent, -0.62, -0.97, 0.07, -0.78, 0.04)
    for y in (-0.5, -0.25, 0.0):
        p.line(p.accent, 0.05, -0.1, y, 0.1, y + 0.06)


def _heel(p: Pen) -> None:
    p.polygon(p.main, -0.85, -0.6, -0.6, -0.5, -0.2, 0.1, 0.4, 0.4, 0.95, 0.5, 0.95, 0.62, 0.3, 0.6, -0.35, 0.3, -0.75, -0.1)
    p.polygon(p.dark, -0.85, -0.3, -0.65, -0.1, -0.72, 0.7, -0.8, 0.7)
    p.ellipse(p.accent, 0.45, 0.35, 0.65, 0.52)


def _loafer(p: Pen) -> None:
    p.polygon(p.main, -0.95, -0.15, -0.6, -0.05, 0.0, -0.1, 0.65, 0.1, 0.95, 0.32, 0.95, 0.45, -0.95, 0.45)
    p.ellipse(p.light, -0.85, -0.22, 0.05, 0.08)
    p.box(p.dark, -1, 0.42, 1, 0.52)
    p.box(p.dark, -1, 0.5, -0.5, 0.65)
    p.line(p.accent, 0.1, 0.15, -0.1, 0.35, 0.35)


def _sandal(p: Pen) -> None:
    for x in (-0.5, 0.5):
        p.ellipse(p.dark, x - 0.38, -0.95, x + 0.38, 0.1)
        p.ellipse(p.dark, x - 0.3, -0.1, x + 0.3, 0.95)
        p.box(p.dark, x - 0.32, -0.5, x + 0.32, 0.5)
        p.line(p.accent, 0.12, x - 0.32, 0.05, x, -0.5, x + 0.32, 0.05)


def _backpack(p: Pen) -> None:
    p.arc(p.dark, -0.3, -1, 0.3, -0.55, 180, 360, 0.1)
    p.box(p.main, -0.62, -0.8, 0.62, 0.9, 0.3)
    p.box(p.dark, -0.45, 0.1, 0.45, 0.75, 0.12)
    p.box(p.light, -0.75, 0.0, -0.6, 0.7, 0.06)
    p.box(p.light, 0.6, 0.0, 0.75, 0.7, 0.06)
    p.line(p.accent, 0.06, -0.45, 0.25, 0.45, 0.25)
    p.line(p.accent, 0.05, -0.5, -0.25, 0.5, -0.25)


def _handbag(p: Pen) -> None:
    p.arc(p.dark, -0.5, -0.95, 0.5, 0.3, 180, 360, 0.09)
    p.polygon(p.main, -0.7, -0.25, 0.7, -0.25, 0.95, 0.8, -0.95, 0.8)
    p.polygon(p.light, -0.7, -0.25, 0.7, -0.25, 0.76, 0.0, -0.76, 0.0)
    p.box(p.accent, -0.12, -0.1, 0.12, 0.15, 0.04)


def _wallet(p: Pen) -> None:
    p.box(p.main, -0.9, -0.55, 0.9, 0.6, 0.08)
    p.box(p.light, -0.8, -0.68, 0.7, -0.45)
    p.line(p.dark, 0.04, -0.9, 0.0, 0.9, 0.0)
    p.box(p.dark, 0.45, -0.15, 0.95, 0.2, 0.08)
    p.ellipse(p.accent, 0.55, -0.06, 0.7, 0.1)


def _cap(p: Pen) -> None:
    p.ellipse(p.main, -0.75, -0.6, 0.45, 0.7)
    p.polygon(p.dark, -0.2, 0.05, 0.95, 0.1, 1, 0.3, 0.4, 0.3, -0.7, 0.2)
    p.box((0, 0, 0, 0), -1, 0.31, 1, 1)
    p.ellipse(p.accent, -0.22, -0.68, -0.08, -0.54)
    p.line(p.light, 0.03, -0.15, -0.58, -0.25, 0.1)


def _beanie(p: Pen) -> None:
    p.ellipse(p.main, -0.65, -0.65, 0.65, 0.9)
    p.box((0, 0, 0, 0), -1, 0.45, 1, 1)
    p.box(p.dark, -0.72, 0.2, 0.72, 0.62, 0.1)
    p.ellipse(p.accent, -0.24, -0.98, 0.24, -0.5)
    for x in (-0.45, -0.22, 0.0, 0.22, 0.45):
        p.line(p.light, 0.03, x, 0.22, x, 0.6)


def _necklace(p: Pen) -> None:
    p.arc(p.main, -0.7, -1.5, 0.7, 0.55, 10, 170, 0.06)
    for angle in range(20, 170, 15):
        x, y = 0.7 * np.cos(np.radians(angle)), -0.475 + 1.02 * np.sin(np.radians(angle))
        p.ellipse(p.light, x - 0.06, y - 0.06, x + 0.06, y + 0.06)
    p.polygon(p.accent, 0, 0.45, 0.22, 0.68, 0, 0.98, -0.22, 0.68)


def _ring(p: Pen) -> None:
    p.ring(p.main, -0.6, -0.35, 0.6, 0.85, 0.14)
    p.polygon(p.accent, -0.28, -0.65, 0.28, -0.65, 0.4, -0.45, 0, -0.15, -0.4, -0.45)
    p.polygon((250, 250, 250), -0.1, -0.62, 0.1, -0.62, 0.0, -0.3)


def _watch(p: Pen) -> None:
    p.box(p.main, -0.28, -1, 0.28, 1, 0.08)
    p.ellipse(p.dark, -0.55, -0.55, 0.55, 0.55)
    p.ellipse((244, 244, 240), -0.43, -0.43, 0.43, 0.43)
    p.line(p.accent, 0.06, 0, 0, 0, -0.32)
    p.line(p.accent, 0.06, 0, 0, 0.22, 0.12)
    p.box(p.dark, 0.52, -0.08, 0.66, 0.08)


def _sunglasses(p: Pen) -> None:
    p.line(p.main, 0.1, -0.95, -0.3, 0.95, -0.3)
    p.ellipse(p.main, -0.95, -0.4, -0.08, 0.45)
    p.ellipse(p.main, 0.08, -0.4, 0.95, 0.45)
    p.ellipse(p.accent, -0.84, -0.3, -0.18, 0.35)
    p.ellipse(p.accent, 0.18, -0.3, 0.84, 0.35)


def _belt(p: Pen) -> None:
    p.ring(p.main, -0.95, -0.7, 0.95, 0.7, 0.17)
    p.box(p.accent, -0.3, 0.4, 0.2, 0.85, 0.04)
    p.box(p.main, -0.18, 0.52, 0.08, 0.73)
    for x in (0.35, 0.5, 0.65):
        p.ellipse(p.dark, x - 0.03, 0.5 - (x - 0.35) * 0.4, x + 0.03, 0.56 - (x - 0.35) * 0.4)


def _mug(p: Pen) -> None:
    p.ring(p.main, 0.25, -0.4, 0.95, 0.4, 0.14)
    p.box(p.main, -0.75, -0.65, 0.5, 0.75, 0.12)
    p.ellipse(p.dark, -0.75, -0.8, 0.5, -0.5)
    p.ellipse(p.accent, -0.35, -0.1, 0.1, 0.35)


def _pan(p: Pen) -> None:
    p.line(p.dark, 0.2, 0.2, -0.2, 0.98, -0.95)
    p.ellipse(p.main, -0.95, -0.5, 0.5, 0.95)
    p.ellipse(p.dark, -0.82, -0.37, 0.37, 0.82)
    p.ellipse(p.light, -0.55, -0.15, -0.25, 0.15)


def _chair(p: Pen) -> None:
    p.box(p.main, -0.5, -0.95, 0.45, -0.35, 0.06)
    p.line(p.dark, 0.1, -0.45, -0.9, -0.45, 0.95)
    p.line(p.dark, 0.1, 0.4, -0.5, 0.4, 0.7)
    p.polygon(p.accent, -0.55, 0.1, 0.5, 0.1, 0.7, 0.3, -0.4, 0.3)
    p.line(p.dark, 0.1, 0.62, 0.3, 0.65, 0.95)
    p.line(p.dark, 0.1, -0.3, 0.3, -0.3, 0.95)


def _lamp(p: Pen) -> None:
    p.polygon(p.main, -0.35, -0.95, 0.35, -0.95, 0.7, -0.1, -0.7, -0.1)
    p.ellipse((250, 232, 160), -0.68, -0.2, 0.68, 0.02)
    p.line(p.dark, 0.1, 0, -0.1, 0, 0.75)
    p.ellipse(p.accent, -0.45, 0.68, 0.45, 0.95)


def _gift_card(p: Pen) -> None:
    p.box(p.main, -0.98, -0.6, 0.98, 0.6, 0.12)
    p.box(p.accent, -0.55, -0.6, -0.35, 0.6)
    p.box(p.accent, -0.98, -0.2, 0.98, -0.02)
    p.ring(p.accent, -0.75, -0.42, -0.42, -0.08, 0.07)
    p.ring(p.accent, -0.48, -0.42, -0.15, -0.08, 0.07)
    for y in (0.2, 0.35):
        p.line(p.light, 0.06, 0.0, y, 0.75, y)


SHAPES: dict[str, Callable[[Pen], None]] = {
    "T-Shirts": _t_shirt,
    "Shirts": _shirt,
    "Sweaters": _sweater,
    "Jackets": _jacket,
    "Jeans": _jeans,
    "Shorts": _shorts,
    "Skirts": _skirt,
    "Dresses": _dress,
    "Sneakers": _sneaker,
    "Boots": _boot,
    "Heels": _heel,
    "Loafers": _loafer,
    "Sandals": _sandal,
    "Backpacks": _backpack,
    "Handbags": _handbag,
    "Wallets": _wallet,
    "Caps": _cap,
    "Beanies": _beanie,
    "Necklaces": _necklace,
    "Rings": _ring,
    "Watches": _watch,
    "Sunglasses": _sunglasses,
    "Belts": _belt,
    "Mugs": _mug,
    "Pans": _pan,
    "Chairs": _chair,
    "Lamps": _lamp,
    "Gift Cards": _gift_card,
}
