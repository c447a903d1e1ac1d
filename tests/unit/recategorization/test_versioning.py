"""Catalogs under the versions of their tree: applied, brought forward, held against each other; and what is refused by name."""

import json
from collections import Counter
from pathlib import Path

import pytest

from prodcat.catalog.chunks import IngestConfig
from prodcat.catalog.ingest import ingest
from prodcat.catalog.store import Catalog, content_digest
from prodcat.commands.taxonomy import run_apply, run_diff, run_history, run_relabel
from prodcat.errors import FeedError, TaxonomyError
from prodcat.recategorization.changes import Change, Merge, Part, Rename, Split
from prodcat.recategorization.decisions import Decision, Trail, decide
from prodcat.recategorization.proposal_file import save_proposals
from prodcat.recategorization.proposals import Proposal
from prodcat.taxonomy import CategoryPath, Taxonomy, parse_path
from prodcat.versioning import BY_PROPOSAL, Relabelled, apply_changes, bring_forward, differences, differences_of_versions, history_of, tree_of

AT = "2026-11-26T10:00:00+00:00"
LABELS = ["Footwear > Shoes"] * 6 + ["Footwear > Sandals"] * 3 + ["Apparel > Shirts"] * 3 + ["Watches"] * 2 + [None]
SPLIT = Split(
    path=("Footwear", "Shoes"),
    parts=(Part(name="Formal", products=("shop/0", "shop/1", "shop/99")), Part(name="Sports", products=("shop/2", "shop/14"))),
    beside=True,
)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return made(tmp_path, "one", LABELS)


def made(folder: Path, name: str, labels: list[str | None], taxonomy: Taxonomy | None = None) -> Catalog:
    """Products in files of four, and a row that is none."""
    rows = [
        {"platform": "shop", "product_id": str(row), "title": f"thing number {row} {chr(97 + row) * 5}", "path": parse_path(label) if label else None}
        for row, label in enumerate(labels)
    ]
    feed = folder / f"{name}.jsonl"
    feed.write_text("".join(f"{json.dumps(row)}\n" for row in [*rows, {**rows[0], "title": "twice"}]))
    (folder / f"{name}.mapping.yaml").write_text("label: {column: path}\n")
    ingest([str(feed)], folder / name, IngestConfig(chunk_rows=4), taxonomy=taxonomy)
    return Catalog.open(folder / name)


def apply(catalog: Catalog, changes: list[Change], out: Path, by: str = "Ada") -> Relabelled:
    return apply_changes(catalog, tree_of(catalog).hash, changes, out, by=by, at=AT)


def labels(catalog: Catalog) -> dict[str, CategoryPath | None]:
    return {row["key"]: tuple(row["path"]) if row["path"] else None for row in catalog.products(["key", "path"]).to_pylist()}


def test_the_next_version_has_new_labels_and_everything_else_as_it_was(catalog: Catalog, tmp_path: Path) -> None:
    done = apply(catalog, [SPLIT, Rename(path=("Watches",), name="Clocks")], tmp_path / "two")
    new = Catalog.open(tmp_path / "two")
    assert Counter(labels(new).values()) == {
        ("Footwear",): 3,
        ("Footwear", "Formal"): 2,
        ("Footwear", "Sports"): 2,
        ("Footwear", "Sandals"): 3,
        ("Apparel", "Shirts"): 3,
        ("Clocks",): 2,
    }
    assert new.splits().equals(catalog.splits())
    assert new.rejected().equals(catalog.rejected())
    assert catalog.rejected().num_rows == 1
    assert len(new.product_files()) == len(catalog.product_files()) == 4
    same = [name for name in catalog.products().column_names if name not in ("path", "label_source")]
    assert new.products(same).equals(catalog.products(same))
    sources = dict(zip(new.products(["key"])["key"].to_pylist(), new.products(["label_source"])["label_source"].to_pylist(), strict=True))
    assert {key for key, source in sources.items() if source == BY_PROPOSAL} == {"shop/0", "shop/1", "shop/2", "shop/14"}
    assert new.digest == content_digest(new.products(["key", "digest", "path"])) != catalog.digest
    assert (catalog.summary()["labelled"], new.summary()["labelled"]) == (14, 15)
    assert new.config() == catalog.config()
    assert (done.changed, done.assigned, done.lost_products, done.missing) == (9, 4, 0, 1)
    assert done.products == {"Footwear > Formal": 2, "Footwear > Sports": 2}
    assert "1 products of the proposals are not in the catalog any more" in done.lines()
    assert history_of(catalog).version == 1
    assert history_of(new).version == 2
    # The catalog before is not touched.
    assert Counter(labels(catalog).values())[("Footwear", "Shoes")] == 6


