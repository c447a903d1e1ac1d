"""A catalog to try everything on: four drawn shops, written as FEEDS in four formats, with every nuisance of real feeds at a known rate.

Deterministic by seed. Nothing is downloaded. Images are drawn by demo_photos.py, words are demo_words.py's.

    nordwald.parquet   German; image bytes in the file; prodcat's own column names; clean white photos
    urbanly.csv        English; ';' between fields, image paths, own column names: urbanly.mapping.yaml
    atelier.jsonl      French; images as base64, the category in one column: atelier.mapping.yaml
    bazaar.json        a marketplace in three languages; stuffed titles, cluttered photos, image paths
    _truth.json        what is really what: true path, and which nuisance each product has (names with "_" are no feeds)
"""

import base64
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from prodcat.catalog.demo_photos import PhotoStyle, jpeg, photograph
from prodcat.catalog.demo_words import ADJECTIVES, BRANDS, COLLECTIONS, COLOURS, DESCRIPTIONS, LANGUAGES, LEAVES
from prodcat.errors import FeedError
from prodcat.taxonomy import CategoryPath, format_path

# Shares of all products.
MISSING_IMAGE = 0.10
SILENT_TITLE = 0.12
WRONG_LABEL = 0.02
SHALLOW_LABEL = 0.05
DUPLICATE = 0.04

_SHARES = {"nordwald": 0.3, "urbanly": 0.3, "atelier": 0.2, "bazaar": 0.2}
_STYLES = {
    "nordwald": PhotoStyle((128, 128), (252, 252, 252), 0.0, (1.0, 1.0, 1.0), 0, 6),
    "urbanly": PhotoStyle((120, 160), (226, 224, 218), 0.25, (1.05, 1.0, 0.92), 0, 14),
    "atelier": PhotoStyle((112, 144), (238, 226, 226), 0.1, (0.95, 0.97, 1.06), 1, 10),
    "bazaar": PhotoStyle((96, 144), (188, 176, 158), 0.35, (1.0, 0.96, 0.88), 4, 25),
}


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """What was written, in numbers that ingestion must find again.

    Args:
        out: folder of the feeds.
        feeds: the four files.
        products: products that ingestion must make of them.
        rejects: rows that it must reject, by reason.
        image_problems: images that it must refuse while keeping the product, by reason.
        missing_images: products whose feed gives no image.
        silent_titles: products whose title does not name the category, so that the image is needed.
        wrong_labels: products with another leaf's label.
        shallow_labels: products labelled at an inner node only.
        duplicates: products that are another one again: title in capitals, image re-encoded.
        leaves: leaves of the tree.
    """

    out: Path
    feeds: tuple[Path, ...]
    products: int
    rejects: dict[str, int]
    image_problems: dict[str, int]
    missing_images: int
    silent_titles: int
    wrong_labels: int
    shallow_labels: int
    duplicates: int
    leaves: int

    def lines(self) -> list[str]:
        """For printing."""
        return [
            f"{self.products:,} products in {len(self.feeds)} feeds and {len(LANGUAGES)} languages, {self.leaves} leaves: {self.out}",
            f"{self.missing_images} without image, {self.silent_titles} with a title that hides the category, {self.wrong_labels} wrongly labelled, "
            f"{self.shallow_labels} labelled above the leaf, {self.duplicates} duplicates, {sum(self.rejects.values())} broken rows, "
            f"{sum(self.image_problems.values())} broken images",
        ]


@dataclass(frozen=True, slots=True)
class _Item:
    platform: str
    product_id: str
    title: str
    description: str
    brand: str
    language: str
    truth: CategoryPath
    label: CategoryPath
    image: bytes | None
    silent: bool
    copy_of: str | None = None


def write_demo(out: Path, *, products: int = 1500, seed: int = 0) -> DemoSummary:
    """Draws and writes the feeds.

    Args:
        out: folder; made if need be. Feeds of the same names are written anew, other files stay.
        products: how many rows become products.
        seed: another seed, another catalog.

    Raises:
        FeedError: fewer than 40 products: not every nuisance would have a place.
    """
    if products < 40:
        raise FeedError(f"a demo of {products} products: at least 40 are needed for four shops with every nuisance")
    rng = np.random.default_rng(seed)
    out.mkdir(parents=True, exist_ok=True)
    items: list[_Item] = []
    for platform in _SHARES:
        items.extend(_shop(platform, _shop_size(platform, products), rng))
    shops = {platform: [item for item in items if item.platform == platform] for platform in _SHARES}
    feeds = (
        _write_nordwald(out / "nordwald.parquet", shops["nordwald"]),
        _write_urbanly(out / "urbanly.csv", shops["urbanly"]),
        _write_atelier(out / "atelier.jsonl", shops["atelier"]),
        _write_bazaar(out / "bazaar.json", shops["bazaar"]),
    )
    _write_truth(out / "_truth.json", items)
    return DemoSummary(
        out=out,
        feeds=feeds,
        products=len(items),
        rejects={"broken_line": 2, "bad_json": 1, "duplicate_key": 1, "nothing_to_read": 1, "label_has_gap": 1},
        image_problems={"image_not_an_image": 1, "image_not_found": 1},
        missing_images=sum(item.image is None for item in items),
        silent_titles=sum(item.silent for item in items),
        wrong_labels=sum(item.label != item.truth[: len(item.label)] for item in items),
        shallow_labels=sum(len(item.label) < len(item.truth) and item.label == item.truth[: len(item.label)] for item in items),
        duplicates=sum(item.copy_of is not None for item in items),
        leaves=len(LEAVES),
    )


