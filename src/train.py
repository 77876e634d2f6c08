"""Train a target network inside its supernet: `python src/train.py op=add aug=width_expand data=cifar100`."""

from shiftaddaug.commands.train import main

if __name__ == "__main__":
    main()
