"""`embed`: a catalog through encoders, as features."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prodcat.catalog.store import Catalog
from prodcat.commands.arguments import Say
from prodcat.commands.ingest import IngestJob
from prodcat.config import load
from prodcat.distributed import cluster
from prodcat.encoders.distributed import EmbedConfig, embed
from prodcat.prediction.bundle import Bundle


class EmbedJob(IngestJob):
    """Configuration of `embed`."""

    embed: EmbedConfig = EmbedConfig()


def run_embed(catalog: Path, encoders: Sequence[str], out: Path, *, config: str | None, sets: Sequence[str], say: Say) -> dict[str, Any]:
    """encoders: NAME=FOLDER, or the folder of a bundle, whose encoders are then all used."""
    job = load(EmbedJob, config, sets)
    folders: dict[str, Path] = {}
    for entry in encoders:
        name, equals, folder = entry.partition("=")
        if equals:
            folders[name] = Path(folder).absolute()
        else:
            folders.update({path.name: path for path in sorted((Bundle.open(Path(entry).absolute()).folder / "encoders").iterdir())})
    opened = Catalog.open(catalog)
    with cluster(job.cluster):
        sets_made = embed(opened.product_files(), folders, out.absolute(), job.embed, limits=job.ingest.pictures.limits, on_progress=_counted(say))
    return {name: {"folder": str(made.folder), "dim": made.dim, "rows": made.rows, "new_rows": made.new_rows} for name, made in sets_made.items()}


def _counted(say: Say) -> Callable[[str, int, int], None]:
    return lambda name, done, to_do: say(f"features {name}: {done:,} of {to_do:,}")