def _shop_size(platform: str, products: int) -> int:
    others = sum(int(products * share) for name, share in _SHARES.items() if name != "bazaar")
    return products - others if platform == "bazaar" else int(products * _SHARES[platform])


def _shop(platform: str, count: int, rng: np.random.Generator) -> list[_Item]:
    leaves = list(LEAVES)
    weights = rng.uniform(0.5, 1.5, len(leaves))  # every shop has its own assortment
    order = rng.choice(len(leaves), count, p=weights / weights.sum())
    copies = round(count * DUPLICATE)
    items = [_product(platform, number, leaves[leaf], rng) for number, leaf in enumerate(order[: count - copies], 1)]
    originals = rng.permutation(len(items))[:copies]
    items.extend(_copy(items[original], len(items) + n, rng) for n, original in enumerate(originals, 1))
    return items


def _product(platform: str, number: int, truth: CategoryPath, rng: np.random.Generator) -> _Item:
    chance = rng.random(4)
    language = {"nordwald": 1, "urbanly": 0, "atelier": 2, "bazaar": int(rng.choice(3, p=[0.5, 0.25, 0.25]))}[platform]
    rgb, colour_names = COLOURS[int(rng.integers(len(COLOURS)))]
    brand = str(rng.choice(BRANDS[platform]))
    silent = bool(chance[0] < SILENT_TITLE)
    # A silent title with no image would leave nothing to go by, for a model or a person.
    has_image = silent or bool(chance[1] < 1 - MISSING_IMAGE / (1 - SILENT_TITLE))
    label = truth
    if chance[2] < WRONG_LABEL:
        others = [leaf for leaf in LEAVES if leaf != truth]
        label = others[int(rng.integers(len(others)))]
    elif len(truth) > 1 and chance[3] < SHALLOW_LABEL:
        label = truth[:-1]
    collection = str(rng.choice(COLLECTIONS))
    noun = f"{collection} {int(rng.integers(100, 1000))}" if silent else str(rng.choice(LEAVES[truth][language]))
    title = _title(platform, language, noun, str(rng.choice(ADJECTIVES[language])), colour_names[language], brand, "" if silent else collection, rng)
    return _Item(
        platform=platform,
        product_id=f"{platform[:2].upper()}{number:05d}",
        title=title,
        description=DESCRIPTIONS[language].format(days=int(rng.integers(1, 8))),
        brand=brand,
        language=LANGUAGES[language],
        truth=truth,
        label=label,
        image=jpeg(photograph(truth[-1], rgb, _STYLES[platform], rng), int(rng.integers(78, 92))) if has_image else None,
        silent=silent,
    )


def _title(platform: str, language: int, noun: str, adjective: str, colour: str, brand: str, collection: str, rng: np.random.Generator) -> str:
    """Each shop's way of speaking."""
    if platform == "nordwald":
        words = f"{noun} {collection} {adjective}, {colour}"
    elif platform == "urbanly":
        words = f"{brand} {adjective} {noun} {collection} in {colour}"
    elif platform == "atelier":
        words = f"{noun} {adjective} {colour} - {collection or brand}"
    else:
        shout = ("NEW! {} 2024 free shipping", "NEU! {} 2024 Gratisversand", "NOUVEAU ! {} 2024 livraison gratuite")[language]
        size = ("S/M/L", "one size", "2 pcs", "XL")[int(rng.integers(4))]
        words = shout.format(f"{brand} {noun} {adjective} {colour} {collection} {size}")
    return " ".join(words.replace(" ,", ",").split())


def _copy(item: _Item, number: int, rng: np.random.Generator) -> _Item:
    """The same article once more under another id."""
    image = item.image
    if image is not None:
        picture = Image.open(io.BytesIO(image))
        side = int(picture.width * rng.uniform(0.85, 1.0))
        image = jpeg(picture.resize((side, side), Image.Resampling.LANCZOS), 72)
    # Half of the copies also change the words, so that only the image tells.
    title = item.title.upper() if image is None or rng.random() < 0.5 else f"{item.title} ({number})"
    return replace(item, product_id=f"{item.platform[:2].upper()}{number:05d}", title=title, image=image, copy_of=item.product_id)