def test_products_of_a_category_that_is_gone_with_nothing_above_it_lose_their_label_and_are_told(catalog: Catalog, tmp_path: Path) -> None:
    done = apply(catalog, [Split(path=("Watches",), parts=(Part(name="Clocks", products=("shop/12",)),), beside=True)], tmp_path / "two")
    assert (done.lost, done.lost_products) == (("shop/13",), 1)
    assert labels(done.catalog)["shop/13"] is None
    assert done.catalog.products(["label_source"])["label_source"].to_pylist()[13] is None
    assert done.catalog.summary()["labelled"] == 13


def test_versions_follow_on_each_other_and_old_labels_are_brought_to_the_last(catalog: Catalog, tmp_path: Path) -> None:
    two = apply(catalog, [SPLIT], tmp_path / "two").catalog
    three = apply(two, [Rename(path=("Footwear",), name="Shoes and more")], tmp_path / "three", by="Grace").catalog
    history = history_of(three)
    assert [(step.by, step.at) for step in history.steps] == [("Ada", AT), ("Grace", AT)]
    assert [history.tree(number, tree_of(three)).hash for number in (1, 2, 3)] == [tree_of(each).hash for each in (catalog, two, three)]
    # As assigned, too, and whatever version the labels are of.
    for number, old in ((1, catalog), (2, two)):
        again = bring_forward(old, three, tmp_path / f"again{number}")
        assert labels(again.catalog) == labels(three)
        assert again.catalog.digest == three.digest
        assert history_of(again.catalog) == history
    nothing = bring_forward(three, three, tmp_path / "nothing")
    assert (nothing.changed, nothing.catalog.digest) == (0, three.digest)


def test_a_feed_of_some_categories_says_which_version_its_labels_are_of(catalog: Catalog, tmp_path: Path) -> None:
    two = apply(catalog, [SPLIT, Merge(paths=(("Apparel", "Shirts"), ("Watches",)), into=("Apparel", "Shirts"))], tmp_path / "two").catalog
    feed = made(tmp_path, "feed", ["Footwear > Shoes", "Watches", None])
    with pytest.raises(TaxonomyError, match="that of no version from 1 to 2; all its labels are known to version 1: name one with --from"):
        bring_forward(feed, two, tmp_path / "out")
    done = bring_forward(feed, two, tmp_path / "out", version=1)
    # The keys are the other catalog's, and so is what was assigned.
    assert labels(done.catalog) == {"shop/0": ("Footwear", "Formal"), "shop/1": ("Footwear", "Formal"), "shop/2": ("Footwear", "Sports")}
    with pytest.raises(TaxonomyError, match="no version 3"):
        bring_forward(feed, two, tmp_path / "other", version=3)
    with pytest.raises(TaxonomyError, match="'Footwear > Shoes' is not in the tree"):
        bring_forward(feed, two, tmp_path / "other", version=2)
    assert not (tmp_path / "other").exists()


def test_what_does_not_fit_is_refused_by_name_and_leaves_nothing(catalog: Catalog, tmp_path: Path) -> None:
    base = tree_of(catalog).hash
    two = apply(catalog, [SPLIT], tmp_path / "two").catalog
    out = tmp_path / "out"
    with pytest.raises(TaxonomyError, match=r"the proposals were made on .*: the tree changed meanwhile; propose again"):
        apply_changes(two, base, [SPLIT], out, by="Ada", at=AT)
    with pytest.raises(TaxonomyError, match="both change 'Footwear > Shoes'"):
        apply(catalog, [SPLIT, Rename(path=("Footwear", "Shoes"), name="Boots")], out)
    with pytest.raises(TaxonomyError, match="two categories would be 'Footwear > Sandals'"):
        apply(catalog, [Split(path=("Footwear", "Shoes"), parts=(Part(name="Sandals"),), beside=True)], out)
    with pytest.raises(TaxonomyError, match="nothing to change"):
        apply(catalog, [], out)
    assert not out.exists()
    with pytest.raises(FeedError, match=r"two: holds a catalog; choose a new folder"):
        apply(catalog, [SPLIT], tmp_path / "two")
    with pytest.raises(FeedError, match="is no catalog; choose a new or empty folder"):
        apply(catalog, [SPLIT], tmp_path)
    (two.path / "history.json").unlink()
    with pytest.raises(FeedError, match=r"history\.json"):
        Catalog.open(two.path)


