"""Feature sets on disk: read back aligned with any keys, and a changed product's old vector gone."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prodcat import contracts
from prodcat.encoders import features
from prodcat.encoders.features import FeatureSet
from prodcat.errors import ContractError
from prodcat.ledger import identities


def _rows(keys: list[str], digests: list[str], first: float) -> pa.Table:
    vectors = (first + np.arange(len(keys), dtype=np.float32))[:, None].repeat(3, axis=1)
    return pa.table({"key": keys, "digest": digests, "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 3)})


@pytest.fixture
def feature_set(tmp_path: Path) -> features.FeatureSet:
    features.write_part(tmp_path, _rows(["a", "b", "c"], ["1", "2", "3"], 10))
    features.write_part(tmp_path, _rows(["d", "e"], ["4", "5"], 20))
    return features.FeatureSet("vit", tmp_path, "f" * 64, 3, "image", 5, 5)


def test_read_follows_the_keys(feature_set: features.FeatureSet) -> None:
    vectors, present = features.read(feature_set, ["e", "nobody", "a", "d", "a"])
    assert vectors.dtype == np.float32
    assert vectors[:, 0].tolist() == [21, 0, 10, 20, 10]
    assert present.tolist() == [True, False, True, True, True]


def test_nothing_to_read(feature_set: features.FeatureSet, tmp_path: Path) -> None:
    assert features.read(feature_set, [])[0].shape == (0, 3)
    empty = features.FeatureSet("vit", tmp_path / "none", "f", 3, "image", 0, 0)
    vectors, present = features.read(empty, ["a"])
    assert vectors.tolist() == [[0, 0, 0]]
    assert not present.any()


def test_parts_follow_the_contract(feature_set: features.FeatureSet) -> None:
    for part in features.parts(feature_set.folder):
        assert pq.read_schema(part).equals(contracts.features(3))
    with pytest.raises(ContractError, match="embed"):
        features.write_part(feature_set.folder, _rows(["x"], ["1"], 0).append_column("extra", pa.array([1])))


def test_changed_products_lose_their_vector_and_unknown_ones_keep_it(feature_set: features.FeatureSet) -> None:
    keys, digests = ["b", "a", "d", "e"], ["new", "1", "new", "new"]
    features.drop_superseded(feature_set.folder, np.sort(identities(keys, [""] * 4)), np.sort(identities(keys, digests)))
    assert features.identities(feature_set.folder).tolist() == np.sort(identities(["a", "c"], ["1", "3"])).tolist()
    assert features.read(feature_set, ["a", "b", "c"])[0][:, 0].tolist() == [10, 0, 12]
    assert len(list(feature_set.folder.iterdir())) == 1


def test_a_set_of_another_size_is_named(feature_set: features.FeatureSet) -> None:
    wrong = features.FeatureSet("vit", feature_set.folder, "f", 4, "image", 5, 5)
    with pytest.raises(ContractError, match="vectors of 3 numbers, expected are 4"):
        features.read(wrong, ["a"])


def test_products_looked_at_in_vain_are_remembered_under_the_same_conditions_only(feature_set: features.FeatureSet) -> None:
    assert len(features.without(feature_set.folder, "20 MB")) == 0
    features.note_without(feature_set.folder, identities(["x"], ["9"]), "20 MB")
    assert features.without(feature_set.folder, "20 MB").tolist() == identities(["x"], ["9"]).tolist()
    assert len(features.without(feature_set.folder, "90 MB")) == 0
    # They are no part of the set.
    assert len(features.identities(feature_set.folder)) == 5
    assert features.read(feature_set, ["x"])[1].tolist() == [False]


def test_a_part_is_named_by_its_rows_and_a_row_stands_once(feature_set: FeatureSet) -> None:
    folder = feature_set.folder
    before = features.parts(folder)
    # A task that ran twice, and a run whose driver was killed while its last part was on the way.
    features.write_part(folder, _rows(["d", "e"], ["4", "5"], 20))
    assert features.parts(folder) == before
    features.write_part(folder, _rows(["e", "f"], ["5", "6"], 30))
    (folder / ".part-x.parquet.0").write_bytes(b"half")
    assert features.settle(folder) == 6
    assert not list(folder.glob(".*"))
    assert features.read(feature_set, ["a", "f"])[0][:, 0].tolist() == [10, 31]
    assert sorted(row for part in features.parts(folder) for row in pq.read_table(part)["key"].to_pylist()) == list("abcdef")


def test_a_part_that_was_changed_is_refused_by_name(feature_set: FeatureSet) -> None:
    features.settle(feature_set.folder)
    part = features.parts(feature_set.folder)[0]
    pq.write_table(pq.read_table(part).slice(1), part)
    with pytest.raises(ContractError, match=f"{part.name}: its SHA-256 is not the one in manifest.json"):
        features.read(feature_set, ["a", "b", "c", "d", "e"])
