"""`taxonomy migrate`: from a run of `fit` to a bundle for the next version of the tree, in a fraction of the time. Knows the order and no step.

Encoders and features are taken as they are, both stages go on from their weights, carried over to the new tree (training/carried.py), for a few
epochs at lower rates; words, names, calibration, gate and all else that is fitted in seconds is fitted anew.
"""

from pathlib import Path

from pydantic import Field

from prodcat.catalog.store import Catalog
from prodcat.config import Config
from prodcat.distributed import ClusterConfig
from prodcat.errors import TaxonomyError, TrainingError
from prodcat.fitting import fit
from prodcat.prediction.bundle import Bundle
from prodcat.profile import FitConfig
from prodcat.run_folder import Progress, open_run
from prodcat.start import Start
from prodcat.versioning import history_of, tree_of


class MigrateConfig(Config):
    """Configuration of `taxonomy migrate`. Everything else is the run's own profile. Defaults are ours, measured on the demo catalog."""

    cluster: ClusterConfig = Field(ClusterConfig(), description="of the local Ray, where there is no cluster to join")
    epochs: float = Field(0.5, ge=0, description="factor on the epochs of both stages; 0: the weights are carried over and not trained")
    learning_rate: float = Field(0.5, gt=0, description="factor on the learning rates of both stages")


def migrate(run: Path, catalog: Catalog, out: Path, config: MigrateConfig, *, labels: Path | None = None, on_progress: Progress = print) -> Bundle:
    """-> OUT/bundle; OUT is a run as `fit` leaves one. Assumes a cluster is joined.

    Args:
        run: the folder that `fit` (or this) wrote to.
        catalog: as `taxonomy apply` wrote it: its history has the tree of the run's bundle among its versions.
        out: another folder.
        labels: reviewed labels in categories of the new tree, as in `fit`.

    Raises:
        FeedError: there is no run in the folder.
        TaxonomyError: the catalog's history does not know the bundle's tree.
        OverlayError: reviewed labels that do not fit the catalog.
        TrainingError: OUT is the run itself, something of the run is missing, or as in `fit`.
    """
    run, out = run.absolute(), out.absolute()
    if out == run:
        raise TrainingError(f"{out}: is the run that is gone on from, and answers in the version before; choose a new folder")
    _, profile = open_run(run, FitConfig)
    bundle = Bundle.open(run / "bundle")
    tree, history = tree_of(catalog), history_of(catalog)
    versions = [number for number in range(1, history.version + 1) if history.tree(number, tree) == bundle.tree]
    if not versions:
        raise TaxonomyError(
            f"{bundle.folder}: its tree {bundle.tree.hash[:12]} is no version of the tree of {catalog.path} (1 to {history.version}); "
            "give the catalog that `prodcat taxonomy apply` made from the run's own, or train anew with `prodcat fit`"
        )
    forward, backward = history.forward(versions[-1], tree), history.backward(versions[-1], tree)
    start = Start(run, bundle, forward, backward, config.epochs, config.learning_rate)
    on_progress(f"from version {versions[-1]} to {history.version} of the taxonomy: {start.told}")
    return fit([str(catalog.path)], out, profile, labels=labels, start=start, on_progress=on_progress)
