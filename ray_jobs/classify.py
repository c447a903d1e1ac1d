"""ray job submit --working-dir . -- python -m ray_jobs.classify FEED_OR_CATALOG... --bundle BUNDLE --out ANSWERS"""

from typing import Any

from prodcat.commands.classify import run_classify
from prodcat.location import Location
from prodcat.remote import local_path
from prodcat.workspace import Workspace, is_catalog
from ray_jobs.arguments import PLACE, finish, given, parser


def main() -> None:
    arguments = parser("classify")
    arguments.add_argument("--bundle", required=True, help=f"bundle folder: {PLACE}; each node fetches it for itself")
    a = arguments.parse_args()

    def classify(work: Workspace) -> dict[str, Any]:
        if local_path(a.out) is not None:
            return run_classify(a.bundle, a.sources, work.out(a.out), **given(a, work))
        # A catalog is read, and answers are written, where they lie: no node needs another's files. Feeds must become a catalog first.
        stays = len(a.sources) == 1 and is_catalog(a.sources[0])
        ingested = None if stays else work.out(Location(a.out).child("catalog").source)
        return run_classify(a.bundle, a.sources, a.out, **given(a, work), ingested=ingested)

    finish(a, classify)


if __name__ == "__main__":
    main()
