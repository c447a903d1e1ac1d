"""A day of traffic, second by second: a curve with a peak and a trough, bursts, noise, drawn by a seed. Knows no stage and no replica."""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from prodcat.config import Config

DAY_SECONDS = 86_400


class DayCurve(Config):
    """What a day's traffic looks like. Bursts and noise come on top of the curve; the whole is scaled so that a day has about `products`."""

    products: float = Field(gt=0, description="products a day")
    peak_to_trough: float = Field(4.0, ge=1, description="rate of the busiest second over that of the quietest, without bursts and noise")
    peak_hour: float = Field(20.0, ge=0, lt=24)
    bursts: int = Field(6, ge=0, description="a day, at random times: a shop sends its catalog, a page is shared")
    burst_factor: float = Field(2.0, ge=1, description="rate within a burst over that of the curve")
    burst_seconds: float = Field(300.0, gt=0, description="how long one lasts")
    ramp_seconds: float = Field(20.0, ge=0, description="how long it takes to grow, and to fall")
    noise: float = Field(
        0.1, ge=0, lt=1, description="standard deviation of the rate around the curve, as a share of it, slow (a minute); Poisson beside"
    )


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Products a second, drawn.

    Args:
        products: int64 [seconds].
        unsure: int64 [seconds], those of them that stage one will not be sure of.
    """

    products: np.ndarray
    unsure: np.ndarray


def rates(curve: DayCurve, seconds: int, random: np.random.Generator) -> np.ndarray:
    """Expected products a second, float64 [seconds], from midnight on. Over whole days they sum to `curve.products` a day."""
    times = np.arange(seconds, dtype=np.float64)
    swing = (curve.peak_to_trough - 1) / (curve.peak_to_trough + 1)
    shape = 1 + swing * np.cos(2 * np.pi * (times / DAY_SECONDS - curve.peak_hour / 24))
    shape *= 1 + (curve.burst_factor - 1) * _bursts(curve, times, random)
    if curve.noise:
        shape *= np.exp(_slow_noise(curve.noise, seconds, random))
    return shape * (curve.products * seconds / DAY_SECONDS / shape.sum())


def draw(curve: DayCurve, gate_share: float, seed: int, seconds: int = DAY_SECONDS) -> Arrivals:
    """The same seed draws the same day.

    Args:
        gate_share: share of products that stage one is not sure of.
    """
    random = np.random.default_rng(seed)
    products = random.poisson(rates(curve, seconds, random))
    return Arrivals(products, random.binomial(products, gate_share))


def _bursts(curve: DayCurve, times: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """How much of a burst there is at each second, 0 to 1."""
    level = np.zeros_like(times)
    count = random.poisson(curve.bursts * len(times) / DAY_SECONDS) if len(times) < DAY_SECONDS else round(curve.bursts * len(times) / DAY_SECONDS)
    ramp = max(curve.ramp_seconds, 1e-9)
    for start in random.uniform(0, len(times), count):
        inside = np.minimum((times - start) / ramp, (start + curve.burst_seconds - times) / ramp)
        level = np.maximum(level, np.clip(inside, 0, 1))
    return level


def _slow_noise(deviation: float, seconds: int, random: np.random.Generator) -> np.ndarray:
    """Of the logarithm of the rate: a value a minute, with straight lines between them."""
    minutes = seconds // 60 + 2
    return np.interp(np.arange(seconds) / 60, np.arange(minutes), random.normal(0, deviation, minutes))
