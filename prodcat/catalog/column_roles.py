"""Which column is which field of a product, proposed from the columns' names and values, with the reason. Reads no file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prodcat.catalog.column_facts import IMAGE_KINDS, ColumnFacts, facts_of, is_empty, json_list, separator_in
from prodcat.catalog.column_names import levels_by_name, role_by_name, role_by_word, speaks_of_kinds
from prodcat.catalog.mapping import FeedMapping
from prodcat.catalog.records import repeats_title

_PROSE = frozenset(("text", "code"))
# An id is there in nearly every row and comes nearly once.
_ID_FILLED, _ID_UNIQUE = 0.98, 0.95
# A text this long, in characters, describes; a title is shorter.
_LONG = 110
# Of the rows, the share whose path ends in the product's own title before that is taken off.
_TITLES_IN_PATHS = 0.2
_SEPARATED = 0.3
_BY_VALUE = "by its values"
_OWN_NAME = "prodcat's own name for it"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A field of the mapping: the value its key gets, and why. None: the feed has no such column."""

    value: Any
    why: str


def propose(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Proposal], list[ColumnFacts]]:
    """(key of the mapping -> proposal, facts of every column).

    Args:
        columns: names, in the feed's order.
        rows: a sample of the feed's rows.
    """
    cells = {name: [row.get(name) for row in rows] for name in columns}
    facts = [facts_of(name, cells[name]) for name in columns]
    taken: dict[str, Proposal] = {}
    used: set[str] = set()

    def take(key: str, found: tuple[ColumnFacts, str] | None) -> None:
        # The sample may have missed what a column of this name holds further down.
        found = found or next(
            (
                (fact, "by its name; empty in the rows looked at")
                for fact in facts
                if not fact.filled and (role_by_name(fact.name) or [None])[0] == key
            ),
            None,
        )
        taken[key] = Proposal(found[0].name, found[1]) if found else Proposal(None, "no column looks like it")
        if found:
            used.add(found[0].name)

    def free() -> list[ColumnFacts]:
        return [fact for fact in facts if fact.name not in used and fact.filled > 0]

    take("image", _best(free(), "image", lambda fact: fact.kind in IMAGE_KINDS) or _by_value(free(), lambda fact: fact.kind in IMAGE_KINDS))
    take("title", _best(free(), "title", _may_be_title) or _by_value(free(), _is_title, key=lambda fact: fact.unique * fact.filled))
    take("product_id", _best(free(), "product_id", _may_be_id) or _by_value(free(), _is_id))
    if taken["product_id"].value is None:
        taken["product_id"] = Proposal(None, "no column is surely an id; rows are counted, so ids change when rows are inserted")
    prose = [fact for fact in free() if fact.kind == "text"]
    take(
        "description",
        _best(prose, "description", lambda fact: fact.words > 2) or _by_value(prose, lambda fact: fact.length > _LONG, key=lambda fact: fact.length),
    )
    take("brand", _best(free(), "brand", lambda fact: fact.kind in _PROSE))
    if taken["brand"].value is not None and next(fact for fact in facts if fact.name == taken["brand"].value).constant:
        taken["brand"] = Proposal(taken["brand"].value, taken["brand"].why + ", the same in every row looked at")
    for key in ("platform", "language"):
        found = _best(free(), key, lambda fact: fact.kind in _PROSE, whole_name=True)
        if found:
            take(key, found)
    title = taken["title"].value
    category, label = _category(free(), cells, cells[title] if title is not None else [None] * len(rows))
    own = FeedMapping()
    if own.raw_category in columns:
        category = Proposal(own.raw_category, _OWN_NAME)
    levels = [name for name in (own.label.columns if own.label is not None else None) or () if name in columns]
    if levels and any(fact.name == levels[0] and fact.filled for fact in facts):
        label = Proposal({"columns": levels}, _OWN_NAME)
    taken["raw_category"], taken["label"] = category, label
    if own.label_source in columns:
        taken["label_source"] = Proposal(own.label_source, _OWN_NAME)
    return taken, facts


def _best(facts: Sequence[ColumnFacts], field: str, fits: Any, whole_name: bool = False) -> tuple[ColumnFacts, str] | None:
    """The column whose name says `field` most surely and whose values fit."""
    named = [(role[1], fact) for fact in facts if (role := role_by_name(fact.name)) is not None and role[0] == field and fits(fact)]
    if named:
        return min(named, key=lambda entry: entry[0])[1], "by its name"
    if whole_name:
        return None
    worded = [fact for fact in facts if role_by_word(fact.name) == field and fits(fact)]
    return (max(worded, key=lambda fact: (fact.filled, fact.unique)), "by a word in its name") if worded else None


def _by_value(facts: Sequence[ColumnFacts], fits: Any, key: Any = None) -> tuple[ColumnFacts, str] | None:
    found = [fact for fact in facts if role_by_name(fact.name) is None and fits(fact)]
    if not found:
        return None
    return (max(found, key=key) if key is not None else found[0]), _BY_VALUE


def _may_be_title(fact: ColumnFacts) -> bool:
    return fact.kind in ("text", "code") and fact.length < 2 * _LONG


def _is_title(fact: ColumnFacts) -> bool:
    return fact.kind == "text" and fact.words >= 2 and fact.unique >= 0.5 and fact.filled >= 0.5 and fact.length <= _LONG


def _may_be_id(fact: ColumnFacts) -> bool:
    return fact.filled >= _ID_FILLED and fact.unique >= _ID_UNIQUE and fact.kind not in IMAGE_KINDS


