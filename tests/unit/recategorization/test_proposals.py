"""Proposals: what the clusters of a branch say of its categories."""

import json

import numpy as np

from prodcat.recategorization.changes import Add, Merge, Rename, Split, apply
from prodcat.recategorization.clusters import Clusters
from prodcat.recategorization.naming import NamingConfig, name_clusters
from prodcat.recategorization.proposals import Branch, Proposal, ProposalConfig, propose
from prodcat.taxonomy import CategoryPath, Taxonomy

SHOES: CategoryPath = ("Footwear", "Shoes")
TREE = Taxonomy([(*SHOES, "Casual"), (*SHOES, "Formal"), (*SHOES, "Loafers"), ("Footwear", "Sandals")])


def branch(groups: list[tuple[CategoryPath | None, str, int]], path: CategoryPath = SHOES, alone: int = 0) -> Branch:
    """A cluster a title: all products with the same title are one cluster; the last `alone` products are in none."""
    labels = [label for label, _, count in groups for _ in range(count)]
    titles = [title for _, title, count in groups for _ in range(count)]
    n = len(labels)
    names = list(dict.fromkeys(titles[: n - alone]))
    members = [np.array([row for row in range(n - alone) if titles[row] == title]) for title in names]
    vectors = np.eye(len(names) + 1, dtype=np.float32)[[names.index(title) if title in names else len(names) for title in titles]]
    clusters = Clusters(tuple(members), np.arange(n - alone, n), tuple(() for _ in range(n)))
    named = name_clusters([[titles[row] for row in rows.tolist()] for rows in members], path, [], NamingConfig())
    keys = [f"{'ab'[row % 2]}/{row}" for row in range(n)]
    return Branch(path, keys, [key[0] for key in keys], titles, labels, vectors, clusters, named)


def changes(proposals: list[Proposal]) -> list[object]:
    return [proposal.change for proposal in proposals]


def test_a_category_in_two_clusters_is_split_and_one_in_its_own_is_left() -> None:
    groups = [
        ((*SHOES, "Casual"), "canvas sneaker", 30),
        ((*SHOES, "Casual"), "running trainer", 20),
        ((*SHOES, "Formal"), "leather formal oxford", 25),
    ]
    (proposal,) = propose(branch(groups), TREE, ProposalConfig())
    change = proposal.change
    assert isinstance(change, Split)
    assert change.path == (*SHOES, "Casual")
    assert [(part.name, len(part.products)) for part in change.parts] == [("Canvas Sneaker", 30), ("Running Trainer", 20)]
    assert [(each["products"], each["platforms"], each["tightness"]) for each in proposal.evidence] == [
        (30, {"a": 15, "b": 15}, 1.0),
        (20, {"a": 10, "b": 10}, 1.0),
    ]
    # It can be made, and the products go where they were found.
    changed = apply(TREE, [change])
    assert len(changed.assigned) == 50
    json.dumps([each.model_dump(mode="json") for each in [proposal]])


def test_products_that_no_category_explains_are_a_new_one() -> None:
    groups = [((*SHOES, "Casual"), "casual sneaker", 30), (SHOES, "rain boot", 12), (None, "rain boot", 8), ((*SHOES, "Formal"), "formal oxford", 9)]
    (proposal,) = propose(branch(groups), TREE, ProposalConfig())
    assert isinstance(proposal.change, Add)
    assert proposal.change.parent == SHOES
    assert proposal.change.part.name == "Rain Boot"
    assert len(proposal.change.part.products) == 20


def test_a_leaf_that_falls_apart_is_split_below() -> None:
    sandals = ("Footwear", "Sandals")
    (proposal,) = propose(branch([(sandals, "flat slide", 20), (sandals, "wedge heel", 20)], sandals), TREE, ProposalConfig())
    assert isinstance(proposal.change, Split)
    assert {part.name for part in proposal.change.parts} == {"Flat Slide", "Wedge Heel"}


def test_categories_that_share_a_cluster_are_merged_into_the_larger() -> None:
    groups = [((*SHOES, "Loafers"), "slip on shoe", 20), ((*SHOES, "Casual"), "slip on shoe", 30), ((*SHOES, "Formal"), "formal oxford", 25)]
    (proposal,) = propose(branch(groups), TREE, ProposalConfig())
    assert proposal.change == Merge(paths=((*SHOES, "Casual"), (*SHOES, "Loafers")), into=(*SHOES, "Casual"))
    assert "30 of 30" in proposal.reason


def test_a_category_nobody_calls_by_its_name_gets_another() -> None:
    groups = [((*SHOES, "Casual"), "canvas sneaker", 30), ((*SHOES, "Formal"), "formal oxford", 25), ((*SHOES, "Loafers"), "loafer slip", 25)]
    (proposal,) = propose(branch(groups), TREE, ProposalConfig())
    assert proposal.change == Rename(path=(*SHOES, "Casual"), name="Canvas Sneaker")
    assert "'Casual'" in proposal.reason


def test_no_name_is_proposed_where_titles_give_none_or_speak_for_a_part_alone() -> None:
    formal = ((*SHOES, "Formal"), "formal oxford", 25)
    assert propose(branch([((*SHOES, "Casual"), "42", 30), formal]), TREE, ProposalConfig()) == []
    # Two in three of the category lie in no cluster: what a third is called is not its name.
    some = [((*SHOES, "Casual"), "canvas sneaker", 10), formal, ((*SHOES, "Casual"), "odd", 20)]
    assert propose(branch(some, alone=20), TREE, ProposalConfig()) == []


def test_nothing_found_is_nothing_proposed() -> None:
    assert propose(branch([]), TREE, ProposalConfig()) == []
    assert propose(branch([(SHOES, "odd", 3)], alone=3), TREE, ProposalConfig()) == []
    whole = [((*SHOES, name), f"{name.lower()} thing", 20) for name in ("Casual", "Formal", "Loafers")]
    assert propose(branch(whole), TREE, ProposalConfig()) == []


def test_the_same_proposal_has_the_same_id_and_largest_come_first() -> None:
    groups = [
        ((*SHOES, "Casual"), "canvas sneaker", 30),
        ((*SHOES, "Casual"), "running trainer", 20),
        (SHOES, "rain boot", 60),
        ((*SHOES, "Formal"), "formal oxford", 25),
    ]
    found = propose(branch(groups), TREE, ProposalConfig())
    assert found == propose(branch(groups), TREE, ProposalConfig())
    assert [type(change) for change in changes(found)] == [Add, Split]
    assert len({proposal.id for proposal in found}) == 2
    assert {proposal.base for proposal in found} == {TREE.hash}