def _levels(label: Sequence[str]) -> dict[str, str | None]:
    return {f"level{level}": label[level - 1] if level <= len(label) else None for level in (1, 2, 3)}


def _plain(item: _Item) -> dict[str, object]:
    names = ("platform", "product_id", "title", "description", "brand", "language")
    return {**{name: getattr(item, name) for name in names}, **_levels(item.label)}


def _write_nordwald(file: Path, items: list[_Item]) -> Path:
    rows = [{**_plain(item), "image": item.image} for item in items]
    # One article is exported twice, one row is empty but for its id.
    rows.append(dict(rows[0]))
    rows.append({"platform": "nordwald", "product_id": "NO99999"})
    columns = [*_plain(items[0]), "image"]
    schema = pa.schema([(name, pa.binary() if name == "image" else pa.string()) for name in columns])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file, row_group_size=128)
    return file


def _write_urbanly(file: Path, items: list[_Item]) -> Path:
    folder = file.parent / "urbanly_images"
    folder.mkdir(exist_ok=True)
    lines: list[list[str]] = []
    pictured = [item for item in items if item.image is not None and not item.silent]
    not_an_image, not_found = pictured[0], pictured[1]
    for item in items:
        path = ""
        if item.image is not None:
            path = f"urbanly_images/{item.product_id}.jpg"
            if item is not not_found:
                (file.parent / path).write_bytes(b"<html>404 Not Found</html>" if item is not_an_image else item.image)
        levels = [name or "" for name in _levels(item.label).values()]
        lines.append([item.product_id, item.title, item.description, item.brand, *levels, path])
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=";", lineterminator="\n")
    writer.writerow(["sku", "name", "text", "label", "department", "group", "type", "photo"])
    writer.writerows(lines)
    text = buffer.getvalue().splitlines()
    # Two broken lines: one cut off, one with a quote that never closes. And a type without a group.
    text[10:10] = ["UR99991;Cut off he", 'UR99992;"6 inch heel;Easy to care for.;Urbanly;Footwear;Shoes;Heels;']
    text.append("UR99993;Label with a gap;;Urbanly;Apparel;;Jeans;")
    file.write_text("\n".join(text) + "\n", encoding="utf-8")
    (file.parent / "urbanly.mapping.yaml").write_text(
        "# Which column of urbanly.csv is what.\n"
        'delimiter: ";"\nplatform: {value: urbanly}\nproduct_id: sku\ntitle: name\ndescription: text\nbrand: label\nlanguage: {value: en}\n'
        "label: {columns: [department, group, type]}\nlabel_source: {value: platform_category}\nimage: photo\nimage_is: path\n",
        encoding="utf-8",
    )
    return file


def _write_atelier(file: Path, items: list[_Item]) -> Path:
    lines = []
    for item in items:
        row = {"ref": item.product_id, "titre": item.title, "texte": item.description, "marque": item.brand, "rayon": format_path(item.label)}
        if item.image is not None:
            row["image_base64"] = base64.b64encode(item.image).decode()
        lines.append(json.dumps(row, ensure_ascii=False))
    lines.insert(7, '{"ref": "AT99991", "titre": "Ligne coup')
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (file.parent / "atelier.mapping.yaml").write_text(
        "# Which key of atelier.jsonl is what. Without `platform`, the file's name is the shop's.\n"
        'product_id: ref\ntitle: titre\ndescription: texte\nbrand: marque\nlanguage: {value: fr}\nlabel: {column: rayon, separator: ">"}\n'
        "image: image_base64\nimage_is: base64\n",
        encoding="utf-8",
    )
    return file


def _write_bazaar(file: Path, items: list[_Item]) -> Path:
    folder = file.parent / "bazaar_images"
    folder.mkdir(exist_ok=True)
    rows = []
    for item in items:
        row = _plain(item)
        if item.image is not None:
            row["image"] = f"bazaar_images/{item.product_id}.jpg"
            (folder / f"{item.product_id}.jpg").write_bytes(item.image)
        rows.append({key: value for key, value in row.items() if value is not None})
    file.write_text(json.dumps({"generated": "demo", "products": rows}, ensure_ascii=False, indent=1), encoding="utf-8")
    return file


def _write_truth(file: Path, items: list[_Item]) -> None:
    truth = {
        f"{item.platform}/{item.product_id}": {
            "path": list(item.truth),
            "label": list(item.label),
            "title_names_category": not item.silent,
            "copy_of": f"{item.platform}/{item.copy_of}" if item.copy_of else None,
        }
        for item in items
    }
    file.write_text(json.dumps(truth, ensure_ascii=False, indent=1), encoding="utf-8")
