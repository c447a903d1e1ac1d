"""ray job submit --working-dir . -- python -m ray_jobs.recategorize BUNDLE CATALOG [--node 'A > B'] --out FOLDER"""

from typing import Any

from prodcat.commands.recategorization import run_recategorize
from prodcat.workspace import Workspace
from ray_jobs.arguments import PLACE, finish, given, parser


def main() -> None:
    arguments = parser("recategorize", sources=False)
    arguments.add_argument("bundle", help=f"bundle folder: {PLACE}")
    arguments.add_argument("catalog", help=f"catalog folder, or run folder of `fit`: {PLACE}")
    arguments.add_argument("--node", help="the branch, 'A > B'; default: every category with leaves right below")
    arguments.add_argument("--features", help="folder of the bundle's feature sets")
    a = arguments.parse_args()

    def recategorize(work: Workspace) -> dict[str, Any]:
        chosen = {"node": a.node, "features": work.optional(a.features)}
        return run_recategorize(work.path(a.bundle), work.path(a.catalog), work.out(a.out), **given(a, work), **chosen)

    finish(a, recategorize)


if __name__ == "__main__":
    main()
