"""PRODUCTS to FEATURES through Ray Data equals the plain towers, encodes only what is new, and leaves out what cannot be read."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import ValidationError

from prodcat import contracts
from prodcat.encoders import features
from prodcat.encoders.distributed import EmbedConfig, Source, embed, embed_sources
from prodcat.encoders.encoder import EncoderConfig, ImageScratch, ScratchConfig, TextScratch, load, obtain
from prodcat.encoders.inputs import product_text
from prodcat.images import ImageLimits, decode

# Ray Data warns of its own defaults when it makes its first context.
pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\.data.*")

TINY = ScratchConfig(
    text=TextScratch(layers=1, width=16, heads=2, vocabulary=320), image=ImageScratch(size=32, patch=16, layers=1, width=12, heads=3), embed_dim=8
)
CONFIG = EmbedConfig(batch_size=4, rows_per_part=8, threads=3)


def _jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 5, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((50, 60)).save(stream, "JPEG")
    return stream.getvalue()


def _catalog() -> list[dict]:
    """22 products: 3 has no title but a description, 5 neither; 7 has no image, 9 one that does not decode."""
    rows = []
    for number in range(22):
        title = None if number in (3, 5) else f"blue shirt {'long ' * number}number {number}"
        image = None if number == 7 else b"\xff\xd8\xff not a photo" if number == 9 else _jpeg(number)
        description = "a description stands in" if number == 3 else None
        rows.append(
            {"key": f"shop/{number}", "platform": "shop", "product_id": str(number), "title": title, "description": description, "image": image}
        )
    return rows


def _write(rows: list[dict], folder: Path) -> list[str]:
    """Two files, as a catalog may have them."""
    full = [
        row | {"digest": hashlib.sha256(repr((row["title"], row["description"], row["image"])).encode()).hexdigest(), "source": "feed", "row": number}
        for number, row in enumerate(rows, 1)
    ]
    folder.mkdir(exist_ok=True)
    files = [folder / "part-0.parquet", folder / "part-1.parquet"]
    for file, half in zip(files, (full[:15], full[15:]), strict=True):
        pq.write_table(contracts.rows_to_table(half, contracts.PRODUCTS), file, row_group_size=6)
    return [str(file) for file in files]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Encoder folders of a ViT and a CLIP."""
    root = tmp_path_factory.mktemp("encoders")
    for family in ("vit", "clip"):
        obtain(EncoderConfig(family=family, scratch=TINY, max_tokens=32), root / family, ["blue shirt long number"])
    return {"vit": root / "vit", "clip": root / "clip"}


def test_features_equal_the_towers_and_only_new_products_are_encoded(folders: dict[str, Path], tmp_path: Path) -> None:
    rows = _catalog()
    keys = [row["key"] for row in rows]
    progress: list[tuple[str, int, int]] = []
    limits = ImageLimits()
    files = _write(rows, tmp_path / "products")
    sets = embed(files, folders, tmp_path / "features", CONFIG, limits=limits, on_progress=lambda *told: progress.append(told))

    assert {name: (s.reads, s.dim, s.rows, s.new_rows, s.unreadable) for name, s in sets.items()} == {
        "vit": ("image", 24, 20, 20, 1),
        "clip_image": ("image", 8, 20, 20, 1),
        "clip_text": ("text", 8, 21, 21, 0),
    }
    for name, feature_set in sets.items():
        tower = load(folders[name.split("_")[0]]).towers[feature_set.reads]
        assert feature_set.fingerprint == tower.fingerprint
        assert feature_set.folder.name == f"{name}-{tower.fingerprint[:16]}"
        vectors, present = features.read(feature_set, keys)
        if feature_set.reads == "text":
            expected_present = [number != 5 for number in range(22)]
            texts = [product_text(row["title"], row["description"], None, tower.fields) for row in rows]
            expected = tower.encode(tower.prepare([text for text in texts if text is not None]))
        else:
            expected_present = [number not in (7, 9) for number in range(22)]
            images = [decode(row["image"], limits, at_least=tower.at_least) for row, there in zip(rows, expected_present, strict=True) if there]
            expected = tower.encode(tower.prepare(images))
        assert present.tolist() == expected_present
        np.testing.assert_allclose(vectors[present], expected, atol=1e-5)
        mine = [(done, total) for told, done, total in progress if told == name]
        assert mine[0] == (0, 22)
        assert mine[-1] == (22, 22)
        assert sorted(mine) == mine
        for part in features.parts(feature_set.folder):
            assert pq.read_schema(part).equals(contracts.features(feature_set.dim))

    # A second run starts nothing on the cluster: its answer comes at once, from what is there.
    told: list[tuple[str, int, int]] = []
    again = embed(files, folders, tmp_path / "features", CONFIG, limits=limits, on_progress=lambda *line: told.append(line))
    assert told == []
    assert {name: (s.rows, s.new_rows) for name, s in again.items()} == {name: (s.rows, 0) for name, s in sets.items()}

    rows[2]["title"] = "a wholly different red dress"
    files = _write(rows, tmp_path / "products")
    changed = embed(files, folders, tmp_path / "features", CONFIG, limits=limits)
    assert {name: (s.rows, s.new_rows) for name, s in changed.items()} == {name: (s.rows, 1) for name, s in sets.items()}
    before, after = (features.read(each["clip_text"], keys)[0] for each in (sets, changed))
    tower = load(folders["clip"]).towers["text"]
    np.testing.assert_allclose(after[2], tower.encode(tower.prepare([rows[2]["title"]]))[0], atol=1e-5)
    np.testing.assert_array_equal(np.delete(after, 2, axis=0), np.delete(before, 2, axis=0))


