"""ray job submit --working-dir . -- python -m ray_jobs.compare RUN --out COMPARISON"""

from pathlib import Path

from prodcat.commands import run_compare
from ray_jobs.arguments import finish, parser, say


def main() -> None:
    arguments = parser("compare", sources=False)
    arguments.add_argument("run", help="folder that the job fit wrote to: a whole path that every node sees")
    a = arguments.parse_args()
    finish(lambda: run_compare(Path(a.run), Path(a.out), config=a.config, sets=a.sets, say=say))


if __name__ == "__main__":
    main()
