"""One function a verb: read the configuration, join the cluster, call the stage, return a summary. What the command line and the jobs have in common.

Every function takes `say`, which is given lines of progress, and returns a dict that JSON can hold. A module for what is imported together: a command
that needs no torch starts without it.
"""
