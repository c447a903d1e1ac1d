"""A folder as `recategorize` writes it, made by hand over a small catalog: one proposal of each kind, and one that clashes with another."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from prodcat.catalog.ingest import IngestConfig, ingest
from prodcat.catalog.store import Catalog
from prodcat.recategorization.changes import Add, Change, Merge, Move, Part, Rename, Split
from prodcat.recategorization.proposal_file import save_proposals
from prodcat.recategorization.proposals import Proposal
from prodcat.taxonomy import parse_path

BOOTS, SHOES = parse_path("Footwear > Shoes > Boots"), parse_path("Footwear > Shoes")
# What a shop's title may hold: no tag that ingestion knows and takes out, and yet an element where a page lets it be one.
HOSTILE = "<x-owned onclick=\"document.title='owned'\">"


def write_catalog(feeds: Path, out: Path) -> Catalog:
    """The demo's feeds, and a product whose title would run if a page let it."""
    hostile = out.with_name("hostile.jsonl")
    levels = {f"level{number}": name for number, name in enumerate(BOOTS, 1)}
    hostile.write_text(json.dumps({"product_id": "1", "platform": "shady", "title": f"boots {HOSTILE}", **levels}) + "\n")
    ingest([str(feeds), str(hostile)], out, IngestConfig(chunk_rows=100))
    return Catalog.open(out)


def keys_below(catalog: Catalog, path: tuple[str, ...]) -> list[str]:
    rows = catalog.products(["key", "path"]).to_pylist()
    return [row["key"] for row in rows if tuple((row["path"] or ())[: len(path)]) == path]


def evidence(keys: list[str], **more: Any) -> dict[str, Any]:
    platforms = sorted({key.split("/")[0] for key in keys})
    return {
        "products": len(keys),
        "platforms": {name: sum(key.startswith(name + "/") for key in keys) for name in platforms},
        "exemplars": keys[-2:],
        "terms": ["ankle", "rain", HOSTILE],
        "nearest": [{"category": "Footwear > Shoes > Loafers", "likeness": 0.7113}],
        "tightness": 0.8312,
        "stability": 0.94,
        **more,
    }


def changes(catalog: Catalog) -> dict[str, tuple[Change, str]]:
    """Id -> (change, reason)."""
    boots = keys_below(catalog, BOOTS)
    half = len(boots) // 2
    return {
        "split": (
            Split(path=BOOTS, parts=(Part(name="Ankle Boots", products=tuple(boots[:half])), Part(name="Rain Boots", products=tuple(boots[half:])))),
            f"{len(boots)} of {len(boots)} products fall into 2 clusters of their own",
        ),
        "add": (
            Add(parent=SHOES, part=Part(name="Slip-Ons", products=tuple(keys_below(catalog, parse_path("Gift Cards"))))),
            f"products of 'Footwear > Shoes' that are of no category below it lie by themselves {HOSTILE}",
        ),
        "merge": (
            Merge(paths=(("Accessories", "Headwear", "Caps"), ("Accessories", "Headwear", "Beanies")), into=("Accessories", "Headwear", "Caps")),
            "one cluster holds 7 of 7 of 'Caps', 7 of 7 of 'Beanies'",
        ),
        "rename": (Rename(path=("Accessories", "Sunglasses"), name="Eyewear"), "next to no title of it has a word of 'Sunglasses'"),
        "move": (Move(path=("Home", "Kitchen"), parent=()), "it has little in common with the rest of 'Home'"),
        "clash": (Rename(path=BOOTS, name="Stiefel"), "another name for what is also to be split"),
    }


def write_proposed(folder: Path, catalog: Catalog) -> None:
    tree = catalog.taxonomy
    assert tree is not None
    proposals = []
    for name, (change, reason) in changes(catalog).items():
        if isinstance(change, Add | Split):
            told = tuple(evidence(list(part.products)) for part in change.parts)
        else:
            paths = change.paths if isinstance(change, Merge) else (change.path,)
            told = (evidence([key for path in paths for key in keys_below(catalog, path)]),)
        proposals.append(Proposal(id=name, base=tree.hash, change=change, reason=reason, evidence=told))
    save_proposals(folder, proposals, tree.hash)
    tree.save(folder / "taxonomy.json")
    branches = [{"path": list(path), "folder": f"branches/{path[-1].lower()}"} for path in (("Footwear",), SHOES, ("Accessories",))]
    for branch in branches:
        (folder / str(branch["folder"])).mkdir(parents=True)
    Image.new("RGB", (64, 48), "teal").save(folder / "branches/shoes/map.png")
    index = {"format": 1, "base": tree.hash, "catalog": str(catalog.path), "catalog_digest": catalog.digest, "branches": branches}
    (folder / "recategorization.json").write_text(json.dumps(index))
