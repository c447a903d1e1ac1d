"""ray job submit --working-dir . -- python -m ray_jobs.recategorize BUNDLE CATALOG [--node 'A > B'] --out FOLDER"""

from pathlib import Path

from prodcat.tree_commands import run_recategorize
from ray_jobs.arguments import finish, parser, say


def main() -> None:
    arguments = parser("recategorize", sources=False)
    arguments.add_argument("bundle", help="bundle folder: a whole path that every node sees")
    arguments.add_argument("catalog", help="catalog folder, or run folder of `fit`: a whole path that every node sees")
    arguments.add_argument("--node", help="the branch, 'A > B'; default: every category with leaves right below")
    arguments.add_argument("--features", type=Path, help="folder of the bundle's feature sets")
    a = arguments.parse_args()
    finish(
        lambda: run_recategorize(
            Path(a.bundle), Path(a.catalog), Path(a.out), node=a.node, features=a.features, config=a.config, sets=a.sets, say=say
        )
    )


if __name__ == "__main__":
    main()
