"""A shop's category names and the tree's, brought to one spelling. Knows no tree.

Compared are letters and digits only: case, accents, spaces, hyphens, possessives, "&" against "and" and English plurals make no difference, so
"T-Shirts", "t shirt" and "Tshirt" are one name. Other languages keep their plurals.
"""

import functools
import re

from prodcat.masking import normalise

# Between the names of a path, the surest first: what follows counts only where none before it occurs.
_SEPARATORS = (">", "»", "›", "→", "|", "::", "\\")
# The top of a shop's site, which says nothing about a product.
_ROOTS = frozenset(
    {"home", "homepage", "root", "start", "all", "allcategory", "defaultcategory", "category", "product", "allproduct", "shop", "other"}
)
_POSSESSIVE = re.compile(r"['’`´]s?(?![^\W_])")
_WORD = re.compile(r"[^\W_]+")
# English, German, French, Vietnamese, Turkish, Swedish; as `normalise` spells them.
_AND = frozenset({"and", "n", "or", "und", "et", "va", "ve", "och"})
_LIST = re.compile(r"\s*(?:[,;&+/]|\b(?:and|or|und|et|và|ve|och)\b)\s*", re.IGNORECASE)
_IRREGULAR = {
    "men": "man",
    "women": "woman",
    "mens": "man",
    "womens": "woman",
    "childrens": "child",
    "children": "child",
    "feet": "foot",
    "teeth": "tooth",
    "scarves": "scarf",
    "shelves": "shelf",
}
_IRREGULAR |= {"knives": "knife", "leaves": "leaf", "halves": "half", "loaves": "loaf", "wolves": "wolf", "calves": "calf", "scarfs": "scarf"}


@functools.lru_cache(maxsize=65536)
def words(name: str) -> tuple[str, ...]:
    """ "Women's T-Shirts & Tops" -> ("woman", "t", "shirt", "top"); empty for a name without letter and digit."""
    found = _WORD.findall(_POSSESSIVE.sub("", normalise(name)))
    return tuple(singular(word) for word in found if word not in _AND)


def spelling(name: str) -> str:
    """ "T-Shirts" -> "tshirt": equal for names that differ only in what does not count."""
    return "".join(words(name))


def singular(word: str) -> str:
    """An English word without its plural; a word that only looks like one changes too, on both sides alike ("jeans" -> "jean")."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) <= 3 or not word.endswith("s") or word.endswith(("ss", "us", "is")) or not word.isascii():
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes", "zes")):
        return word[:-2]
    return word[:-1]


def parts(name: str) -> tuple[str, ...]:
    """ "Tops, T-Shirts & Shirts" -> its three names; a name that lists nothing stands alone."""
    return tuple(part for part in _LIST.split(name) if words(part))


def readings(raw: str) -> list[tuple[str, ...]]:
    """What a raw category may be as names from the top down; the likelier first.

    A single "/" parts two names of a path or two things of one name ("Leggings/Tights"); several are a path.
    """
    separator = next((separator for separator in _SEPARATORS if separator in raw), None)
    if separator is not None:
        return [_names(raw.split(separator))]
    slashes = raw.strip("/ ").count("/")
    if slashes == 0:
        return [_names([raw.strip("/ ")])]
    path = _names(raw.split("/"))
    return [path] if slashes > 1 else [_names([raw]), path]


def _names(found: list[str]) -> tuple[str, ...]:
    named = [name.strip() for name in found if words(name)]
    # A site's top is no category, unless it is all there is.
    while len(named) > 1 and spelling(named[0]) in _ROOTS:
        named.pop(0)
    return tuple(named)