def test_sources_of_one_pass_stay_apart(folders: dict[str, Path], tmp_path: Path) -> None:
    """The same keys in two files, with other titles in the second, of which nobody wants the images."""
    rows, encoder = _catalog(), {"clip": folders["clip"]}
    others = [row | {"title": f"red dress number {number}"} for number, row in enumerate(rows)]
    sources = {
        "as they are": Source(_write(rows, tmp_path / "products"), tmp_path / "features"),
        "otherwise": Source(_write(others, tmp_path / "others"), tmp_path / "features_otherwise", ["text"]),
    }
    progress: list[tuple[str, int, int]] = []
    made = embed_sources(sources, encoder, CONFIG, limits=ImageLimits(), on_progress=lambda *told: progress.append(told))
    assert {name: set(sets) for name, sets in made.items()} == {"as they are": {"clip_image", "clip_text"}, "otherwise": {"clip_text"}}
    assert [told for told in progress if told[1] == told[2]][-1:] == [("otherwise clip_text", 22, 22)]
    keys = [row["key"] for row in rows]
    tower = load(folders["clip"]).towers["text"]
    for name, shown in (("as they are", rows), ("otherwise", others)):
        vectors, present = features.read(made[name]["clip_text"], keys)
        texts = [product_text(row["title"], row["description"], None, tower.fields) for row in shown]
        assert present.tolist() == [text is not None for text in texts]
        np.testing.assert_allclose(vectors[present], tower.encode(tower.prepare([text for text in texts if text is not None])), atol=1e-5)
    # What one source has gained is embedded for that one.
    sources["otherwise"] = Source(_write(others[:20] + rows[20:], tmp_path / "others"), tmp_path / "features_otherwise", ["text"])
    again = embed_sources(sources, encoder, CONFIG, limits=ImageLimits())
    assert {(name, kind): found.new_rows for name, sets in again.items() for kind, found in sets.items()} == {
        ("as they are", "clip_image"): 0,
        ("as they are", "clip_text"): 0,
        ("otherwise", "clip_text"): 2,
    }


def test_an_empty_catalog_gives_empty_sets(folders: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "empty.parquet"
    pq.write_table(contracts.PRODUCTS.empty_table(), file)
    for files in ([], [str(file)]):
        sets = embed(files, {"vit": folders["vit"]}, tmp_path / "features", CONFIG, limits=ImageLimits())
        assert (sets["vit"].rows, sets["vit"].new_rows, sets["vit"].dim) == (0, 0, 24)
        assert features.read(sets["vit"], ["a"])[1].tolist() == [False]


def test_stages_that_ray_would_fuse_are_refused() -> None:
    with pytest.raises(ValidationError, match="make them differ"):
        EmbedConfig(actor_cpus=0.4, prepare_cpus=0.4)
