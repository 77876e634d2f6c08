"""What README and docs/ promise: commands compose, links lead somewhere, tables are those of the recorded runs."""

import csv
import math
import re
import shlex
import subprocess
from pathlib import Path
from statistics import mean, stdev, variance

import pytest
from omegaconf import OmegaConf

from shiftaddaug.commands.arguments import split_paths
from shiftaddaug.runs.settings import read_settings
from tests.commands.running import ROOT, composed
from tests.nets.searching import written

README = (ROOT / "README.md").read_text()
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}
SETTINGS, RESULTS, EXTENDING = (PAGES[f"docs/{name}.md"] for name in ("settings", "results", "extending"))
PLUGIN = "my_package"
"""The package of docs/extending.md: test_extending.py composes the commands that name it."""


def commands(page: str) -> list[tuple[str, str]]:
    """Every `python src/<name>.py ...` of a page: lines of its bash blocks, and inline code."""
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", page, re.DOTALL))
    text = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    found = re.findall(r"^python src/(\w+)\.py *(.*?) *(?:#.*)?$", blocks, re.MULTILINE)
    found += [(name, " ".join(rest.split())) for name, rest in re.findall(r"`python\s+src/(\w+)\.py\s*([^`]*)`", text)]
    return [(name, rest) for name, rest in found if PLUGIN not in rest]


COMMANDS = sorted({(page, *command) for page, text in PAGES.items() for command in commands(text)})


def table(page: str, heading: str, columns: int) -> list[list[str]]:
    """Cells of the first table after a heading, without its two head rows."""
    lines = re.search(r"(?:^\|.*\|\n)+", page.split(f"## {heading}\n")[1], re.MULTILINE)
    assert lines is not None, heading
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines[0].splitlines()]
    assert {len(row) for row in rows} == {columns}
    return rows[2:]


def test_there_are_commands() -> None:
    assert len(commands(README)) > 8
    names = {"train", "eval", "predict", "export", "ablate", "fit_sharing", "cost", "search"}
    assert {name for _, name, _ in COMMANDS} == names
    assert {page for page, _, _ in COMMANDS} >= {"README.md", "docs/settings.md", "docs/results.md"}


def _first_job(argument: str) -> str | None:
    """What a multirun's first job is given; nothing of a flag, or of a range that is searched."""
    return None if argument == "-m" or argument.endswith(")") else argument.split(",")[0]


@pytest.mark.parametrize(("page", "name", "arguments"), COMMANDS)
def test_commands_compose(page: str, name: str, arguments: str, tmp_path: Path) -> None:
    if "--help" in arguments:
        return
    searched = "searched.json"  # what a search has written
    typed = shlex.split(arguments.replace(searched, str(written(tmp_path)) if searched in arguments else ""))
    if name == "predict":
        typed = split_paths(typed)[1]
    jobs = [job for job in map(_first_job, typed) if job] if "-m" in typed else typed
    cfg = composed(tmp_path / "run", *jobs, config_name=name)
    missing = ("data.data_dir=", "sharing.remap_file=", "net.path=", "data=camvid")
    made_up = any(argument.startswith(missing) for argument in typed)
    if name == "train" and not made_up:  # else the check looks for files that are not there
        read_settings(cfg)
    if name == "ablate":
        assert {*cfg.rows} <= {path.stem for path in (ROOT / "configs/experiment/ablation").glob("[!_]*.yaml")}
        first = (f"experiment=ablation/{cfg.rows[0]}", f"op={cfg.ops[0]}", *cfg.overrides)
        run = composed(tmp_path / "run", *first)
        if "data=camvid" not in cfg.overrides:  # whose files are not here
            read_settings(run)


def test_make_targets_exist_and_are_helped_with() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    line = ["make", "--no-print-directory", "help"]
    helped = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    assert {line.split()[0] for line in helped.stdout.splitlines()} == targets
    for page, text in PAGES.items():
        code = "\n".join(re.findall(r"`[^`]+`", text))
        assert set(re.findall(r"\bmake ([a-z-]+)", code)) <= targets, page


