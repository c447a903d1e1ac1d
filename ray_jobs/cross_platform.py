"""ray job submit --working-dir . -- python -m ray_jobs.cross_platform CATALOG --config offline --out FOLDER"""

from pathlib import Path

from prodcat.commands import run_cross_platform
from ray_jobs.arguments import finish, parser, say


def main() -> None:
    arguments = parser("cross_platform", sources=False)
    arguments.add_argument("catalog", help="catalog folder: a whole path that every node sees")
    a = arguments.parse_args()
    finish(lambda: run_cross_platform(Path(a.catalog), Path(a.out), config=a.config, sets=a.sets, say=say))


if __name__ == "__main__":
    main()
