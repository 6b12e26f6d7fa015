"""``interpretable COMMAND``: what comes after training, and training itself for an installed package."""

from interpretable.commands.app import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
