"""Weights carried from one tree to the next: what stays answers as before, what was cut shares its place, what was merged takes it together."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from prodcat.errors import TrainingError
from prodcat.model.fusion import FusionConfig, Modality
from prodcat.model.fusions.registry import build, pinned
from prodcat.model.hierarchy import HierarchicalHead, TreeArrays
from prodcat.recategorization.changes import Add, Change, Changed, Merge, Move, Part, Rename, Split, apply
from prodcat.taxonomy import HeadLayout, Taxonomy, parse_path
from prodcat.training.carried import carry, column_map

TREE = Taxonomy(
    parse_path(line)
    for line in ("Apparel > Shirts", "Apparel > Tshirts", "Apparel > Socks", "Footwear > Shoes", "Footwear > Sandals", "Footwear > Heels", "Watches")
)
WIDTH = 5


def carried(changes: Sequence[Change], stops: Sequence[str] = (), new_stops: Sequence[str] = ()) -> tuple["Head", "Head", Changed]:
    """A head with random weights over TREE, and the one that it becomes."""
    changed = apply(TREE, changes)
    old, new = layout(TREE, stops), layout(changed.tree, new_stops)
    before, after = Head(old, seed=1), Head(new, seed=2)
    state = carry(before.module.state_dict(), after.module, column_map(old, new, changed.forward, changed.backward))
    after.module.load_state_dict(state)
    return before, after, changed


def layout(tree: Taxonomy, stops: Sequence[str]) -> HeadLayout:
    return HeadLayout(tree, tuple(sorted(tree.index(parse_path(stop)) for stop in stops)))


class Head:
    """A head, and what it says of one product."""

    def __init__(self, columns: HeadLayout, seed: int) -> None:
        torch.manual_seed(seed)
        self.layout, self.module = columns, nn.ModuleDict({"head": HierarchicalHead(WIDTH, columns)})
        self._arrays = TreeArrays(columns)

    def given_parent(self, hidden: Tensor, *, flat: bool = False) -> dict[str, float]:
        """Category, or "stop PATH" -> its probability among its siblings."""
        with torch.inference_mode():
            logits = self.module["head"](hidden[None])
            found = (self._arrays.flat_log_softmax(logits) if flat else self._arrays.sibling_log_softmax(logits))[0].exp().tolist()
        tree = self.layout.tree
        names = [*map(str, tree.categories), *(f"stop {tree.categories[node]}" for node in self.layout.stops)]
        return dict(zip(names, found, strict=True))


PRODUCTS = torch.randn(20, WIDTH, generator=torch.Generator().manual_seed(0))
FORMAL, SPORTS = Part(name="Formal"), Part(name="Sports")


@pytest.mark.parametrize("flat", [False, True])
def test_parts_in_the_place_of_a_category_weigh_together_what_it_weighed(flat: bool) -> None:
    before, after, _ = carried([Split(path=("Footwear", "Shoes"), parts=(FORMAL, SPORTS), beside=True)])
    for product in PRODUCTS:
        was, now = before.given_parent(product, flat=flat), after.given_parent(product, flat=flat)
        assert now["Footwear > Formal"] + now["Footwear > Sports"] == pytest.approx(was["Footwear > Shoes"], rel=1e-4)
        same = set(was) & set(now)
        assert len(same) == len(TREE) - 1
        assert {name: now[name] for name in same} == pytest.approx({name: was[name] for name in same}, rel=1e-4)


@pytest.mark.parametrize("stop", [False, True])
def test_parts_below_a_category_are_alike_at_first_and_all_else_is_as_it_was(stop: bool) -> None:
    split = Split(path=("Footwear", "Shoes"), parts=(FORMAL, SPORTS))
    before, after, _ = carried([split], stops=("Apparel",), new_stops=("Apparel", "Footwear > Shoes") if stop else ("Apparel",))
    for product in PRODUCTS:
        was, now = before.given_parent(product), after.given_parent(product)
        share = 1 / 3 if stop else 1 / 2
        assert now.pop("Footwear > Shoes > Formal") == now.pop("Footwear > Shoes > Sports") == pytest.approx(share)
        assert now.pop("stop Footwear > Shoes", share) == pytest.approx(share)
        assert now == pytest.approx(was, rel=1e-5)


def test_parts_below_a_category_share_its_place_in_one_softmax_over_all_ends() -> None:
    before, after, _ = carried([Split(path=("Watches",), parts=(FORMAL, SPORTS))])
    for product in PRODUCTS:
        was, now = before.given_parent(product, flat=True), after.given_parent(product, flat=True)
        assert {name: now[name] for name in was} == pytest.approx(was, rel=1e-4)


def test_a_name_changes_nothing_though_columns_change_places() -> None:
    before, after, changed = carried([Rename(path=("Apparel",), name="Zebra wear"), Rename(path=("Footwear", "Shoes"), name="Aaa")])
    assert [category.id for category in changed.tree.categories] != [category.id for category in TREE.categories]
    for product in PRODUCTS:
        was, now = before.given_parent(product), after.given_parent(product)
        renamed = {str(changed.tree.categories[changed.tree.index_of_id(category.id)]): was[str(category)] for category in TREE.categories}
        assert now == pytest.approx(renamed, rel=1e-5)


TOPS = Merge(paths=(("Apparel", "Shirts"), ("Apparel", "Tshirts")), into=("Apparel", "Tops"))


def test_what_was_merged_answers_where_its_parts_did_and_leaves_other_groups_alone() -> None:
    before, after, _ = carried([TOPS])
    weights = dict(before.module["head"].linear.named_parameters())
    weight = after.module["head"].linear.weight[after.layout.tree.index(("Apparel", "Tops"))]
    rows = [TREE.index(("Apparel", name)) for name in ("Shirts", "Tshirts")]
    assert torch.allclose(weight, weights["weight"][rows].mean(dim=0))
    # Two that are equally likely keep their weight beside the others.
    with torch.no_grad():
        for parameter in weights.values():
            parameter[rows[1]] = parameter[rows[0]]
    columns = column_map(before.layout, after.layout, *_maps(before, after, [TOPS]))
    after.module.load_state_dict(carry(before.module.state_dict(), after.module, columns))
    for product in PRODUCTS:
        was, now = before.given_parent(product), after.given_parent(product)
        assert now["Apparel > Tops"] == pytest.approx(was["Apparel > Shirts"] + was["Apparel > Tshirts"], rel=1e-4)
        others = ("Footwear > Shoes", "Footwear > Heels", "Watches", "Apparel > Socks")
        assert {name: now[name] for name in others} == pytest.approx({name: was[name] for name in others}, rel=1e-4)


def _maps(before: Head, after: Head, changes: Sequence[Change]) -> tuple[dict[str, str | None], dict[str, str | None]]:
    changed = apply(before.layout.tree, changes)
    assert changed.tree == after.layout.tree
    return changed.forward, changed.backward


def test_a_category_that_moves_is_set_among_its_new_siblings_and_a_merge_upward_adds_nothing() -> None:
    before, after, _ = carried(
        [Move(path=("Watches",), parent=("Apparel",)), Merge(paths=(("Footwear",), ("Footwear", "Heels")), into=("Footwear",))]
    )
    tree = after.layout.tree
    linear, old = after.module["head"].linear, before.module["head"].linear
    assert torch.equal(linear.weight[tree.index(("Footwear",))], old.weight[TREE.index(("Footwear",))])
    # As far from the mean of its group as it was from that of the other one.
    tops = [TREE.index((name,)) for name in ("Apparel", "Footwear", "Watches")]
    apparel = [TREE.index(("Apparel", name)) for name in ("Shirts", "Tshirts", "Socks")]
    expected = old.weight[TREE.index(("Watches",))] - old.weight[tops].mean(dim=0) + old.weight[apparel].mean(dim=0)
    assert torch.allclose(linear.weight[tree.index(("Apparel", "Watches"))], expected, atol=1e-6)
    # However large a number is added to all logits of the group it comes from.
    with torch.no_grad():
        old.bias[tops] += 100
    changes = [Move(path=("Watches",), parent=("Apparel",)), Merge(paths=(("Footwear",), ("Footwear", "Heels")), into=("Footwear",))]
    again = carry(before.module.state_dict(), after.module, column_map(before.layout, after.layout, *_maps(before, after, changes)))
    place = tree.index(("Apparel", "Watches"))
    assert float(again["head.linear.bias"][place]) == pytest.approx(float(linear.bias[place].detach()), abs=1e-4)


def test_a_category_of_which_nothing_is_known_is_never_the_likeliest() -> None:
    before, after, _ = carried([Add(parent=("Footwear",), part=Part(name="Boots")), Add(parent=(), part=Part(name="Bags"))])
    for product in PRODUCTS:
        was, now = before.given_parent(product), after.given_parent(product)
        for prefix in ("Footwear > ", ""):
            before_best, after_best = (
                max((name for name in found if name.startswith(prefix) and name.count(" > ") == prefix.count(" > ")), key=found.__getitem__)
                for found in (was, now)
            )
            assert after_best == before_best
        assert now["Footwear > Boots"] < 1 / 9
        assert now["Apparel > Socks"] == pytest.approx(was["Apparel > Socks"], rel=1e-5)


@pytest.mark.parametrize("kind", ["late", "early", "attention"])
def test_every_kind_of_fusion_is_carried_and_another_kind_is_refused(kind: str) -> None:
    changed = apply(TREE, [Split(path=("Footwear", "Shoes"), parts=(FORMAL, SPORTS, Part(name="Casual")), beside=True)])
    modalities = [Modality(name, "text", 6, np.zeros(6, np.float32), np.ones(6, np.float32)) for name in ("one", "two")]
    config = FusionConfig.model_validate({"kind": kind, "width": 24, "heads": 2})
    old = build(modalities, TREE, config).eval()
    # The budget of a larger tree would make another width of it.
    new = build(modalities, changed.tree, pinned(modalities, TREE, changed.tree, config)).eval()
    columns = column_map(TREE.layout, changed.tree.layout, changed.forward, changed.backward)
    new.load_state_dict(carry(old.state_dict(), new, columns))
    given = {name: torch.randn(4, 6, generator=torch.Generator().manual_seed(3)) for name in ("one", "two")}
    present = torch.tensor([[True, True], [True, False], [False, True], [True, True]])
    with torch.inference_mode():
        was, now = (
            [TreeArrays(tree).sibling_log_softmax(logits).exp() for logits in (output.logits, *output.by_modality.values())]
            for tree, output in ((TREE, old(given, present)), (changed.tree, new(given, present)))
        )
    for before, after in zip(was, now, strict=True):
        for name in ("Heels", "Sandals"):
            assert torch.allclose(after[:, changed.tree.index(("Footwear", name))], before[:, TREE.index(("Footwear", name))], rtol=1e-4)
    with pytest.raises(TrainingError, match="is not among the weights to start from"):
        carry({}, new, columns)
    wider = build(modalities, changed.tree, config.model_copy(update={"parameters": 20_000}))
    with pytest.raises(TrainingError, match=r"the weights to start from are .*; train anew"):
        carry(old.state_dict(), wider, columns)
