"""What is believed of readings: what the evaluation of the policy says, wherever it is; what is said without one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from selfemo import config as configuration
from selfemo.annotate import belief
from selfemo.context import Context
from selfemo.data.label_file import SPACES as LABELS_FILE
from selfemo.data.label_file import write_spaces
from selfemo.data.records import Prediction, Reply, write_records
from selfemo.method.abstain import CALIBRATION, calibrate, write_calibration
from selfemo.method.evaluation import PREDICTIONS
from selfemo.policies import Policies
from selfemo.steps.evaluate import REPLIES
from selfemo.steps.score import metrics_of
from selfemo.store.artifacts import Store
from tests.spaces import SPACES
from tests.unit.annotate.conftest import Annotator

SPACE = SPACES["sample"]


def evaluated(count: int = 400) -> list[Prediction]:
    """Held-out turns of a policy that is half as sure as it should be."""
    rng = np.random.default_rng(3)
    read = rng.dirichlet(np.full(len(SPACE.answers), 0.5), count)
    sharp = read**2 / (read**2).sum(axis=1, keepdims=True)
    return [
        Prediction(
            corpus="sample",
            dialogue=f"d{i // 8}",
            turn=i % 8,
            gold=SPACE.answers[rng.choice(len(SPACE.answers), p=true)],
            predicted=SPACE.answers[int(said.argmax())],
            posterior=tuple(said),
        )
        for i, (said, true) in enumerate(zip(read, sharp, strict=True))
    ]


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `selfemo evaluate --out` writes of it."""
    place = tmp_path_factory.mktemp("scores")
    write_records(place / PREDICTIONS, evaluated())
    write_records(place / REPLIES, [Reply(corpus="sample", dialogue="d0")])
    metrics_of([place], {"sample": SPACE}, configuration.load(None, ["evaluation.bootstrap=100"]), place)
    return place


def source(annotate: Annotator) -> Path:
    return annotate.write("in.csv", "text\n" + "".join(f"word {n} of many\n" for n in range(40)))


def test_an_evaluation_says_temperature_and_threshold(annotate: Annotator, scores: Path) -> None:
    done = annotate(source(annotate), "out.csv", "--scores", scores, "--precision", "0.5", "--dialogue", "@row")
    assert done.code == 0, done.stderr
    report = done.report
    metrics = json.loads((scores / "metrics.json").read_text())["sample"]
    assert report["calibrated"] is True
    assert report["temperature"] == pytest.approx(0.5, rel=0.2)
    assert report["temperature"] == pytest.approx(metrics["temperature"], rel=0.1)
    assert report["held out"]["precision"] >= 0.5
    assert report["kept"] + report["abstained"] == 40
    assert f"threshold {report['threshold']:g}: on held-out turns {report['held out']['precision']:.1%}" in done.stdout
    # Asked for more, it keeps less.
    strict = annotate(source(annotate), "strict.csv", "--scores", scores, "--precision", "0.8", "--dialogue", "@row")
    assert strict.report["threshold"] > report["threshold"]
    assert strict.report["held out"]["coverage"] < report["held out"]["coverage"]


def test_predictions_of_an_older_version_say_the_same(tmp_path: Path, scores: Path) -> None:
    (tmp_path / PREDICTIONS).write_bytes((scores / PREDICTIONS).read_bytes())
    write_spaces(tmp_path / LABELS_FILE, {"sample": SPACE})
    context = Context(configuration.load(None, [f"store.root={tmp_path.as_uri()}", f"workdir={tmp_path}"]))
    old, new = (belief.known_of(context, str(place), "sample", SPACE) for place in (tmp_path, scores))
    assert old == new is not None


def test_where_there_is_no_evaluation_it_is_said_and_a_threshold_asked_for(annotate: Annotator) -> None:
    done = annotate(source(annotate), "out.csv", "--precision", "0.9", "--dialogue", "@row")
    assert done.code == 2
    assert "no evaluation of this policy is known" in done.stderr
    assert "selfemo evaluate" in done.stderr
    assert "--threshold" in done.stderr
    given = annotate(source(annotate), "out.csv", "--threshold", "0", "--dialogue", "@row")
    assert given.code == 0
    assert "the probabilities are the policy's own, not calibrated" in given.stderr
    assert "not calibrated" in given.stdout
    assert given.report["held out"] is None
    assert given.report["abstained"] == 0


