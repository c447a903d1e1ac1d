"""ray job submit --working-dir . -- python -m ray_jobs.fit FEED_OR_CATALOG... --config offline --out RUN"""

from pathlib import Path

from prodcat.commands import run_fit
from ray_jobs.arguments import finish, parser, say


def main() -> None:
    arguments = parser("fit")
    arguments.add_argument("--taxonomy", help="category tree: .json of prodcat, or lines 'A > B > C'")
    arguments.add_argument("--crosswalk", type=Path, help="CSV of `prodcat crosswalk propose`: accepted lines label rows that have no label")
    arguments.add_argument("--labels", type=Path, help="CSV key,path,decision of reviewed labels")
    arguments.add_argument("--change-test-labels", action="store_true", help="let --labels change test products too; the report says so")
    a = arguments.parse_args()
    given = {"config": a.config, "sets": a.sets, "mapping": a.mapping, "taxonomy": a.taxonomy, "crosswalk": a.crosswalk}
    finish(lambda: run_fit(a.sources, Path(a.out), **given, say=say, labels=a.labels, change_test_labels=a.change_test_labels))


if __name__ == "__main__":
    main()
