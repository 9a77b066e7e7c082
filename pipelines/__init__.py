"""The round, the loop, compilation and the local run."""
