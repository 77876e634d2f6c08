"""Evolution under hard limits: against everything that could be chosen, killed, shared, and refused."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.build import read_yaml
from tests.hardware.oracles import eyeriss

from shiftaddaug import operators
from shiftaddaug.errors import UserError
from shiftaddaug.hardware.candidates import Pricer
from shiftaddaug.hardware.settings import Hardware
from shiftaddaug.nas.settings import MethodSettings, check_space
from shiftaddaug.nas.space import Choices, Point, largest_table
from shiftaddaug.nets.tables import plan_net
from shiftaddaug.search import heartbeat
from shiftaddaug.search.evolution import Evolution
from shiftaddaug.search.limits import Limits

BLOCK = {"block": "inverted_bottleneck", "channels": 8, "expand": 2, "depth": 2}
TABLE: dict[str, Any] = {"name": "little", "divisor": 4, "stem": {"channels": 8}, "stages": [BLOCK]}
OPERATED = ("blocks.1.depthwise.conv", "blocks.1.project.conv")
COST = "energy_mj_fair"


def little() -> Choices:
    """Return 2^2 expand ratios, 2^2 kernels, 2 depths, and 3^2 operators: 288 points."""
    raw = read_yaml("space", "micro") | {"widths": [1.0], "expand_ratios": [2, 4]}
    plan = plan_net(largest_table(TABLE, check_space(raw), 1.0), 5, 3, 8)
    exempt = [layer.name for layer in plan.layers() if layer.name not in OPERATED]
    return Choices(plan, check_space(raw | {"mult_layers": exempt}), 4)


CHOICES = little()
SETTINGS = [operators.settings_from({"name": name}) for name in CHOICES.operators]
PRICER = Pricer(CHOICES.plan, SETTINGS, Hardware("eyeriss_168", replace(eyeriss(), pad=True)))
OPTIONS = itertools.product(*CHOICES.parameters.values())
EVERY = [dict(zip(CHOICES.parameters, values, strict=True)) for values in OPTIONS]
PRICES = PRICER.price(CHOICES.of(EVERY))
LIMITS = Limits({name: float(np.quantile(PRICES[name], share)) for name, share in ((COST, 0.3), ("flash_kib", 0.8))})


def quality(point: Point) -> float:
    """Return a score that larger networks have more of, and shifts a little less."""
    numbers = [value for name, value in point.items() if not name.startswith("operator.")]
    return sum(numbers) / 100 + sum(value == "mult" for value in point.values()) / 1000


def evolution(storage: str | None = None, seed: int = 0, limits: Limits = LIMITS, **method: Any) -> Evolution:
    chosen = MethodSettings("two_stage", "ours", ["mult"], **{"population": 10, "evaluations": 30, **method})
    return Evolution(CHOICES, PRICER, limits, COST, "max", chosen, seed, storage, "a study", {"of": "little"})


def points(run: Evolution) -> list[dict[str, Any]]:
    return [run.point(trial) for trial in run.priced()]


def test_the_best_of_everything_is_found() -> None:
    kept = LIMITS.kept(PRICES)
    best = max(quality(point) for point, keeps in zip(EVERY, kept, strict=True) if keeps)
    assert best < max(map(quality, EVERY))  # the limits bind
    run = evolution(evaluations=45)
    run.run(quality)
    assert run.best().values[0] == best


def test_only_what_keeps_the_limits_is_scored_and_each_network_once() -> None:
    seen: list[Point] = []

    def score(point: Point) -> float:
        assert LIMITS.kept(PRICER.price(CHOICES.of([point])))[0]
        assert point not in seen
        seen.append(point)
        return quality(point)

    run = evolution()
    run.run(score)
    assert len(seen) == 30
    assert [run.point(trial) for trial in run.scored()] == seen


def test_the_front_is_that_of_what_was_scored() -> None:
    run = evolution()
    run.run(quality)
    pairs = [(trial.values[0], trial.values[1]) for trial in run.scored()]
    front = {(s, c) for s, c in pairs if not any(s2 >= s and c2 <= c and (s2, c2) != (s, c) for s2, c2 in pairs)}
    assert {(trial.values[0], trial.values[1]) for trial in run.front()} == front


@pytest.mark.parametrize("sampler", ["nsga2", "random"])
def test_a_seed_finds_the_same_networks(sampler: str) -> None:
    one, same, other = (evolution(seed=seed, sampler=sampler) for seed in (3, 3, 4))
    for run in (one, same, other):
        run.run(quality)
    assert points(one) == points(same) != points(other)


def test_a_killed_search_goes_on_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evolution(evaluations=16, population=6)
    whole.run(quality)
    monkeypatch.setattr(heartbeat, "_runs", lambda process: False)  # whoever was killed is no process any more
    storage, scored = f"journal:///{tmp_path / 'study'}", list[Point]()

    def killed_at(count: int) -> Any:
        def score(point: Point) -> float:
            if len(scored) == count:
                raise KeyboardInterrupt
            scored.append(point)
            return quality(point)

        return score

    for count in (3, 11):
        with pytest.raises(KeyboardInterrupt):
            evolution(storage, evaluations=16, population=6).run(killed_at(count))
    again = evolution(storage, evaluations=16, population=6)
    again.run(killed_at(1000))
    assert len(scored) == 16  # but what was in work, nothing was scored twice
    assert points(again) == points(whole)


@pytest.mark.parametrize("made", [0, 2], ids=["nothing chosen", "some chosen"])
@pytest.mark.parametrize("trials", [2, 9], ids=["in line", "drawn"])
def test_a_trial_that_was_killed_while_it_was_made_is_made_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: int, trials: int
) -> None:
    import optuna

    whole = evolution(evaluations=12, population=4)
    whole.run(quality)
    monkeypatch.setattr(heartbeat, "_runs", lambda process: False)
    storage, chosen, suggest = f"journal:///{tmp_path / 'study'}", list[str](), optuna.trial.Trial.suggest_categorical
    per_trial = sum(len(options) > 1 for options in CHOICES.parameters.values())

    def killed(trial: Any, name: str, options: Any) -> Any:
        if len(chosen) == trials * per_trial + made:
            raise KeyboardInterrupt
        chosen.append(name)
        return suggest(trial, name, options)

    with monkeypatch.context() as patched:
        patched.setattr(optuna.trial.Trial, "suggest_categorical", killed)
        with pytest.raises(KeyboardInterrupt):
            evolution(storage, evaluations=12, population=4).run(quality)
    again = evolution(storage, evaluations=12, population=4)
    again.run(quality)
    assert points(again) == points(whole)


def test_more_evaluations_add_what_is_missing(tmp_path: Path) -> None:
    storage = f"journal:///{tmp_path / 'study'}"
    evolution(storage, evaluations=4).run(quality)
    more = evolution(storage, evaluations=6)
    before = points(more)
    more.run(quality)
    assert len(more.scored()) == 6
    assert points(more)[: len(before)] == before


def test_a_space_that_is_used_up_ends(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("shiftaddaug.search.evolution.UNSCORED", 20)
    few = Limits({COST: float(np.sort(PRICES[COST])[5])})
    run = evolution(limits=few, evaluations=1000, population=4)
    run.run(quality)
    assert 4 <= len(run.scored()) <= few.kept(PRICES).sum()
    assert "the search ends at" in caplog.text


def test_limits_that_contradict_each_other_say_which_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each can be kept alone: what takes little of the one takes much of the other."""

    class Opposed(Pricer):
        def price(self, candidates: Any) -> Any:
            prices = super().price(candidates)
            return prices | {"peak_sram_kib": 10 - prices["flash_kib"]}

    monkeypatch.setattr("shiftaddaug.search.evolution.UNSCORED", 20)
    monkeypatch.setattr("shiftaddaug.search.evolution.refuse_unreachable", lambda *given: None)
    run = evolution(limits=Limits({"peak_sram_kib": 6.5, "flash_kib": 3.0}))
    run.pricer = Opposed(CHOICES.plan, SETTINGS, Hardware("eyeriss_168", replace(eyeriss(), pad=True)))
    with pytest.raises(UserError, match=r"; the nearest breaks limits\.(peak_sram|flash)_kib=[36.5]+ with \d"):
        run.run(quality)


def test_foreign_studies_are_refused(tmp_path: Path) -> None:
    import optuna

    storage = f"journal:///{tmp_path / 'study'}"
    evolution(storage, evaluations=2).run(quality)
    with pytest.raises(UserError, match=r"study a study searches something else: its of is little, and here large"):
        Evolution(
            CHOICES, PRICER, LIMITS, COST, "max", MethodSettings("a", "b", ["mult"]), 0, storage, "a study",
            {"of": "large"},
        )  # fmt: skip
    sqlite = f"sqlite:///{tmp_path / 'other.db'}"
    other = optuna.create_study(study_name="a study", storage=sqlite)
    other.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(UserError, match=r"^search.storage=.*: study a study is no architecture search"):
        evolution(sqlite)
    broken = tmp_path / "broken"
    broken.write_text("no journal\n")
    with pytest.raises(UserError, match=r"^search.storage=.*broken.*: cannot be opened"):
        evolution(f"journal:///{broken}")


def test_a_worker_tries_something_else_than_another_is_at() -> None:
    one = evolution(evaluations=12, population=10)
    one.run(quality)
    asked = [one._asked() for _ in range(2)]
    assert one.point(asked[0]) != one.point(asked[1])
