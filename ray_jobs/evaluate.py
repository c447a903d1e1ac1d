"""ray job submit --working-dir . -- python -m ray_jobs.evaluate FEED_OR_CATALOG... --bundle BUNDLE --out REPORT"""

from typing import Any

from prodcat.commands.evaluate import run_evaluate
from prodcat.workspace import Workspace
from ray_jobs.arguments import PLACE, finish, given, parser


def main() -> None:
    arguments = parser("evaluate")
    arguments.add_argument("--bundle", required=True, help=f"bundle folder: {PLACE}")
    arguments.add_argument("--probe", dest="probes", action="append", default=[], help="what is hidden in turn; may be repeated")
    arguments.add_argument("--seed-bundle", action="append", default=[], help="bundle fitted alike with another seed; may be repeated")
    a = arguments.parse_args()

    def evaluate(work: Workspace) -> dict[str, Any]:
        asked = {"probes": a.probes, "seed_bundles": [work.path(place) for place in a.seed_bundle]}
        return run_evaluate(work.path(a.bundle), work.sources(a.sources), work.out(a.out), **given(a, work), **asked)

    finish(a, evaluate)


if __name__ == "__main__":
    main()
