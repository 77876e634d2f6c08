"""`python src/cost.py net=mcunet op=add`: what a network costs on hardware. Imports no torch."""

from omegaconf import DictConfig

from shiftaddaug.commands.entry import run_command, typed_overrides
from shiftaddaug.hardware.budget import check_budget
from shiftaddaug.report.cost import print_report, save_report
from shiftaddaug.runs.compose import catalogue_in
from shiftaddaug.runs.cost import read_cost


def cost(cfg: DictConfig) -> None:
    """Print what the target of a training costs, or a deployed one: layers, totals, operators side by side.

    Raises:
        UserError: a mistake in what describes the network; a layer that the hardware cannot compute; a network over
            the hardware's budget, when all has been printed.
    """
    typed = typed_overrides()
    report = read_cost(cfg, typed, catalogue_in(typed))
    print_report(report)
    if report.save is not None:
        save_report(report, report.save)
    check_budget(report.plan, report.chosen.assignment, report.hardware)


def main() -> None:
    """Run the command."""
    run_command("cost", cost)


if __name__ == "__main__":
    main()
