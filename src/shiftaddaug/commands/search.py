"""`python src/search.py stage=space|supernet|target`: search for an architecture."""

from omegaconf import DictConfig

from shiftaddaug.commands import STARTED
from shiftaddaug.commands.entry import run_command, typed_overrides
from shiftaddaug.commands.freed_memory import keep_freed_memory
from shiftaddaug.report.config_tree import print_tree
from shiftaddaug.runs.compose import catalogue_in
from shiftaddaug.runs.no_effect_search import warn_of_stage
from shiftaddaug.runs.search_settings import read_search
from shiftaddaug.search.supernet import choose_space, train_supernet


def search(cfg: DictConfig) -> float:
    """Run one stage of a search.

    Returns:
        Of the space, the quantile of MACs of the chosen one; of the other stages the score of what was found.

    Raises:
        UserError: a mistake, or a limit that no network of the space meets.
    """
    typed = typed_overrides()
    settings = read_search(cfg, catalogue_in(typed))
    warn_of_stage(settings, typed)
    if settings.top.print_config:
        print_tree(settings.config)
    if settings.top.stage == "space":
        return choose_space(settings).quantile(settings.top.macs_quantile)
    if settings.top.stage == "supernet":
        return train_supernet(cfg, settings, typed, STARTED)
    from shiftaddaug.search.target import search_target

    return search_target(settings, typed)


def main() -> None:
    """Run the command."""
    keep_freed_memory()
    run_command("search", search)


if __name__ == "__main__":
    main()