def _is_id(fact: ColumnFacts) -> bool:
    """Numbers without a name that says so may be counts, prices or times; a code or a hash of one value a row is hardly anything else."""
    return _may_be_id(fact) and fact.unique == 1 and (fact.kind in ("hex", "code", "url") or (fact.kind == "text" and fact.words == 1))


# The category.


def _category(facts: Sequence[ColumnFacts], cells: Mapping[str, list[Any]], titles: list[Any]) -> tuple[Proposal, Proposal]:
    """(raw_category, label)."""
    kinds = [fact for fact in facts if fact.kind in ("text", "code", "json_list", "url", "other") and not fact.constant]
    levels = levels_by_name([fact.name for fact in kinds])
    if levels:
        return Proposal(levels[-1], "by its name"), Proposal({"columns": levels}, "one column a level, by their names")
    named = [(role[1], fact) for fact in kinds if (role := role_by_name(fact.name)) is not None and role[0] == "category"]
    paths = [(rank, fact, form) for rank, fact in named if (form := _path_form(cells[fact.name], titles, _SEPARATED)) is not None]
    if paths:
        _, fact, form = min(paths, key=lambda entry: entry[0])
        return Proposal(fact.name, "by its name"), Proposal({"column": fact.name, **form}, _form_says(form))
    if named:
        leaf = min(named, key=lambda entry: entry[0])[1]
        above = _above(leaf, facts, cells)
        if above is not None:
            return Proposal(leaf.name, "by its name"), Proposal(
                {"columns": [above, leaf.name]}, f"each {leaf.name} lies under one {above} in the rows looked at"
            )
        return Proposal(leaf.name, "by its name"), Proposal({"column": leaf.name}, "by its name; no separator, so a category is one name")
    worded = [fact for fact in kinds if role_by_word(fact.name) == "category"]
    for fact in [*worded, *(fact for fact in kinds if role_by_name(fact.name) is None)]:
        form = _path_form(cells[fact.name], titles, 0.6)
        if form is not None and fact.kind != "url":
            return Proposal(fact.name, _BY_VALUE), Proposal({"column": fact.name, **form}, _form_says(form))
    if worded:
        return Proposal(worded[0].name, "by a word in its name"), Proposal({"column": worded[0].name}, "by a word in its name")
    return Proposal(None, "no column looks like it"), Proposal(None, "no column looks like it")


def _path_form(cells: Sequence[Any], titles: Sequence[Any], least: float) -> dict[str, Any] | None:
    """How a path stands in these cells, as keys of `label`; None if they hold no paths."""
    filled = [(cell, title) for cell, title in zip(cells, titles, strict=True) if not is_empty(cell)]
    form: dict[str, Any] = {}
    texts: list[str] = []
    lists = [json_list(cell) if isinstance(cell, str) else cell if isinstance(cell, list) else None for cell, _ in filled]
    if filled and sum(entry is not None for entry in lists) >= 0.9 * len(filled):
        if any(isinstance(cell, str) for cell, _ in filled):
            form["is_json"] = True
        texts = [" ; ".join(str(name) for name in entry) if entry and len(entry) == 1 else "" for entry in lists if entry]
        single = [text for text in texts if text]
        if not single:
            return form
        texts = single
    elif filled and sum(str(cell).startswith("[") and str(cell).endswith("]") for cell, _ in filled) >= 0.9 * len(filled):
        # A list as Python prints it, not JSON.
        form["strip"] = "[]'\""
        texts = [str(cell).strip("[]'\" ") for cell, _ in filled]
        if sum("', '" in text for text in texts) >= least * len(texts):
            return {**form, "separator": "', '"}
    else:
        texts = [cell for cell, _ in filled if isinstance(cell, str)]
    separator = separator_in(texts, least)
    if separator is None:
        return form or None
    form["separator"] = separator
    last = [text.rsplit(separator, 1)[-1].strip() for text in texts]
    pairs = [(name, title) for name, (_, title) in zip(last, filled, strict=False) if isinstance(title, str)]
    if len(last) == len(filled) and sum(repeats_title(name, title) for name, title in pairs) >= _TITLES_IN_PATHS * len(filled):
        form["drop_title"] = True
    return form


def _form_says(form: Mapping[str, Any]) -> str:
    said = [f"a path parted by {form['separator']!r}"] if "separator" in form else ["a list of names"]
    said += ["as a JSON list in text"] if form.get("is_json") else []
    said += ["which often ends in the product's own title"] if form.get("drop_title") else []
    return ", ".join(said)


def _above(leaf: ColumnFacts, facts: Sequence[ColumnFacts], cells: Mapping[str, list[Any]]) -> str | None:
    """The column one level above: fewer values, and one of them for each value of the leaf."""
    found: list[tuple[int, str]] = []
    for fact in facts:
        if fact.name == leaf.name or not speaks_of_kinds(fact.name) or not 2 <= fact.distinct < leaf.distinct or fact.kind not in _PROSE:
            continue
        of: dict[str, set[str]] = {}
        for below, above in zip(cells[leaf.name], cells[fact.name], strict=True):
            if not is_empty(below) and not is_empty(above):
                of.setdefault(str(below), set()).add(str(above))
        if fact.filled >= leaf.filled and all(len(parents) == 1 for parents in of.values()):
            found.append((fact.distinct, fact.name))
    return max(found)[1] if found else None
