"""Weights of a model of one tree as the start of a model of the next: all but the heads as they are, the heads column by column.

A softmax among siblings does not see what is added to all their logits alike, so a column means something beside its siblings only. A group of
siblings that stays as it was keeps its columns to the bit, and answers as before. A column that comes from another group is moved by the difference
of the two groups' means. What a category was cut into shares its place: the parts get its column, less the log of their number, so that together
they weigh what it weighed, and their siblings answer as before. What was merged gets the mean of the columns, and that log more. Where nothing is
known of a category beside its siblings, it gets their mean, which is never the likeliest, and where there are none, nothing.

Shapes: C and C' columns (taxonomy.HeadLayout) of the old and the new tree.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix, lil_matrix
from torch import Tensor, nn

from prodcat.errors import TrainingError
from prodcat.model.fusions.late import LateFusion
from prodcat.model.hierarchy import HierarchicalHead
from prodcat.taxonomy import HeadLayout


@dataclass(frozen=True)
class ColumnMap:
    """Old columns to new ones: new = rows @ old + shift.

    Args:
        rows: float64 [C', C].
        shift: float64 [C'], of the bias.
    """

    rows: csr_matrix
    shift: np.ndarray

    def weight(self, old: Tensor) -> Tensor:
        """[C, W] -> [C', W]."""
        return torch.from_numpy(np.ascontiguousarray(self.rows @ old.double().numpy())).to(old.dtype)

    def bias(self, old: Tensor, *, corrects: bool = False) -> Tensor:
        """[C] -> [C']. Args: corrects: of logits that are added to others, which have the shift."""
        return torch.from_numpy(self.rows @ old.double().numpy() + (0.0 if corrects else self.shift)).to(old.dtype)


def column_map(old: HeadLayout, new: HeadLayout, forward: Mapping[str, str | None], backward: Mapping[str, str | None]) -> ColumnMap:
    """
    Args:
        forward: id of an old category -> id of the new one that its labels are read as; None: none.
        backward: id of a new category -> id of the old one that stands for it; None: none.
    """
    sources = _sources(old, new, forward, backward)
    rows, shift = lil_matrix((len(new), len(old))), np.zeros(len(new))
    members = {group: np.flatnonzero(old.groups == group) for group in np.unique(old.groups).tolist()}
    for group in np.unique(new.groups).tolist():
        columns = np.flatnonzero(new.groups == group).tolist()
        # The group that most of these come from: it says what a logit of 0 means here.
        homes = Counter(int(old.groups[source]) for column in columns for source in sources[column].columns)
        home = min(homes, key=lambda each: (-homes[each], each)) if homes else None
        here = [column for column in columns if home is not None and any(old.groups[source] == home for source in sources[column].columns)]
        for column in columns:
            found = sources[column]
            for source in found.columns:
                rows[column, source] += 1 / len(found.columns)
                if home is not None and old.groups[source] != home:
                    for sign, of in ((-1, members[int(old.groups[source])]), (1, members[home])):
                        rows[column, of] = rows[column, of].toarray() + sign / len(of) / len(found.columns)
            if found.columns:
                beside = sum(int(old.groups[source]) == home for source in found.columns)
                shift[column] = math.log(max(1, beside)) - math.log(found.parts)
        for column in columns:
            if sources[column].columns:
                continue
            for other in here:
                rows[column] = rows[column] + rows[other] / len(here)
            known = [shift[other] for other in here]
            shift[column] = float(np.mean(known)) - math.log(len(here)) if here else -math.log(len(columns))
    return ColumnMap(rows.tocsr(), shift)


@dataclass(frozen=True)
class _Source:
    """Where a new column comes from.

    Args:
        columns: old ones; none: nothing is known of it beside its siblings.
        parts: how many share the place.
    """

    columns: tuple[int, ...]
    parts: int = 1


def _sources(old: HeadLayout, new: HeadLayout, forward: Mapping[str, str | None], backward: Mapping[str, str | None]) -> list[_Source]:
    was = {category.id: column for column, category in enumerate(old.tree.categories)}
    now = {category.id for category in new.tree.categories}
    stops = {old.tree.categories[node].id: column for column, node in enumerate(old.stops, len(old.tree))}
    merged: dict[str, list[int]] = {}
    for identifier, column in was.items():
        target = forward.get(identifier)
        if identifier in now or target is None:
            continue
        above = old.tree.path_indices[column]
        # What went up into the category above it was part of that already.
        if target not in was or was[target] not in above:
            merged.setdefault(target, []).append(column)
    cut = {category.id: backward.get(category.id) for category in new.tree.categories if category.id not in was and category.id not in merged}
    # A category that gave its place away; not one that stays above its parts.
    cut = {identifier: source for identifier, source in cut.items() if source is not None and source not in now}
    group_of = {category.id: int(group) for category, group in zip(new.tree.categories, new.groups, strict=False)}
    parts = Counter((source, group_of[identifier]) for identifier, source in cut.items())
    found = []
    for category in new.tree.categories:
        own = [was[category.id]] if category.id in was else []
        source = cut.get(category.id)
        if source is not None:
            found.append(_Source((was[source],), parts[source, group_of[category.id]]))
        else:
            found.append(_Source((*own, *merged.get(category.id, ()))))
    for node in new.stops:
        stop = stops.get(new.tree.categories[node].id)
        found.append(_Source((stop,) if stop is not None else ()))
    return found


def carry(state: Mapping[str, Tensor], module: nn.Module, columns: ColumnMap) -> dict[str, Tensor]:
    """
    Args:
        state: of a module like this over the old tree.
        module: over the new tree.

    Returns:
        A state for `module`.

    Raises:
        TrainingError: a tensor that is missing, or of another shape, and belongs to no head: the two are not models of one kind.
    """
    heads = {name for name, part in module.named_modules() if isinstance(part, HierarchicalHead)}
    corrects = {f"{name}.head".lstrip(".") for name, part in module.named_modules() if isinstance(part, LateFusion)}
    found = {}
    for name, own in module.state_dict().items():
        if name not in state:
            raise TrainingError(f"{name}: is not among the weights to start from, which are of another kind of model; train anew with `prodcat fit`")
        value, head = state[name], name.removesuffix(".linear.weight").removesuffix(".linear.bias")
        if head in heads:
            value = columns.weight(value) if value.ndim == 2 else columns.bias(value, corrects=head in corrects)
        if value.shape != own.shape:
            raise TrainingError(f"{name}: the weights to start from are {tuple(value.shape)}, not {tuple(own.shape)}; train anew with `prodcat fit`")
        found[name] = value.contiguous()
    return found
