"""Taking turns, ratios, memory and files of the benchmarks."""

import csv
import os
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import measure
import pytest
from hypothesis import given
from hypothesis import strategies as st


class Clock:
    """Stands still but for the steps that it makes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def step(self, name: str, *seconds: float) -> Callable[[], None]:
        """A step that takes these seconds, call by call, and then always the last."""
        durations = iter(seconds)

        def call() -> None:
            self.calls.append(name)
            self.now += next(durations, seconds[-1])

        return call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock.now)
    return clock


class TestTakingTurns:
    def test_every_turn_begins_with_the_next(self) -> None:
        assert [measure.rotated("abc", turn) for turn in range(4)] == [
            list("abc"),
            list("bca"),
            list("cab"),
            list("abc"),
        ]

    def test_candidates_are_called_in_rotating_order(self, clock: Clock) -> None:
        steps = {name: clock.step(name, 1.0) for name in "abc"}
        measure.interleave(steps, rounds=4, warm_up=2)
        assert "".join(clock.calls) == "aabbcc" + "abc" + "bca" + "cab" + "abc"

    def test_seconds_are_of_each_recorded_call_in_order(self, clock: Clock) -> None:
        steps = {"a": clock.step("a", 9.0, 1.0, 2.0, 4.0), "b": clock.step("b", 0.5)}
        assert measure.interleave(steps, rounds=3) == {"a": [1.0, 2.0, 4.0], "b": [0.5, 0.5, 0.5]}

    def test_a_slow_candidate_gets_fewer_rounds(self, clock: Clock) -> None:
        steps = {"fast": clock.step("fast", 0.25), "slow": clock.step("slow", 1.0), "slower": clock.step("slower", 8.0)}
        seconds = measure.interleave(steps, rounds=10, budget=4.0)
        assert {name: len(times) for name, times in seconds.items()} == {"fast": 10, "slow": 4, "slower": 2}

    @pytest.mark.parametrize(
        ("seconds", "rounds", "budget", "wanted"),
        [
            (0.1, 15, 3.0, 15),
            (0.5, 15, 3.0, 6),
            (60, 15, 3.0, 2),
            (60, 1, 3.0, 1),
            (0, 15, 3.0, 15),
            (1, 15, float("inf"), 15),
        ],
    )
    def test_affordable_rounds(self, seconds: float, rounds: int, budget: float, wanted: int) -> None:
        assert measure.affordable_rounds(seconds, rounds, budget) == wanted

    @given(st.integers(1, 50).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
    def test_fewer_rounds_are_spread_evenly(self, rounds_of_total: tuple[int, int]) -> None:
        rounds, total = rounds_of_total
        turns = [turn for turn in range(total) if measure.takes_part(turn, total, rounds)]
        assert len(turns) == rounds
        gaps = [b - a for a, b in pairwise(turns)]
        assert all(total // rounds <= gap <= -(-total // rounds) for gap in gaps)


class TestRatios:
    def test_a_cycle_counts_each_step_at_its_best(self) -> None:
        assert measure.mean_of_least([3.0, 10.0, 1.0, 20.0, 2.0], cycle=2) == (1.0 + 10.0) / 2

    def test_one_step_is_at_its_best(self) -> None:
        assert measure.mean_of_least([3.0, 1.0, 2.0], cycle=1) == 1.0

    @pytest.mark.parametrize(
        ("value", "reference", "wanted"), [(3.0, 2.0, 1.5), (None, 2.0, None), (3.0, None, None), (3.0, 0.0, None)]
    )
    def test_ratio(self, value: float | None, reference: float | None, wanted: float | None) -> None:
        assert measure.ratio(value, reference) == wanted


KEPT: list[bytes] = []


def block(mib: int) -> bytes:
    return b"\1" * (mib * 2**20)


def nothing() -> None:
    pass


def keeps_40() -> None:
    KEPT.append(block(40))


def frees_64_and_returns_40() -> bytes:
    temporary = block(64)
    del temporary
    return block(40)


def returns_40_twice() -> list[bytes]:
    return [block(40), block(40)]


@pytest.mark.skipif(
    not measure.can_measure_memory(),
    reason="needs Linux and write access to /proc/self/clear_refs",
)
class TestMemory:
    """In fresh processes, as the benchmarks measure: where others have freed memory, a step may need none."""

    @staticmethod
    def growth(step: Callable[[], object], rehearsal: Callable[[], object]) -> float:
        return measure.in_fresh_process(measure.peak_growth, step, rehearsal)

    def test_what_a_step_allocates_counts_even_if_it_is_freed(self) -> None:
        assert self.growth(frees_64_and_returns_40, nothing) == pytest.approx(64, abs=2)

    def test_what_a_step_returns_counts(self) -> None:
        assert self.growth(returns_40_twice, nothing) == pytest.approx(80, abs=2)

    def test_what_the_rehearsal_keeps_does_not_count(self) -> None:
        assert self.growth(partial(block, 64), keeps_40) == pytest.approx(64, abs=2)

    def test_what_the_rehearsal_frees_does_not_count(self) -> None:
        assert self.growth(partial(block, 40), partial(block, 96)) == pytest.approx(40, abs=2)


def test_a_fresh_process_is_another_each_time() -> None:
    pids = {measure.in_fresh_process(os.getpid) for _ in range(2)}
    assert len(pids | {os.getpid()}) == 3


class TestArguments:
    def parser(self, tmp_path: Path) -> measure.Parser:
        parser = measure.Parser(prog="bench")
        parser.add_argument("--names", type=measure.some_of(["a", "b", "c"]))
        parser.add_argument("--rounds", type=measure.positive)
        parser.add_argument("--out", type=measure.folder)
        (tmp_path / "file").write_text("")
        return parser

    def test_values(self, tmp_path: Path) -> None:
        out = tmp_path / "new" / "folder"
        arguments = self.parser(tmp_path).parse_args(["--names", "c,a,c", "--rounds", "3", "--out", str(out)])
        assert (arguments.names, arguments.rounds, arguments.out) == (["c", "a"], 3, out)
        assert out.is_dir()

    @pytest.mark.parametrize(
        ("argument", "value", "line"),
        [
            ("--names", "a,x", "error: argument --names: x: no such name; options: a, b, c"),
            ("--names", "", "error: argument --names: : no such name; options: a, b, c"),
            ("--rounds", "0", "error: argument --rounds: 0: must be a positive integer"),
            ("--rounds", "1.5", "error: argument --rounds: 1.5: must be a positive integer"),
            ("--out", "{}/file", "error: argument --out: {}/file: not a folder that can be made (File exists)"),
            ("--bogus", "1", "error: unrecognized arguments: --bogus 1"),
        ],
    )
    def test_a_mistake_is_answered_in_one_line(
        self, argument: str, value: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as exit_:
            self.parser(tmp_path).parse_args([argument, value.format(tmp_path)])
        assert exit_.value.code == 2
        assert capsys.readouterr().err == line.format(tmp_path) + "\n"


class TestFiles:
    def test_table_cells(self) -> None:
        columns = {"name": ("name", ""), "ms": ("min ms", ".1f"), "note": ("note", "")}
        rows = [{"name": "a", "ms": 1.26, "other": 3}, {"name": "b", "ms": None, "note": "skipped"}]
        assert measure.formatted(rows, columns) == [
            {"name": "a", "min ms": "1.3", "note": None},
            {"name": "b", "min ms": None, "note": "skipped"},
        ]

    def test_csv_holds_the_rows(self, tmp_path: Path) -> None:
        measure.write_csv(tmp_path / "a.csv", [{"name": "a", "ms": 1 / 3}, {"name": "b", "ms": None}])
        with (tmp_path / "a.csv").open() as file:
            first, second = csv.DictReader(file)
        assert float(first["ms"]) == 1 / 3
        assert second == {"name": "b", "ms": ""}

    def test_bars_with_gaps_are_drawn(self, tmp_path: Path) -> None:
        panels = [
            measure.Panel("one", ["a", "b"], {"ours": [0.5, 2.0], "public": [300.0, None]}),
            measure.Panel("two", ["a"], {"ours": [None]}, limit=1.25),
        ]
        measure.plot_bars(tmp_path / "a.png", "ratios", panels)
        assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
