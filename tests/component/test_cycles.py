"""A run of a schedule: the name it has, and the champion it starts from."""

from __future__ import annotations

from types import SimpleNamespace

from components.report.component import report
from selfemo.config import Config
from selfemo.context import Context
from tests.component import plain
from tests.conftest import there


def test_a_scheduled_run_has_a_name_of_its_own_from_its_first_step_to_its_report(small_local: Config) -> None:
    when = "2026-11-26T03:00:00Z"
    settings, _, _ = plain.prepare_cycle(small_local.to_json(), "scheduled", when)
    tonight = Config.from_json(settings)
    assert tonight.run == f"{small_local.run}-20261126-030000"
    others = {"run": small_local.run, "seed": small_local.seed, "cycle": None}
    assert tonight.model_copy(update=others) == small_local
    assert (tonight.division_seed, tonight.seed == small_local.seed) == (small_local.seed, False)
    report.python_func(small_local.to_json(), "scheduled", when, SimpleNamespace(state="COMPLETE", error_message=""))
    registry = Context(tonight).registry
    assert registry.client.get_run(registry.parent).info.status == "FINISHED"
    again, data, _ = plain.prepare_cycle(small_local.to_json(), "20261126-030000", "")  # resubmitted by name
    assert again == settings
    assert f"/{tonight.run}/" in data


def test_a_cycle_starts_from_the_champion_there_is_and_keeps_to_it_when_it_is_run_again(small_local: Config) -> None:
    from selfemo.registry.versions import CHAMPION

    def cycle(name: str) -> tuple[str, str]:
        settings, data, _ = plain.prepare_cycle(nightly.to_json(), name, "")
        return settings, plain.warmup(settings, data)

    policy = small_local.policy.model_copy(update={"start": f"models:/{small_local.mlflow.model}@{CHAMPION}"})
    nightly = small_local.model_copy(update={"policy": policy})
    context = Context(small_local)
    _, first = cycle("first")
    assert there(context.store.manifest(first)).result["steps"] > 0  # nothing to start from yet
    number = context.registry.versions.register(first, context.registry.round(0), {})
    context.registry.versions.set_alias(CHAMPION, number)
    settings, second = cycle("second")
    assert context.policies.find(second).uri == first
    other = context.registry.versions.register("s3://another", context.registry.round(0), {})
    context.registry.versions.set_alias(CHAMPION, other)
    assert cycle("second") == (settings, second)