def test_a_catalog_that_grows_keeps_the_history_of_its_tree_and_of_no_other(catalog: Catalog, tmp_path: Path) -> None:
    two = apply(catalog, [SPLIT], tmp_path / "two").catalog
    feed = tmp_path / "more.jsonl"
    feed.write_text(json.dumps({"platform": "shop", "product_id": "0", "title": "thing", "path": ["Footwear", "Formal"]}) + "\n")
    (tmp_path / "more.mapping.yaml").write_text("label: {column: path}\n")
    ingest([str(feed)], two.path, IngestConfig(), taxonomy=tree_of(two))
    assert history_of(Catalog.open(two.path)).version == 2
    ingest([str(feed)], two.path, IngestConfig())
    assert history_of(Catalog.open(two.path)).version == 1


def test_what_lies_between_two_catalogs_or_two_versions_of_one(catalog: Catalog, tmp_path: Path) -> None:
    two = apply(catalog, [SPLIT], tmp_path / "two").catalog
    three = apply(two, [Rename(path=("Footwear",), name="Shoes and more")], tmp_path / "three").catalog
    rows = {(row["what"], row["old"], row["new"], row["had"], row["has"]) for row in differences(catalog, three)}
    assert rows == {
        ("removed", "Footwear > Shoes", "Shoes and more", 6, 10),
        ("renamed", "Footwear", "Shoes and more", 9, 10),
        ("added", "Footwear > Shoes", "Shoes and more > Formal", 6, 2),
        ("added", "Footwear > Shoes", "Shoes and more > Sports", 6, 2),
    }
    known = {(what, old, new): (None, has) for what, old, new, _, has in rows}
    assert {(row["what"], row["old"], row["new"]): (row["had"], row["has"]) for row in differences_of_versions(three, 1, 3)} == known
    earlier = differences_of_versions(three, 1, 2)
    assert {(row["what"], row["new"], row["has"]) for row in earlier} == {
        ("removed", "Footwear", None),
        ("added", "Footwear > Formal", None),
        ("added", "Footwear > Sports", None),
    }
    with pytest.raises(TaxonomyError, match="name an earlier and a later version"):
        differences_of_versions(three, 2, 2)
    # Trees without a common history are told apart by their ids.
    other = made(tmp_path, "other", ["Footwear > Shoes", "Bags", None])
    found = {(row["what"], row["old"], row["new"]) for row in differences(catalog, other)}
    assert ("added", None, "Bags") in found
    assert ("removed", "Watches", None) in found
    assert not [row for row in found if row[1] == "Footwear"]
    assert run_diff(catalog.path, catalog.path, first=None, last=None)["lines"] == ["no difference"]
    lines = run_diff(three.path, None, first=None, last=None)["lines"]
    assert len(lines) == 2
    assert lines[1].split("  ")[0] == "renamed"
    assert run_history(three.path)["lines"][0].startswith("version 3: 7 categories")


def test_accepted_proposals_of_a_review_are_applied(catalog: Catalog, tmp_path: Path) -> None:
    tree = tree_of(catalog)
    proposals = [
        Proposal(id="split", base=tree.hash, change=SPLIT, reason="they differ", evidence=()),
        Proposal(id="rename", base=tree.hash, change=Rename(path=("Watches",), name="Clocks"), reason="their titles say so", evidence=()),
    ]
    folder = tmp_path / "proposals"
    folder.mkdir()
    save_proposals(folder, proposals, tree.hash)
    tree.save(folder / "taxonomy.json")
    with pytest.raises(TaxonomyError, match="no proposal is accepted"):
        run_apply(catalog.path, folder, tmp_path / "two", by=None, say=print)
    trail = Trail(folder / "trail.jsonl")
    decide(trail, proposals[0], Decision(by="Ada", proposal="split", action="rename", part=0, name="Dress shoes"))
    decide(trail, proposals[0], Decision(by="Grace", proposal="split", action="accept"))
    decide(trail, proposals[1], Decision(by="Ada", proposal="rename", action="reject"))
    said: list[str] = []
    found = run_apply(catalog.path, folder, tmp_path / "two", by=None, say=said.append)
    assert (found["version"], found["assigned"], found["missing"]) == (2, 4, 1)
    assert said[0] == "  split 'Footwear > Shoes' into Dress shoes, Sports"
    new = Catalog.open(tmp_path / "two")
    assert ("Footwear", "Dress shoes") in tree_of(new)
    assert ("Watches",) in tree_of(new)
    assert history_of(new).steps[0].by == "Grace"
    with pytest.raises(TaxonomyError, match="the tree changed meanwhile"):
        run_apply(new.path, folder, tmp_path / "three", by=None, say=print)
    again = run_relabel(catalog.path, new.path, tmp_path / "again", version=None, say=print)
    assert Catalog.open(Path(again["catalog"])).digest == new.digest
