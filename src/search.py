"""Search for an architecture: `python src/search.py stage=space space=micro hardware=stm32f412`."""

from shiftaddaug.commands.search import main

if __name__ == "__main__":
    main()
