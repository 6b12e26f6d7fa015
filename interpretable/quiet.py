"""Warnings of libraries that say nothing to a user of this package."""

import os
import warnings


def silence_what_the_user_cannot_mend() -> None:
    """Filters them out of the terminal for the rest of the process; the tests run without it."""
    # Lightning 2.6 makes calls that jsonargparse 5 removes; the bound below 5 is the cure.
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    # Lightning 2.6's own tree helper, under torch 2.11 and later.
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
    # How many workers pay depends on the data: drawn images in the main process are fast enough.
    warnings.filterwarnings("ignore", r"The '\w+_dataloader' does not have many workers")
    # A test, or a resumed run, writes to its own folder; the checkpoint that it reads stays where it is.
    warnings.filterwarnings("ignore", r"The dirpath has changed from")
    # The best checkpoint is that of the first callback, which the configuration describes.
    warnings.filterwarnings("ignore", r".* is called with Trainer configured with multiple `ModelCheckpoint`")
    # Everything is logged once an epoch.
    warnings.filterwarnings("ignore", r"The number of training batches .* is smaller than the logging interval")
    # Frozen layers are meant to be in evaluation mode; nothing else is, in a model that has just been built.
    warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode at the start of training")
