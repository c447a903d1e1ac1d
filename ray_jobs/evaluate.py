"""ray job submit --working-dir . -- python -m ray_jobs.evaluate FEED_OR_CATALOG... --bundle BUNDLE --out REPORT"""

from pathlib import Path

from prodcat.commands import run_evaluate
from ray_jobs.arguments import finish, parser, say


def main() -> None:
    arguments = parser("evaluate")
    arguments.add_argument("--bundle", required=True, help="bundle folder")
    arguments.add_argument("--probe", dest="probes", action="append", default=[], help="what is hidden in turn; may be repeated")
    arguments.add_argument("--seed-bundle", type=Path, action="append", default=[], help="bundle fitted alike with another seed; may be repeated")
    a = arguments.parse_args()
    asked = {"probes": a.probes, "seed_bundles": a.seed_bundle}
    finish(lambda: run_evaluate(Path(a.bundle), a.sources, Path(a.out), config=a.config, sets=a.sets, mapping=a.mapping, say=say, **asked))


if __name__ == "__main__":
    main()
