"""Contract 7: a split never cuts a group, depends on nothing but the seed, and does not move when the catalog grows."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodcat.catalog.splits import SplitConfig, assign, split_of
from prodcat.config import validate
from prodcat.errors import ConfigError

CONFIG = SplitConfig()


def _table(keys: list[str], labels: list[int], earlier: list[tuple[str, str, str]] | None = None) -> list[tuple[str, str, str]]:
    done = assign(keys, np.array(labels), earlier or [], CONFIG)
    return list(zip(done.keys, done.groups, done.splits, strict=True))


def test_shares_come_out() -> None:
    counts = Counter(split_of(f"shop/{n}", CONFIG) for n in range(10_000))
    assert counts["train"] == pytest.approx(7000, abs=200)
    assert counts["validation"] == pytest.approx(1000, abs=120)
    assert split_of("shop/1", CONFIG) == split_of("shop/1", SplitConfig())
    assert any(split_of(f"shop/{n}", CONFIG) != split_of(f"shop/{n}", SplitConfig(seed=1)) for n in range(50))


def test_shares_must_be_whole() -> None:
    with pytest.raises(ConfigError, match="add up to 1"):
        validate(SplitConfig, {"train": 0.9}, "test")


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(0, 40))
def test_growing_moves_no_old_product(labels: list[int], old_count: int) -> None:
    """Rows are appended, and none of the newcomers links two old groups."""
    keys = [f"s/{n}" for n in range(len(labels))]
    old = _table(keys[:old_count], labels[:old_count]) if 0 < old_count <= len(keys) else []
    grown = _table(keys, labels, old)
    was = {key: split for key, _, split in old}
    assert {key: split for key, _, split in grown if key in was} == was
    assert [key for key, _, _ in grown] == keys
    of_group = {group: split for _, group, split in grown}
    assert all(of_group[group] == split for _, group, split in grown)
    assert len(of_group) == len(set(labels))


def test_new_feeds_read_first_do_not_become_founders() -> None:
    old = _table(["s/1", "s/2"], [0, 1])
    grown = _table(["a/1", "s/1", "s/2"], [0, 0, 1], old)
    assert [(key, group) for key, group, _ in grown] == [("s/1", "s/1"), ("s/2", "s/2"), ("a/1", "s/1")]


def test_a_newcomer_that_links_two_groups_takes_the_younger_to_the_older() -> None:
    names = [f"s/{n}" for n in range(60)]
    oldest = names[0]
    other = next(name for name in names if split_of(name, CONFIG) != split_of(oldest, CONFIG))
    old = _table([oldest, other], [0, 1])
    done = assign([oldest, other, "s/link"], np.array([0, 0, 0]), old, CONFIG)
    assert set(done.groups) == {oldest}
    assert set(done.splits) == {split_of(oldest, CONFIG)}
    assert done.moved == 1


def test_a_group_outlives_its_founder_and_its_link() -> None:
    first = _table(["s/1", "s/2", "s/3"], [0, 0, 0])
    # s/1 is gone, and without it s/2 and s/3 are no near-duplicates of each other any more.
    later = _table(["s/2", "s/3"], [0, 1], first)
    assert later == [row for row in first if row[0] != "s/1"]
