"""ray job submit --working-dir . -- python -m ray_jobs.ingest FEED... --out CATALOG"""

from pathlib import Path

from prodcat.commands import run_ingest
from ray_jobs.arguments import finish, parser, say


def main() -> None:
    arguments = parser("ingest")
    arguments.add_argument("--taxonomy", help="category tree: .json of prodcat, or lines 'A > B > C'")
    arguments.add_argument("--crosswalk", type=Path, help="CSV of `prodcat crosswalk propose`: accepted lines label rows that have no label")
    a = arguments.parse_args()
    given = {"config": a.config, "sets": a.sets, "mapping": a.mapping, "taxonomy": a.taxonomy, "crosswalk": a.crosswalk}
    finish(lambda: run_ingest(a.sources, Path(a.out), **given, say=say))


if __name__ == "__main__":
    main()
