"""Train, validation, test: by hash of the near-duplicate group's founder, so a group is never cut and nothing moves when the catalog grows.

Knows keys and groups, not products. The founder of a group is its oldest product. A group keeps its founder's name even when that product leaves the
shop. One thing can move a product: a newcomer that is a near-duplicate of two groups joins them, and the younger group follows the older.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field, model_validator

from prodcat.config import Config

SPLITS = ("train", "validation", "test")


class SplitConfig(Config):
    """Shares are of groups; with groups of different size the shares of products differ a little."""

    seed: int = Field(0, description="another seed, another split")
    train: float = Field(0.7, ge=0, le=1, description="share of groups to learn from")
    validation: float = Field(0.1, ge=0, le=1, description="share of groups for stopping, calibration and the gate")
    test: float = Field(0.2, ge=0, le=1, description="share of groups for the report")

    @model_validator(mode="after")
    def _whole(self) -> "SplitConfig":
        if abs(self.train + self.validation + self.test - 1) > 1e-9:
            raise ValueError(f"train, validation and test must add up to 1, found {self.train + self.validation + self.test:g}")
        return self


@dataclass(frozen=True, slots=True)
class Assignment:
    """One entry a product, oldest product first.

    Args:
        keys: products.
        groups: key of the product that founded each one's group.
        splits: one of SPLITS each.
        moved: products of the earlier catalog whose split changed because groups were joined (or the seed or shares changed).
    """

    keys: list[str]
    groups: list[str]
    splits: list[str]
    moved: int


def split_of(founder: str, config: SplitConfig) -> str:
    """A uniform number in [0, 1) from SHA-256(seed, founder), cut at the shares."""
    number = int.from_bytes(hashlib.sha256(f"{config.seed}\n{founder}".encode()).digest()[:8], "big") / 2**64
    if number < config.train:
        return "train"
    return "validation" if number < config.train + config.validation else "test"


def assign(keys: Sequence[str], components: np.ndarray, earlier: Sequence[tuple[str, str, str]], config: SplitConfig) -> Assignment:
    """Groups and splits of a catalog.

    Args:
        keys: n products in source order.
        components: int [n]: near-duplicates share a number.
        earlier: (key, group, split) of the catalog that this one follows, oldest first; empty for a first catalog.
        config: seed and shares.
    """
    index = {key: i for i, key in enumerate(keys)}
    old = [(key, group, split) for key, group, split in earlier if key in index]
    old_keys = {key for key, _, _ in old}
    order = [index[key] for key, _, _ in old] + [i for i, key in enumerate(keys) if key not in old_keys]

    founders: dict[int, str] = {}
    name_of_old = {key: group for key, group, _ in old}
    # Oldest first: the first product seen of a component names it, by the group it was in. So what was one group stays one by its name, also when the
    # product that linked its members is gone.
    for i in order:
        founders.setdefault(int(components[i]), name_of_old.get(keys[i], keys[i]))
    groups = [founders[int(components[i])] for i in order]
    splits = [split_of(group, config) for group in groups]
    moved = sum(before != now for (_, _, before), now in zip(old, splits, strict=False))
    return Assignment([keys[i] for i in order], groups, splits, moved)
