"""The steps of the pipeline, a module each, named as its component: what the command line and the components both call.

``gather`` and ``score`` are light, and have no pod of their own: the filter's and the decision's components begin with
them.

Each takes the configuration and URIs, publishes one artifact, and returns a small result. Called again with
the same inputs, it returns what is already there: that is how a killed run resumes.

A step's name here is its function, which hides the module of the same name: `import selfemo.steps.evaluate as e` gives
the function too. Other names of a step's module are imported from it: `from selfemo.steps.evaluate import answer`.
"""

from selfemo.steps.decide import decide
from selfemo.steps.evaluate import evaluate
from selfemo.steps.filter import filter
from selfemo.steps.gather import gather, self_play
from selfemo.steps.generate import generate
from selfemo.steps.prepare import prepare
from selfemo.steps.report import finished_rounds, report
from selfemo.steps.score import evaluation, score
from selfemo.steps.train import train
from selfemo.steps.warmup import warmup

__all__ = [
    "decide",
    "evaluate",
    "evaluation",
    "filter",
    "finished_rounds",
    "gather",
    "generate",
    "prepare",
    "report",
    "score",
    "self_play",
    "train",
    "warmup",
]
