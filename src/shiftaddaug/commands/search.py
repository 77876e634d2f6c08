"""`python src/search.py stage=space`: search for an architecture. Imports no torch."""

from omegaconf import DictConfig

from shiftaddaug.commands.entry import run_command, typed_overrides
from shiftaddaug.nas.tinynas import choose, settings_of
from shiftaddaug.report.space import print_space, save_space
from shiftaddaug.runs.compose import catalogue_in
from shiftaddaug.runs.search_settings import read_search


def search(cfg: DictConfig) -> float:
    """Choose resolution and width of a search space; write and print what each of them fits.

    Returns:
        The quantile of MACs of the chosen one.

    Raises:
        UserError: a mistake, or a limit that no network of the space meets.
    """
    settings = read_search(cfg, catalogue_in(typed_overrides()))
    found = settings_of(
        settings.table,
        settings.space,
        settings.outputs,
        settings.in_channels,
        settings.hardware,
        settings.top.draws,
        settings.top.seed,
    )
    share = settings.top.macs_quantile
    best = choose(found, settings.hardware, share)
    save_space(settings.folder, found, best, share)
    print_space(settings.title, found, best, share)
    return best.quantile(share)


def main() -> None:
    """Run the command."""
    run_command("search", search)


if __name__ == "__main__":
    main()
