"""Say what a deployed target sees in images: `python src/predict.py target=logs/train/runs/RUN photo.png`."""

from shiftaddaug.commands.predict import main

if __name__ == "__main__":
    main()