def test_a_precision_that_nothing_has_is_refused_with_the_best_there_is(annotate: Annotator, scores: Path) -> None:
    done = annotate(source(annotate), "out.csv", "--scores", scores, "--precision", "1", "--dialogue", "@row")
    assert done.code == 2
    assert "no threshold has a precision of 1: on 20 of its 400 held-out turns or more it is right" in done.stderr


def test_few_turns_say_nothing(annotate: Annotator, tmp_path: Path) -> None:
    (few := tmp_path / "few").mkdir()
    write_calibration(few / CALIBRATION, {"sample": calibrate(evaluated(12), SPACE)})
    done = annotate(source(annotate), "out.csv", "--scores", few, "--precision", "0.1", "--dialogue", "@row")
    assert "its evaluation has 12 turns, and a threshold has to rest on 20" in done.stderr


def test_an_evaluation_with_other_labels_calibrates_nothing(annotate: Annotator, scores: Path) -> None:
    options: list[str | Path] = ["--scores", scores, "--labels", "iemocap4", "--precision", "0.5", "--dialogue", "@row"]
    done = annotate(source(annotate), "out.csv", *options)
    assert done.code == 2
    assert "has no turns with the labels of iemocap4" in done.stderr


def test_a_place_without_an_evaluation_is_named(annotate: Annotator, tmp_path: Path) -> None:
    done = annotate(source(annotate), "out.csv", "--scores", tmp_path / "nowhere", "--dialogue", "@row")
    assert done.code == 2
    assert "no evaluation is here" in done.stderr


def test_one_way_to_say_when_to_abstain(annotate: Annotator) -> None:
    done = annotate(source(annotate), "out.csv", "--precision", "0.9", "--threshold", "0.5")
    assert done.code == 2
    assert "two ways to say one thing" in done.stderr


def test_a_runs_weights_are_evaluated_beside_them(tmp_path: Path, tiny: Path, scores: Path) -> None:
    config = configuration.load(None, [f"store.root={(tmp_path / 'store').as_uri()}", f"workdir={tmp_path / 'work'}"])
    context = Context(config)
    weights = context.store.uri("run", "round-1", "train-0123456789ab")
    made = {"config": "", "code": "", "result": {}}
    context.store.publish(tiny, weights, step="train", inputs={}, **made)
    policy = context.policies.find(weights)
    assert belief.evaluation_of(context, weights, policy) == ""
    for name, of in (("score-000000000000", "s3://other"), ("score-aaaaaaaaaaaa", weights)):
        uri = context.store.uri("run", "round-1", name)
        context.store.publish(scores, uri, step="score", inputs={"policy": of}, **made)
    found = belief.evaluation_of(context, weights, policy)
    assert found.endswith("/score-aaaaaaaaaaaa")
    assert belief.known_of(context, found, "sample", SPACE) is not None


def test_a_registered_version_names_its_evaluation(small_local: configuration.Config, tiny: Path) -> None:
    context = Context(small_local)
    versions = context.registry.versions
    number = versions.register(str(tiny), context.registry.round(1), {belief.SCORES: "file:///scores"})
    versions.set_alias("champion", number)
    for name in (f"models:/{small_local.mlflow.model}@champion", f"models:/{small_local.mlflow.model}/{number}"):
        assert belief.evaluation_of(context, name, context.policies.find(name)) == "file:///scores"


def test_policies_that_no_store_holds_have_none(tmp_path: Path, tiny: Path) -> None:
    config = configuration.load(None, [f"store.root={tmp_path.as_uri()}", f"workdir={tmp_path}"])
    policies = Policies(config, Store(tmp_path.as_uri(), tmp_path / "cache"), lambda name: name, tmp_path / "models")
    assert belief.evaluation_of(Context(config), str(tiny), policies.find(str(tiny))) == ""
