"""Evaluate a supernet's checkpoint or an extracted target: `python src/eval.py ckpt_path=...`."""

from shiftaddaug.commands.evaluate import main

if __name__ == "__main__":
    main()