def test_links_lead_somewhere() -> None:
    for page, text in PAGES.items():
        for link in re.findall(r"\]\(([^)]+)\)", text):
            if not link.startswith("https://"):
                path, _, anchor = link.partition("#")
                assert ((ROOT / page).parent / path).exists(), f"{page}: {link}"
                assert not anchor, f"{page}: {link}: nobody checks anchors"


def test_readme_is_short_and_leads_to_every_page() -> None:
    assert len(README.splitlines()) <= 140
    assert set(re.findall(r"\]\((docs/\w+\.md)\)", README)) == PAGES.keys() - {"README.md"}


def test_the_map_is_the_tree() -> None:
    package = ROOT / "src" / "shiftaddaug"
    listed = set(re.findall(r"^  (\w+)/ ", EXTENDING.split("src/shiftaddaug/\n")[1], re.MULTILINE))
    assert listed == {path.parent.name for path in package.glob("*/__init__.py")}


def test_files_that_are_named_are_there() -> None:
    """Beside a plugin's, which are made up."""
    package, seen = ROOT / "src" / "shiftaddaug", set()
    folders = "|".join(sorted(path.parent.name for path in package.glob("*/__init__.py")))
    for page, text in PAGES.items():
        for path in re.findall(rf"`((?:src/shiftaddaug/)?(?:{folders})/[\w/]+\.py)`", text):
            name = path.removeprefix("src/shiftaddaug/")
            assert any((folder / name).exists() for folder in (package, ROOT / "tests")) or made_up(name), (page, path)
            seen.add(name)
        for path in re.findall(r"`((?:tests|benchmarks|src)/[\w/]+\.py|configs/[\w/]+\.yaml)`", text):
            assert (ROOT / path).exists() or made_up(path), (page, path)
    assert len(seen) > 30


def made_up(path: str) -> bool:
    """Whether it is an example of docs/extending.md, or the empty file beside examples."""
    example = path.replace("__init__", "settings")
    return f"\n# {PLUGIN}/{example}\n" in EXTENDING


def test_options_are_files() -> None:
    """Not all files: a new operator or net needs no edit of the pages."""
    for group in (
        "op",
        "aug",
        "net",
        "arch",
        "data",
        "sharing",
        "reorder",
        "block_variant",
        "bn",
        "optim",
        "optim/scheduler",
    ):
        row = re.search(rf"^\| `{group}` \| (.*?) \|", README + SETTINGS, re.MULTILINE)
        assert row is not None
        options = set(re.findall(r"`(\w+)`", row[1]))
        assert len(options) > 1
        assert options <= {path.stem for path in (ROOT / "configs" / group).glob("[!_]*.yaml")}


def runs(study: str, op: str, row: str) -> list[dict[str, str]]:
    with (ROOT / "experiments" / study / "runs.csv").open(newline="") as file:
        found = [run for run in csv.DictReader(file) if (run["op"], run["row"]) == (op, row)]
    return sorted(found, key=lambda run: int(run["seed"]))


def top1(study: str, op: str, row: str, split: str = "test") -> list[float]:
    return [float(run[f"{split}_top1_percent"]) for run in runs(study, op, row)]


def micro(op: str, row: str, free_scale: bool) -> list[float]:
    found = runs(f"cifar100_micro_{op}", op, row)
    free = [run for run in found if (run["stored_scale"] == "free") == free_scale or row == "remap_alone"]
    return [float(run["test_top1_percent"]) for run in free]


def shown(values: list[float]) -> str:
    return f"{mean(values):.2f} ± {stdev(values):.2f}"


def spread(values: list[float], baseline: list[float]) -> tuple[str, str]:
    """The tables' two cells: mean and standard deviation, and the gain with its standard error."""
    if not values:
        return "", ""
    cell, gain = f"{mean(values):.2f}", f"{mean(values) - mean(baseline):+.2f}"
    if len(values) > 1:
        error = math.sqrt(variance(values) / len(values) + variance(baseline) / len(baseline))
        cell, gain = shown(values), f"{gain} ± {error:.2f}"
    return cell if len(values) == 3 else f"{cell} ({len(values)})", gain


