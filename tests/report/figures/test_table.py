"""The ablation's bars are those of its table."""

from pathlib import Path

from tests.report.test_ablation import run

from shiftaddaug.report.ablation import summarise, write_runs, write_tables
from shiftaddaug.report.figures.table import draw


def test_a_bar_for_each_row_and_a_panel_for_each_operator(tmp_path: Path) -> None:
    results = [run("a", 10.0), run("a", 12.0), run("b", 15.0), run("a", 11.0, op="shift")]
    write_tables(tmp_path, summarise(results, "a"))
    write_runs(tmp_path, [result | {"seed": 0} for result in results])
    figure = draw(tmp_path)
    assert figure is not None
    add, shift = figure.axes
    assert (add.get_title(), shift.get_title()) == ("op=add", "op=shift")
    assert [bar.get_height() for bar in add.patches] == [11.0, 15.0]
    assert [bar.get_height() for bar in shift.patches] == [11.0]
    spreads = [segment[:, 1].tolist() for bar in add.collections for segment in bar.get_segments()]
    assert spreads == [[11.0 - 1.41, 11.0 + 1.41]]  # none of one seed
    assert not shift.collections
    dots = [line.get_ydata() for line in add.lines if line.get_marker() == "o"]
    assert [list(dot) for dot in dots] == [[10.0, 12.0], [15.0]]
    baselines = [line.get_ydata()[0] for axes in figure.axes for line in axes.lines if line.get_linestyle() == "--"]
    assert baselines == [11.0, 11.0]
    assert figure.get_suptitle() == "test top-1 %: 1 to 2 seeds, a dot each; dashed: the baseline"


def test_rows_without_a_result_have_none(tmp_path: Path) -> None:
    header = "op,row,seeds,test top-1 %\n"
    (tmp_path / "table.csv").write_text(header + "add,a,1,12.00\nadd,b,1,\n")
    figure = draw(tmp_path)
    assert figure is not None
    assert len(figure.axes[0].patches) == 1
    (tmp_path / "table.csv").write_text(header + "add,b,1,\n")
    assert draw(tmp_path) is None


def test_there_is_none_without_a_table(tmp_path: Path) -> None:
    assert draw(tmp_path) is None
