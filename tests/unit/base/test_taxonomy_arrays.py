"""The arrays of a Taxonomy, on random ragged trees: what masks, losses and decoders rely on."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from prodcat.taxonomy import CategoryPath, Taxonomy

# Few names, so that paths share prefixes and one name stands under several parents; some sort before and after their neighbours' separators.
NAMES = st.sampled_from(["a", "b", "ab", "A", "a-b", "a b", "é", "鞋"])
PATHS = st.lists(st.lists(NAMES, min_size=1, max_size=5).map(tuple), min_size=1, max_size=25)


@given(PATHS)
def test_levels_and_siblings_are_slices(paths: list[CategoryPath]) -> None:
    tree = Taxonomy(paths)
    assert np.array_equal(np.concatenate([np.arange(len(tree))[level] for level in tree.level_slices]), np.arange(len(tree)))
    for number, level in enumerate(tree.level_slices, 1):
        assert (tree.levels[level] == number).all()
    for node in range(-1, len(tree)):
        children = np.flatnonzero(tree.children_mask(node))
        if len(children):
            assert np.array_equal(children, np.arange(children[0], children[-1] + 1))
            names = [tree.categories[i].name for i in children]
            assert names == sorted(names)
            assert len(set(tree.sibling_groups[children])) == 1


@given(PATHS)
def test_sibling_groups_partition_the_nodes_by_parent(paths: list[CategoryPath]) -> None:
    tree = Taxonomy(paths)
    assert tree.sibling_groups.tolist() == (np.searchsorted(tree.sibling_starts, np.arange(len(tree)), side="right") - 1).tolist()
    by_parent = {(int(parent), int(group)) for parent, group in zip(tree.parents, tree.sibling_groups, strict=True)}
    assert len(by_parent) == len(set(tree.parents.tolist())) == len(tree.sibling_starts)


@given(PATHS)
def test_parents_leaves_and_paths_agree_with_the_names(paths: list[CategoryPath]) -> None:
    tree = Taxonomy(paths)
    expected = {path[:n] for path in paths for n in range(1, len(path) + 1)}
    assert {category.path for category in tree.categories} == expected
    for i, category in enumerate(tree.categories):
        assert tree.index(category.path) == i == tree.index_of_id(category.id)
        assert tree.levels[i] == category.level == len(category.path)
        assert (tree.parents[i] == -1) if category.level == 1 else (tree.categories[tree.parents[i]].path == category.path[:-1])
        assert tree.is_leaf[i] == (not tree.children(category.path))
        row = tree.path_indices[i]
        assert [tree.categories[n].name for n in row[: category.level]] == list(category.path)
        assert (row[category.level :] == -1).all()


@given(PATHS)
def test_targets_follow_the_label_and_stop_where_it_stops(paths: list[CategoryPath]) -> None:
    tree = Taxonomy(paths)
    targets = tree.targets([*paths, None, ()])
    assert targets.shape == (len(paths) + 2, tree.depth)
    assert (targets[-2:] == -1).all()
    for path, row in zip(paths, targets, strict=False):
        assert [tree.categories[n].path for n in row if n >= 0] == [path[:n] for n in range(1, len(path) + 1)]


@given(PATHS, st.randoms())
def test_hash_does_not_depend_on_order_or_repetition(paths: list[CategoryPath], random) -> None:
    shuffled = [*paths, *paths]
    random.shuffle(shuffled)
    assert Taxonomy(shuffled).hash == Taxonomy(paths).hash
