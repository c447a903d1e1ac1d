"""ray job submit --working-dir . -- python -m ray_jobs.fit FEED_OR_CATALOG... --config offline --out RUN"""

from typing import Any

from prodcat.commands.training import run_fit
from prodcat.workspace import Workspace
from ray_jobs.arguments import finish, given, parser


def main() -> None:
    arguments = parser("fit", labels=True)
    arguments.add_argument("--labels", help="CSV key,path,decision of reviewed labels")
    arguments.add_argument("--change-test-labels", action="store_true", help="let --labels change test products too; the report says so")
    a = arguments.parse_args()

    def fit(work: Workspace) -> dict[str, Any]:
        labels = {"labels": work.optional(a.labels), "change_test_labels": a.change_test_labels}
        return run_fit(work.sources(a.sources), work.out(a.out), **given(a, work), **labels)

    finish(a, fit)


if __name__ == "__main__":
    main()
