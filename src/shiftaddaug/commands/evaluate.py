"""`python src/eval.py ckpt_path=...`: evaluate a supernet's checkpoint or an extracted target."""

from omegaconf import DictConfig

from shiftaddaug.commands.entry import run_command, typed_overrides


def evaluate(cfg: DictConfig) -> float:
    """Evaluate on a split of the data it was trained with; print a table and return the task's headline figure.

    Raises:
        UserError: no such checkpoint, a damaged one, or data or a sub-network that does not fit it.
    """
    from shiftaddaug.runs.eval_settings import read_eval_settings
    from shiftaddaug.runs.importing import importing_torch

    settings = read_eval_settings(cfg, typed_overrides())
    with importing_torch():
        from shiftaddaug.runs import evaluate as step

    return step.evaluate(settings)


def main() -> None:
    """Run the command."""
    run_command("eval", evaluate)


if __name__ == "__main__":
    main()
