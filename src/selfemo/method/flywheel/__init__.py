"""The data flywheel: a round's rollouts to its training samples, and a reason for each candidate that is not kept."""
