"""One function for each pipeline step: what the command line and the components both call.

Each takes the configuration and URIs, publishes one artifact, and returns a small result. Called again with
the same inputs, it returns what is already there: that is how a killed run resumes.
"""

from selfemo.steps.decide import State, decide, finished_rounds, report
from selfemo.steps.learn import train, warmup
from selfemo.steps.play import filter, gather, generate, generate_shard
from selfemo.steps.prepare import prepare
from selfemo.steps.score import evaluate, evaluate_shard, score

__all__ = [
    "State", "decide", "evaluate", "evaluate_shard", "filter", "finished_rounds", "gather", "generate",
    "generate_shard", "prepare", "report", "score", "train", "warmup",
]  # fmt: skip
