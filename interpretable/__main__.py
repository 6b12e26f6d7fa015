"""``interpretable fit ...`` is ``python train.py fit ...`` for an installed package."""

from interpretable.cli import main as train


def main() -> None:
    """Entry point of the command ``interpretable``."""
    train()


if __name__ == "__main__":
    main()
