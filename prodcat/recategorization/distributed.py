"""One Ray task a branch. What a branch is clustered by travels through the object store; what it becomes lies in its folder."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from prodcat.distributed import each
from prodcat.recategorization.branch import BranchConfig, BranchProducts, Examined, examine
from prodcat.taxonomy import Taxonomy


def examine_branches(
    load: Callable[[int], BranchProducts], folders: Sequence[Path], tree: Taxonomy, config: BranchConfig, cpus: float
) -> Iterator[tuple[int, Examined]]:
    """(number, what was found), as they become ready. Assumes a cluster is joined.

    Args:
        load: number of a branch -> its products, called in the task; travels by pickle.
        folders: one a branch, on a file system that all nodes write.
        cpus: logical ones of a task.
    """
    yield from each(
        _work, list(range(len(folders))), load, [str(folder) for folder in folders], tree, config, cpus=cpus, name=lambda n: folders[n].name
    )


def _work(number: int, load: Callable[[int], BranchProducts], folders: Sequence[str], tree: Taxonomy, config: BranchConfig) -> Examined:
    return examine(load(number), tree, config, Path(folders[number]))
