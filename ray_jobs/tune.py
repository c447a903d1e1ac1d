"""ray job submit --working-dir . -- python -m ray_jobs.tune RUN --set trials=40"""

from prodcat.commands.training import run_tune
from ray_jobs.arguments import PLACE, finish, given, parser


def main() -> None:
    arguments = parser("tune", sources=False, out=False)
    arguments.add_argument("run", help=f"folder that the job fit wrote to: {PLACE}")
    a = arguments.parse_args()
    finish(a, lambda work: run_tune(work.out(a.run), **given(a, work)))


if __name__ == "__main__":
    main()
