"""ray job submit --working-dir . -- python -m ray_jobs.compare RUN --out COMPARISON"""

from prodcat.commands.comparing import run_compare
from ray_jobs.arguments import PLACE, finish, given, parser


def main() -> None:
    arguments = parser("compare", sources=False)
    arguments.add_argument("run", help=f"folder that the job fit wrote to: {PLACE}")
    a = arguments.parse_args()
    # What the run lacks is made in it.
    finish(a, lambda work: run_compare(work.out(a.run), work.out(a.out), **given(a, work)))


if __name__ == "__main__":
    main()
