"""Fit weight sharing to a pair of trained nets: `python src/fit_sharing.py mult_ckpt=... mf_ckpt=...`."""

from shiftaddaug.commands.fit_sharing import main

if __name__ == "__main__":
    main()
