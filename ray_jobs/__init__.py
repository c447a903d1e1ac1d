"""Jobs for `ray job submit --working-dir . -- python -m ray_jobs.NAME ...`: each parses, calls one function, prints one summary as JSON."""
