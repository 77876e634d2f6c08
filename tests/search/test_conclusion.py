"""What a search found."""

from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.trial import create_trial
from tests.search.test_space import read_space

from shiftaddaug.search.conclusion import command_of


def test_the_command_runs_the_trial_again_by_itself() -> None:
    searched, fixed = read_space(["sweep=nas", "sweep.n_trials=3", "resume=true", "op=add", "net.mult_layers=[a],[b]"])
    trial = create_trial(params={"net.mult_layers": "[b]"}, distributions=searched, value=1.0)
    assert command_of(trial, fixed) == "python src/train.py op=add 'net.mult_layers=[b]'"
    assert OverridesParser.create().parse_override("net.mult_layers=[b]").value() == ["b"]
