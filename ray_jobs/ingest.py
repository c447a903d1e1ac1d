"""ray job submit --working-dir . -- python -m ray_jobs.ingest FEED... --out CATALOG"""

from pathlib import Path

from prodcat.commands import run_ingest
from ray_jobs.arguments import finish, parser, say


def main() -> None:
    arguments = parser("ingest")
    arguments.add_argument("--taxonomy", help="category tree: .json of prodcat, or lines 'A > B > C'")
    a = arguments.parse_args()
    finish(lambda: run_ingest(a.sources, Path(a.out), config=a.config, sets=a.sets, mapping=a.mapping, taxonomy=a.taxonomy, say=say))


if __name__ == "__main__":
    main()