def test_the_ablations_table_is_that_of_its_runs() -> None:
    rows = table(RESULTS, "What each mechanism is worth", 5)
    names = [row[0].split("`")[1] for row in rows]
    assert {*names} >= {*OmegaConf.load(ROOT / "configs" / "ablate.yaml").rows}
    for name, (label, *cells) in zip(names, rows, strict=True):
        free = "free" in label
        wanted: list[str] = []
        for op in ("shift", "add"):
            values = [] if free and op == "shift" else micro(op, name, free)
            cell, gain = spread(values, micro(op, "mf_direct", False))
            wanted += [cell, "" if name == "mf_direct" else gain]
        assert cells == wanted, name


def test_the_table_by_seed_is_that_of_its_runs() -> None:
    best = {"shift": "plain_sharing", "add": "block_variant"}
    rows = table(RESULTS, "The same net, trained 2.5 times as long", 5)
    assert [row[0] for row in rows] == [*best]
    for op, *cells in rows:
        values = [micro(op, row, False) for row in ("mf_direct", best[op])]
        values += [top1("cifar100_micro_20_epochs", op, row) for row in ("mf_direct", best[op])]
        assert cells == [", ".join(f"{value:.2f}" for value in seeds) for seeds in values]


def test_the_table_of_the_larger_net_is_that_of_its_runs() -> None:
    rows = table(RESULTS, "shift at 2.7 times the MACs", 6)
    assert [row[0] for row in rows] == ["`mf_direct`", "`plain_sharing`"]
    for name, *cells, params, macs in rows:
        row = name.strip("`")
        wanted = [shown(top1("cifar100_w02_shift", "shift", row, split)) for split in ("test", "val", "train")]
        assert [cell.strip("*") for cell in cells] == wanted
        for run in runs("cifar100_w02_shift", "shift", row):
            assert (params, macs) == (f"{int(run['params']):,}", f"{int(run['macs']) / 1e6:.2f} M")


def test_the_table_of_segmentation_is_that_of_its_runs() -> None:
    def values(op: str, row: str, figure: str) -> list[float]:
        return [float(run[f"test_{figure}_percent"]) for run in runs("camvid_unet", op, row)]

    for op, name, miou, gain, accuracy in table(RESULTS, "Segmentation of CamVid", 5):
        row = name.strip("`")
        found = spread(values(op, row, "miou"), values(op, "mf_direct", "miou"))
        assert (miou, gain) == (found[0], "" if row == "mf_direct" else found[1])
        assert accuracy == spread(values(op, row, "pixel_accuracy"), [0.0, 0.0])[0]
        assert {(run["params"], run["macs"]) for run in runs("camvid_unet", op, row)} == {("77779", "155164416")}


STUDIES = {
    ("mbv2_micro", "8"): "cifar100_micro_{}",
    ("mbv2_w02", "12"): "cifar100_w02_{}",
    ("mbv2_micro", "20"): "cifar100_micro_20_epochs",
}


def test_the_four_rows_of_readme_are_those_of_their_runs() -> None:
    rows = table(README, "The result in four rows", 5)
    assert len(rows) == 4
    for what, seeds, direct, augmented, gain in rows:
        op, net, epochs = what.replace("`", "").split(", ")
        study = STUDIES[net, epochs].format(op)
        cell, row = re.fullmatch(r"(.*) \(`(\w+)`\)", augmented).groups()  # type: ignore[union-attr]
        baseline, values = top1(study, op, "mf_direct"), top1(study, op, row)
        assert {run["epochs"] for run in runs(study, op, row)} == {epochs}
        assert (len(baseline), len(values)) == (int(seeds), int(seeds))
        assert (direct, cell) == (shown(baseline), shown(values))
        assert gain == spread(values, baseline)[1]
