"""Run the ablation's rows over seeds and compare them in one table: `python src/ablate.py ops=[shift,add]`."""

from shiftaddaug.commands.ablate import main

if __name__ == "__main__":
    main()
