"""Near-duplicates: products that would leak from train into test. Equal normalised title, or the same photograph.

Knows titles, hashes and thumbnails, not products and not files. Groups are the connected components of "is a near-duplicate of".

Why a thumbnail beside the hash: shop photos (one thing, centred, on white) share their low frequencies. On the 7,807 Myntra photos, pHash alone at
2 bits of 64 joins 356 different shoes and sunglasses into one group, at 4 bits 976, at 8 bits nearly half the shop. Re-encoded and resized copies
differ in up to 4 bits and up to 0.07 in the thumbnail (99 %; JPEG quality 40 at 96 pixels). Pairs within 4 bits, looked at: below 0.10 the same
photo or the same article photographed twice (112 pairs, largest group 3; with equal titles 21), from 0.10 to 0.15 colour variants and different
plain shirts on one model, above that merely similar shoes.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise

import imagehash
import numpy as np
from PIL import Image
from pydantic import Field
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from prodcat.config import Config

BITS = 64
# Below this standard deviation of grey levels (of 255), at 32x32 pixels, a perceptual hash is the hash of compression noise.
_FLAT = 2.0
_SMALL_SIDE = 32
_THUMBNAIL_SIDE = 16
# Bounds the memory of comparing: 4,096 pairs x 768 numbers x 4 bytes, a few times over.
_PAIRS_AT_A_TIME = 4096


class DuplicateConfig(Config):
    """What counts as a near-duplicate."""

    max_distance: int = Field(4, ge=0, le=16, description="bits of 64 in which the image hashes of near-duplicates may differ")
    max_difference: float = Field(0.10, ge=0, le=1, description="by which their 16x16 thumbnails may differ, relative to the image's own contrast")
    max_same_title: int | None = Field(
        None,
        ge=2,
        description="a title that more products share than this does not join them; null: equal titles always join, as no text model can part them",
    )


class _Dropped(dict[int, str | None]):
    """Translation table, filled as characters are met: punctuation and signs become spaces; marks stay, as the vowels of many scripts are marks."""

    def __missing__(self, code: int) -> str | None:
        category = unicodedata.category(chr(code))
        self[code] = result = " " if category[0] in "PZ" or category in ("So", "Cc", "Cf") else chr(code)
        return result


_DROPPED = _Dropped()
_DOTTED = re.compile("i\u0307+")


def title_key(title: str) -> str | None:
    """NFKC, casefold, punctuation and runs of space out: "T-Shirt,  BLUE" -> "t shirt blue". None if nothing is left."""
    text = unicodedata.normalize("NFKC", title.translate(_DROPPED)).casefold()
    # A Turkish capital with its dot becomes an i and a dot above it, which no small letter has.
    text = _DOTTED.sub("i", unicodedata.normalize("NFKC", text))
    return " ".join(text.translate(_DROPPED).split()) or None


def small_copy(image: Image.Image) -> Image.Image:
    """32x32 RGB: all that the hash and the thumbnail look at, reduced once for both."""
    return image.resize((_SMALL_SIDE, _SMALL_SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)


def image_hash(image: Image.Image) -> int | None:
    """pHash (imagehash.phash: signs of the 8x8 lowest DCT frequencies against their median) as 64 bits; None for a flat image.

    Args:
        image: best given as `small_copy`, as imagehash's own reduction of a large image costs more than the hash.
    """
    small = image.convert("L")
    if float(np.asarray(small, dtype=np.float32).std()) < _FLAT:
        return None
    return int.from_bytes(np.packbits(imagehash.phash(small).hash.ravel()).tobytes(), "big")


def thumbnail(image: Image.Image) -> bytes:
    """16x16 RGB, 768 bytes: what decides between the candidates that the hash finds. `image`: best given as `small_copy`."""
    return image.convert("RGB").resize((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.BOX).tobytes()


def near_duplicates(
    title_keys: Sequence[str | None], image_hashes: Sequence[int | None], thumbnails: Sequence[bytes | None], config: DuplicateConfig
) -> np.ndarray:
    """int [n]: the same number for products of one group.

    Args:
        title_keys: n normalised titles; None joins nothing.
        image_hashes: n 64-bit hashes; None joins nothing.
        thumbnails: n of `thumbnail`; needed where there is a hash.
        config: what counts.
    """
    n = len(title_keys)
    edges = [_equal_titles(title_keys, config.max_same_title), *_same_photos(image_hashes, thumbnails, config)]
    a, b = np.concatenate(edges, axis=1)
    _, components = connected_components(coo_array((np.ones(len(a), dtype=bool), (a, b)), shape=(n, n)), directed=False)
    return np.asarray(components)


def _equal_titles(title_keys: Sequence[str | None], most: int | None) -> np.ndarray:
    """int64 [2, e]: each product linked to the first of the same title."""
    members: dict[str, list[int]] = {}
    for i, key in enumerate(title_keys):
        if key is not None:
            members.setdefault(key, []).append(i)
    links = [(group[0], i) for group in members.values() if most is None or len(group) <= most for i in group[1:]]
    return np.array(links, dtype=np.int64).reshape(-1, 2).T


def _same_photos(image_hashes: Sequence[int | None], thumbnails: Sequence[bytes | None], config: DuplicateConfig) -> Iterator[np.ndarray]:
    """int64 [2, e] arrays of links between products that show one photograph."""
    # Equal pixels first, so that a shop's "no photo" picture in 100,000 products is one candidate and not 5,000,000,000 pairs.
    first_of: dict[tuple[int, bytes], int] = {}
    copies: list[tuple[int, int]] = []
    for i, (value, small) in enumerate(zip(image_hashes, thumbnails, strict=True)):
        if value is not None and small is not None:
            first = first_of.setdefault((value, small), i)
            if first != i:
                copies.append((first, i))
    yield np.array(copies, dtype=np.int64).reshape(-1, 2).T
    if len(first_of) < 2:
        return
    rows = np.fromiter(first_of.values(), dtype=np.int64)
    hashes = np.array([value for value, _ in first_of], dtype=np.uint64)
    pixels = np.frombuffer(b"".join(small for _, small in first_of), dtype=np.uint8).reshape(len(rows), -1, 3)
    contrasts = _contrasts(pixels)
    # Pigeonhole: cut into max_distance + 1 bands, two hashes that differ in max_distance bits agree in at least one band.
    bounds = np.linspace(0, BITS, config.max_distance + 2).astype(int)
    for low, high in pairwise(bounds):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        for a, b in _pairs_of_equal(band):
            near = np.bitwise_count(hashes[a] ^ hashes[b]) <= config.max_distance
            a, b = a[near], b[near]
            for start in range(0, len(a), _PAIRS_AT_A_TIME):
                here = slice(start, start + _PAIRS_AT_A_TIME)
                same = _differences(pixels, contrasts, a[here], b[here]) <= config.max_difference
                yield np.stack([rows[a[here][same]], rows[b[here][same]]])


def _contrasts(pixels: np.ndarray) -> np.ndarray:
    """float32 [m]: Euclidean distance of each thumbnail [m, 256, 3] from its own mean colour."""
    result = np.empty(len(pixels), dtype=np.float32)
    for start in range(0, len(pixels), _PAIRS_AT_A_TIME):
        some = pixels[start : start + _PAIRS_AT_A_TIME].astype(np.float32)
        result[start : start + _PAIRS_AT_A_TIME] = np.sqrt(((some - some.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 2)))
    return result


def _differences(pixels: np.ndarray, contrasts: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float32 [p]: Euclidean distance of two thumbnails over the smaller contrast: sunglasses on much white are judged as sharply as a full frame."""
    distance = np.sqrt(((pixels[a].astype(np.float32) - pixels[b]) ** 2).sum(axis=(1, 2)))
    return np.asarray(distance / np.maximum(np.minimum(contrasts[a], contrasts[b]), 1e-6))


def _pairs_of_equal(values: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Index pairs (a, b) of equal values, one neighbour distance in sorted order at a time: bounded memory, no Python loop over pairs."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    at = np.arange(len(values))
    step = 1
    while True:
        at = at[at + step < len(values)]
        at = at[ordered[at] == ordered[at + step]]
        if not len(at):
            return
        yield order[at], order[at + step]
        step += 1
