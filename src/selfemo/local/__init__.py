"""The compiled pipeline on this machine: a run, and a dry run."""
