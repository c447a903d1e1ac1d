"""ray job submit --working-dir . -- python -m ray_jobs.tune RUN --set trials=40"""

from pathlib import Path

from prodcat.commands import run_tune
from ray_jobs.arguments import finish, parser, say


def main() -> None:
    arguments = parser("tune", sources=False, out=False)
    arguments.add_argument("run", help="folder that the job fit wrote to: a whole path that every node sees")
    a = arguments.parse_args()
    finish(lambda: run_tune(Path(a.run), config=a.config, sets=a.sets, say=say))


if __name__ == "__main__":
    main()
