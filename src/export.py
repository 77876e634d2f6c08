"""`python src/export.py target=logs/train/runs/RUN format=onnx`: see shiftaddaug/commands/export.py."""

from shiftaddaug.commands.export import main

if __name__ == "__main__":
    main()
