"""What names and votes propose for every raw category, and how that is laid into a file that a person has worked on. Knows no file and no catalog."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from prodcat.crosswalk.mapping_file import Key, Line
from prodcat.crosswalk.rules import Match, NameRules
from prodcat.crosswalk.votes import Ballot, VoteConfig
from prodcat.taxonomy import CategoryPath, Taxonomy, format_path

_CANDIDATES = 4
# Share of the votes from which a path is named in an open line.
_MENTIONED = 0.2


def proposal(key: Key, ballot: Ballot, match: Match, tree: Taxonomy, config: VoteConfig) -> Line:
    """One raw category -> an undecided line.

    Where names and votes say the same, the deeper of the two stands, unless a name lists several things. Where they part, labels stand against names,
    and names against a classifier's answers; the other one is among the candidates, and the agreement shows it.
    """
    named = tree.categories[match.node].path if match.node is not None else None
    voted = ballot.winner(config)
    if voted is not None and voted not in tree:
        voted = None
    path = _chosen(named, voted, ballot, match, config)
    how, score = ("votes", None) if path is not None and path != named else (match.how, match.score) if path is not None else ("", None)
    others = [tree.categories[node].path for node in match.candidates]
    others += [other for other in (named, voted) if other is not None]
    candidates = [format_path(other) for other in dict.fromkeys(others) if other != path and (path is None or other != path[: len(other)])]
    if path is None:
        candidates += _mentioned(ballot)
    return Line(
        *key,
        products=ballot.products,
        path=path,
        how=how,  # type: ignore[arg-type]  # a Literal of two Literals
        score=score,
        agreement=ballot.share(path) if path is not None else None,
        candidates=" | ".join(candidates[:_CANDIDATES]),
    )


def _mentioned(ballot: Ballot) -> list[str]:
    """What an open line's votes say, the most agreed on first: "Apparel (76%)", then what below it has its share."""
    prefixes = {vote[:level] for vote in ballot.votes for level in range(1, len(vote) + 1)}
    shares = sorted(((ballot.share(prefix) or 0.0, prefix) for prefix in prefixes), key=lambda entry: (-entry[0], -len(entry[1]), entry[1]))
    said: list[str] = []
    named: list[tuple[float, CategoryPath]] = []
    for share, prefix in shares:
        # "Apparel (76%)" says nothing beside "Apparel > Topwear (76%)".
        if share >= _MENTIONED and not any(other == share and longer[: len(prefix)] == prefix for other, longer in named):
            named.append((share, prefix))
            said.append(f"{format_path(prefix)} ({share:.0%})")
    return said


def _chosen(named: CategoryPath | None, voted: CategoryPath | None, ballot: Ballot, match: Match, config: VoteConfig) -> CategoryPath | None:
    if named is None or voted is None:
        return named or voted
    shorter, longer = sorted((named, voted), key=len)
    # Labels that agree were given by somebody who saw the products.
    labelled = ballot.labels.total() >= config.products and ballot.labels.total() >= config.agreement * ballot.votes.total()
    if longer[: len(shorter)] == shorter:
        return longer if labelled or not match.union else named
    return voted if labelled else named


@dataclass(frozen=True)
class Merged:
    """Lines to be written, and what became of the old ones.

    Args:
        new: raw categories that the file did not have.
        kept: lines a person decided on, or wrote a path into.
        renewed: undecided lines that were proposed anew.
        gone: lines whose raw category no product has any more; they stay, with 0 products.
    """

    lines: list[Line]
    new: int
    kept: int
    renewed: int
    gone: int

    @property
    def open(self) -> int:
        return sum(line.path is None and line.decision == "" for line in self.lines)

    @property
    def how(self) -> dict[str, int]:
        """Lines that have a path, by how it came about."""
        return dict(sorted(Counter(line.how for line in self.lines if line.path is not None).items()))


def merge(existing: Iterable[Line], proposed: Mapping[Key, Line]) -> Merged:
    """Lay proposals into the lines of a file.

    A decided line keeps path, decision and note. So does a line into which a person wrote a path, which shows by its `how`: nothing, or hand. Its
    evidence is renewed where the proposal has the same path, and kept where it has none; where the proposal says otherwise, the path is a person's.
    Undecided lines are proposed anew and keep their note. Lines whose raw category is gone stay, with 0 products; lines of platforms of which nothing
    is proposed stay as they are.
    """
    lines: list[Line] = []
    met: set[Key] = set()
    platforms = {platform for platform, _ in proposed}
    kept = renewed = gone = 0
    for line in existing:
        fresh = proposed.get(line.key)
        met.add(line.key)
        by_hand = line.decision != "" or (line.path is not None and line.how in ("", "hand"))
        if fresh is None and line.platform not in platforms:
            lines.append(line)
        elif fresh is None:
            gone += 1
            lines.append(replace(line, products=0))
        elif by_hand:
            kept += 1
            lines.append(_kept(line, fresh))
        else:
            renewed += 1
            lines.append(replace(fresh, note=line.note))
    added = [line for key, line in proposed.items() if key not in met]
    return Merged([*lines, *added], len(added), kept, renewed, gone)


def _kept(line: Line, fresh: Line) -> Line:
    counted = replace(line, products=fresh.products)
    if line.path is None:
        return replace(counted, how="", score=None, agreement=None)
    if fresh.path == line.path:
        return replace(counted, how=fresh.how, score=fresh.score, agreement=fresh.agreement, candidates=fresh.candidates)
    # Votes that this run did not ask for are not refuted by it.
    if fresh.path is None or (line.how == "votes" and fresh.agreement is None):
        return replace(counted, how=line.how or "hand")
    return replace(counted, how="hand", score=None, agreement=None, candidates=format_path(fresh.path))


def proposals(ballots: Mapping[Key, Ballot], rules: NameRules, tree: Taxonomy, config: VoteConfig) -> dict[Key, Line]:
    """A line for every raw category, by key."""
    return {key: proposal(key, ballot, rules(key[1]), tree, config) for key, ballot in sorted(ballots.items())}
