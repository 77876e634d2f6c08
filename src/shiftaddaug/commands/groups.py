"""What `--help` says of commands and of the groups that are chosen from: a line each. Imports no torch."""

COMMANDS = {
    "train": "Train a target network inside its supernet, deploy it, and test what was deployed.",
    "eval": "Evaluate a deployed target, or a sub-network of a supernet's checkpoint.",
    "predict": "Say what a deployed target sees in images.",
    "export": "Write a deployed target into a file that needs nothing of this package: ONNX or a torch program.",
    "cost": "Print what the target of a training would cost on a device; nothing is trained or written.",
    "search": "Search an architecture, a stage a command: space, supernet, target.",
    "ablate": "Train and tabulate the rows of an ablation study; what is finished is not run again.",
    "fit_sharing": "Fit the remap of sharing=heterogeneous to two trained networks.",
}
"""What commands do, by the names of their yamls."""

GROUPS = {
    "arch": "what the network ends in: a classifier, or a decoder that segments",
    "aug": "what surrounds the target during training, and is dropped after it",
    "block_variant": "when the target's layers turn from multiplication to their operator",
    "bn": "which batch-norm statistics the target is validated and deployed with",
    "callbacks": "what else happens between steps and epochs; several: callbacks=[ema,early_stopping]",
    "data": "what the network learns: images and their classes, or masks",
    "debug": "a short run that tries everything",
    "experiment": "settings of a published or recorded experiment, all at once",
    "experiment/ablation": "rows of the ablation study",
    "hardware": "the device on which costs are counted",
    "logger": "who is told of the curves besides metrics.csv; several: logger=[wandb,tensorboard]",
    "net": "the shape of the target: its blocks, widths and depths",
    "op": "the operator that the deployed network computes with",
    "optim": "the optimiser",
    "optim/scheduler": "how the learning rate changes over the training",
    "paths": "where data are read and runs are written",
    "recipe": "the mechanisms that were measured best for an operator, all at once",
    "reorder": "whether important channels move into the target between epochs",
    "search": "which supernet a search trains, and what it searches in it",
    "sharing": "how weights are shared between the target's operator and what surrounds it",
    "space": "the architectures that a search chooses from",
    "sweep": "a search over trainings (with -m): what it varies, and by which sampler",
    "task": "loss, figures and headline; data= chooses it",
    "trainer": "the device, the number of epochs, and other arguments of Lightning's Trainer",
}
"""What a group decides, by its name."""

USED = {"eval": {"trainer": ("_target_", "accelerator", "devices", "strategy", "precision", "deterministic")}}
"""Keys that a command uses of a group, by their names, where it leaves the others alone: `--help` shows these."""
