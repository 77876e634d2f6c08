"""Every figure is drawn once, saved, and handed to loggers; one that fails costs nothing."""

import errno
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shiftaddaug.catalogue import Catalogue, catalogue_of
from shiftaddaug.report.drawing import draw_figures
from shiftaddaug.report.guarded import GuardedLogger

METRICS = "epoch,step,train/loss,val/top1\n0,1,2.5,\n0,1,,0.25\n"
GOOD = """from matplotlib.figure import Figure

def draw(folder):
    if not (folder / "metrics.csv").exists():
        return None
    figure = Figure(figsize=(2, 1), dpi=50)
    figure.subplots()
    return figure
"""


def write_plugin(folder: Path, name: str, **figures: str) -> Catalogue:
    """A plugin with figures, given by name and source."""
    place = folder / name / "report" / "figures"
    place.mkdir(parents=True)
    (folder / name / "__init__.py").touch()
    for figure, source in figures.items():
        (place / f"{figure}.py").write_text(source)
    return catalogue_of([str(folder / name)])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "metrics.csv").write_text(METRICS)
    return folder


def pictures(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if ".png" in path.name)


class Taking:
    """A logger with a method for pictures."""

    def __init__(self) -> None:
        self.taken: list[tuple[Any, ...]] = []

    def log_image(self, key: str, images: list[Any], step: int | None = None) -> None:
        self.taken.append((key, [image.size for image in images], step))


def guarded(logger: Any) -> GuardedLogger:
    return GuardedLogger(f"logger.{type(logger).__name__.lower()}", logger)


class Refusing:
    def log_image(self, *_: Any, **__: Any) -> None:
        raise ConnectionError(errno.ECONNRESET, "Connection reset by peer")


def test_those_with_something_to_show_are_saved(run: Path) -> None:
    draw_figures(run)
    assert pictures(run) == ["curves.png"]
    with Image.open(run / "curves.png") as image:
        assert (image.format, image.size) == ("PNG", (1000, 400))


def test_of_an_empty_folder_there_are_none(tmp_path: Path) -> None:
    draw_figures(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_plugins_figure_is_one_file(run: Path, tmp_path: Path) -> None:
    logger = Taking()
    draw_figures(run, write_plugin(tmp_path, "good_figures", mine=GOOD), [guarded(logger)], step=7)
    assert pictures(run) == ["curves.png", "mine.png"]
    assert logger.taken == [("figures/curves", [(1000, 400)], 7), ("figures/mine", [(100, 50)], 7)]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def draw(folder):\n    return int('')\n", "ValueError: invalid literal for int() with base 10: ''"),
        ("def draw(folder):\n    return 1 / 0\n", "ZeroDivisionError: division by zero"),
        ("def draw(folder):\n    raise PermissionError(13, 'Permission denied')\n", "Permission denied"),
        ("import sys\nsys.exit(1)\n", "SystemExit: 1"),
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = 1\n", "AttributeError: module"),
        ("def draw(folder)\n", "SyntaxError"),
    ],
)
def test_one_that_fails_is_warned_of_and_the_others_are_drawn(
    source: str, reason: str, run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, request: Any
) -> None:
    plugin = f"bad_figures_{request.node.callspec.indices['source']}"
    draw_figures(run, write_plugin(tmp_path, plugin, aaa=source, zzz=GOOD))
    assert pictures(run) == ["curves.png", "zzz.png"]
    (message,) = (record.getMessage() for record in caplog.records)
    assert message.startswith(f"aaa.png could not be drawn ({reason}")


def test_what_is_no_figure_is_warned_of(run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    draw_figures(run, write_plugin(tmp_path, "no_figures", aaa="def draw(folder):\n    return 3\n"))
    (message,) = (record.getMessage() for record in caplog.records)
    assert message.startswith("aaa.png could not be drawn (TypeError: draw returned a ")
    assert pictures(run) == ["curves.png"]


def test_a_full_disk_leaves_no_half_of_it(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fill(path: Path, content: bytes) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill)
    draw_figures(run)
    assert [record.getMessage() for record in caplog.records] == [
        "curves.png could not be written (No space left on device)"
    ]
    assert pictures(run) == []


def test_a_logger_that_fails_costs_the_others_nothing(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger = Taking()
    draw_figures(run, loggers=[guarded(Refusing()), guarded(logger)])
    assert [record.getMessage() for record in caplog.records] == [
        "logger.refusing: failed in taking curves.png (Connection reset by peer); the run goes on without it"
    ]
    assert len(logger.taken) == 1
    assert pictures(run) == ["curves.png"]
