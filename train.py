"""Trains, validates, tests and predicts: python train.py fit --config configs/quickstart.yaml."""

from interpretable.cli import main

if __name__ == "__main__":
    main()
