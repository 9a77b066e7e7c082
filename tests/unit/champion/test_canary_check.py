"""A canary that is watched: it waits, goes on, is rolled back or becomes champion; killed anywhere, it ends right."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfemo.canary import servers
from selfemo.canary.watch import Became, LookResult, check
from selfemo.cli import main
from selfemo.context import Context
from selfemo.errors import UserError
from selfemo.registry.served import wanted
from selfemo.registry.versions import CANARY
from tests.unit.champion.pair import HELD_OUT, Pair, listening, publish
from tests.unit.champion.world import World

DAY = 86_400


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    monkeypatch.setattr(servers, "PAUSE", 0)
    with listening() as made:
        yield made


def begun(world: World, pair: Pair, place: Path, apart: int = 2, **more: Any) -> None:
    """Version 1 is champion, 2 canary; both servers serve what they should, and Prometheus has seen both do well."""
    world.fresh(0, pair.settings(**more))
    digests, _ = publish(world, place, apart)
    pair.champion.digest, pair.canary.digest = digests["1"], digests["2"]
    pair.champion.requests, pair.canary.requests = 9000, 1000
    world.by_hand("1")
    world.by_the_loop("2")


def look(world: World, hours: float = 0) -> LookResult:
    return check(Context(world.context.config), lambda: time.time() + hours * 3600)


def share(world: World) -> int:
    context = Context(world.context.config)
    champion = context.registry.versions.alias("champion")
    assert champion is not None
    served = wanted(context, champion).canary
    assert served is not None
    return served.share


def state(world: World) -> tuple[str, str]:
    return world.champion(), world.alias(CANARY)


def test_it_gets_its_share_when_its_server_answers_with_its_weights_and_not_before(
    world: World, pair: Pair, tmp_path: Path
) -> None:
    begun(world, pair, tmp_path)
    digest, pair.canary.digest = pair.canary.digest, None
    assert look(world).became is Became.WAITS
    pair.canary.digest = "0" * 64
    assert "other weights" in "".join(look(world).lines)
    assert share(world) == 0
    pair.canary.digest = digest
    assert look(world).became is Became.WAITS
    assert share(world) == 10
    assert look(world).became is Became.GOES_ON


def test_it_becomes_champion_when_it_has_served_well_for_long_enough(world: World, pair: Pair, tmp_path: Path) -> None:
    begun(world, pair, tmp_path)
    look(world)
    assert look(world, hours=23).became is Became.GOES_ON
    pair.canary.requests = 100 + HELD_OUT - 1  # what was asked of it is no traffic
    assert look(world, hours=25).became is Became.GOES_ON
    pair.canary.requests += 1
    assert look(world, hours=25).became is Became.CHAMPION
    assert state(world) == ("2", "")
    assert world.tags("2")["selfemo.promotion_reason"] == "better; it has been canary"
    assert world.tags("2")["selfemo.promotion_evidence"] == world.tags("2")["selfemo.canary_evidence"] != ""
    assert look(world).became is Became.NONE


BAD: dict[str, tuple[Callable[[Pair], None], str]] = {
    "errors": (lambda pair: setattr(pair.canary, "errors", 100), "errors: "),
    "seconds": (lambda pair: setattr(pair.canary, "late", 500), "seconds: "),
    "disagreement": (lambda pair: setattr(pair.canary, "reads", "anger"), "disagreement: "),
    "silence": (lambda pair: setattr(pair.canary, "digest", None), "answers: "),
}


@pytest.mark.parametrize("bad", BAD)
def test_it_is_rolled_back_for(world: World, pair: Pair, tmp_path: Path, bad: str) -> None:
    begun(world, pair, tmp_path)
    look(world)
    plant, said = BAD[bad]
    plant(pair)
    assert look(world).became is Became.STOPPED
    assert state(world) == ("1", "")
    assert f"rolled back: {said}" in world.tags("2")["selfemo.canary_ended"]
    assert share(world) == 0


def test_a_few_bad_requests_decide_nothing(world: World, pair: Pair, tmp_path: Path) -> None:
    begun(world, pair, tmp_path)
    look(world)
    pair.canary.requests = pair.canary.errors = pair.canary.late = 49
    assert look(world).became is Became.GOES_ON


@pytest.mark.parametrize("away", ["the champion", "Prometheus"])
def test_it_goes_on_while_nothing_can_be_compared(world: World, pair: Pair, tmp_path: Path, away: str) -> None:
    begun(world, pair, tmp_path)
    look(world)
    if away == "the champion":
        pair.champion.digest = None
        assert look(world, hours=30).became is Became.GOES_ON
    else:
        canary = world.context.config.canary
        assert canary is not None
        elsewhere = canary.model_copy(update={"prometheus": f"{pair.url}/nowhere"})
        world.context = Context(world.context.config.model_copy(update={"canary": elsewhere}))
        with pytest.raises(UserError, match="not as Prometheus does"):
            look(world, hours=30)
    assert state(world) == ("1", "2")


def test_both_are_asked_once_and_never_again(world: World, pair: Pair, tmp_path: Path) -> None:
    begun(world, pair, tmp_path)
    look(world)
    look(world)
    look(world)
    assert pair.canary.asked == pair.champion.asked == HELD_OUT
    known = json.loads(world.tags("2")["selfemo.canary_asked"])
    assert known == {"differ": 0, "asked": HELD_OUT, "held_out": HELD_OUT, "held_out_differ": 2}


def test_one_that_is_never_decided_is_stopped_in_the_end(world: World, pair: Pair, tmp_path: Path) -> None:
    begun(world, pair, tmp_path)
    pair.canary.digest = None
    assert look(world, hours=167).became is Became.WAITS
    assert look(world, hours=169).became is Became.STOPPED
    assert "undecided after 168 hours" in world.tags("2")["selfemo.canary_ended"]


def test_an_alias_that_a_person_moved_is_watched_too_and_asked_for_at_the_gate_before_it_is_champion(
    world: World, pair: Pair, tmp_path: Path
) -> None:
    world.fresh(0, pair.settings())
    digests, _ = publish(world, tmp_path, apart=10)
    pair.champion.digest, pair.canary.digest = digests["1"], digests["2"]
    pair.champion.requests = pair.canary.requests = 1000
    world.by_hand("1")
    world.context.registry.versions.set_alias(CANARY, "2")
    assert look(world).became is Became.WAITS
    assert world.tags("2")["selfemo.canary_against"] == "1"
    assert look(world, hours=30).became is Became.STOPPED
    assert state(world) == ("1", "")
    assert "rolled back: it went past the gate, which says no: " in world.tags("2")["selfemo.canary_ended"]


@pytest.mark.parametrize("force", [False, True])
def test_one_that_the_guard_of_any_run_stopped_is_champion_by_force_alone(
    world: World, pair: Pair, tmp_path: Path, force: bool
) -> None:
    begun(world, pair, tmp_path)
    if force:
        world.context.registry.canary.stop("again, by hand")
        world.by_hand("2")
    look(world)
    versions = world.context.registry.versions
    versions.client.set_model_version_tag(versions.model, "2", "selfemo.stopped", "collapse: one label")
    assert look(world, hours=25).became is (Became.CHAMPION if force else Became.STOPPED)
    assert state(world) == ("2" if force else "1", "")
    assert ("the guard stopped it: collapse" in world.tags("2")["selfemo.canary_ended"]) is not force


def test_a_champion_that_a_person_moved_ends_it(world: World, pair: Pair, tmp_path: Path) -> None:
    begun(world, pair, tmp_path)
    third = world.context.registry.versions.register("s3://b/3", world.context.registry.round(1), {})
    world.context.registry.versions.set_alias("champion", third)
    assert look(world).became is Became.NONE
    assert state(world) == (third, "")


def test_what_somebody_else_decided_meanwhile_stands(
    world: World, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(world, pair, tmp_path)
    look(world)
    pair.canary.errors = 500
    real = pair.answer

    def slowly(path: str, body: bytes) -> tuple[int, Any]:
        monkeypatch.setattr(pair, "answer", real)
        world.by_hand("2", at_once=True)
        return real(path, body)

    monkeypatch.setattr(pair, "answer", slowly)
    assert look(world).became is Became.NONE
    assert state(world) == ("2", "")


@pytest.mark.parametrize("ends", ["champion", "rolled back"])
def test_a_look_that_was_killed_anywhere_ends_right_when_the_next_one_comes(
    world: World, pair: Pair, tmp_path: Path, ends: str
) -> None:
    def prepare() -> Callable[[], object]:
        pair.canary.errors = 0
        begun(world, pair, tmp_path, ask=0)
        look(world)
        pair.canary.errors = 0 if ends == "champion" else 500
        return lambda: look(world, hours=30)

    for at in world.cut_off_everywhere(prepare, dies=True):
        look(world, hours=30)
        assert state(world) == (("2", "") if ends == "champion" else ("1", "")), at
        assert world.tags("2")["selfemo.canary_ended"], at
        assert ("selfemo.promoted_at" in world.tags("2")) == (ends == "champion"), at


def test_the_command_says_what_was_seen_and_its_exit_code_that_one_was_rolled_back(
    world: World, pair: Pair, tmp_path: Path
) -> None:
    begun(world, pair, tmp_path)
    file = tmp_path / "config.yaml"  # JSON is YAML
    file.write_text(world.context.config.to_json())

    def command(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["canary", *arguments, "--config", str(file)])
        return done.exit_code, done.output

    assert "it gets 10 % of the traffic from now on" in command("check")[1]
    pair.canary.errors = 200
    code, output = command("check")
    assert code == 1
    assert "version 2 is rolled back: errors: beyond its bound: 200 of 1000 answers" in output
    assert command("check")[0] == 0
    assert "the last was version 2: rolled back: errors" in command("show")[1]
    told = json.loads(CliRunner().invoke(main, ["canary", "show", "--json", "--config", str(file)]).stdout)
    assert (told["champion"], told["canary"], told["share"], told["started"]) == ("1", None, 0, "")
    assert told["reason"].startswith("rolled back: errors")
    looked = json.loads(CliRunner().invoke(main, ["canary", "check", "--json", "--config", str(file)]).stdout)
    assert (looked["became"], looked["model"]) == ("none", world.context.registry.model)
    code, output = command("stop", "--reason", "too late")
    assert (code, "there is no canary" in output) == (2, True)


def test_without_the_section_there_is_nothing_to_look_at(world: World) -> None:
    world.fresh(1)
    with pytest.raises(UserError, match="no canary is configured"):
        look(world)
