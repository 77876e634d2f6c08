"""`python src/cost.py net=mcunet op=add`: see shiftaddaug/commands/cost.py."""

from shiftaddaug.commands.cost import main

if __name__ == "__main__":
    main()
