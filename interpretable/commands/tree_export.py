"""Every form of a run's trees that a person reads: text, tables, graphs, pictures and the page."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from interpretable.activations import ActivationStore
from interpretable.commands.stores import predict_split
from interpretable.commands.terminal import show_progress
from interpretable.commands.tree_images import evenly, filter_regions, pictures
from interpretable.commands.tree_tables import fidelity_rows, level_rows, mean_levels, write_csv, write_levels
from interpretable.documents import digest_of
from interpretable.files import safe_name, write_atomically
from interpretable.runs import Run
from interpretable.surrogates.export.dot import tree_dot
from interpretable.surrogates.export.filter_tree_view import view_filter_tree
from interpretable.surrogates.export.levels import draw_levels
from interpretable.surrogates.export.mode_view import Names, ShownImages, view_modes
from interpretable.surrogates.export.page import write_page
from interpretable.surrogates.export.picture import draw_tree
from interpretable.surrogates.export.review_tree import ReviewDocument, ReviewTree
from interpretable.surrogates.export.text import tree_text
from interpretable.surrogates.fitting import FittedSurrogates, network_decisions, peaks_of
from interpretable.surrogates.records import FILE_NAME, About

MOST_PATHS = 3000
"""Test images whose parse paths are in the page, spread evenly: a page of more is slow to open."""

REGION = 0.5
"""Side of the image regions that a filter is shown by, as a share of the image's: units see more, and weigh it less."""


@dataclass(frozen=True)
class TreeExport:
    """The trees of a run with all that they are shown with."""

    run: Run
    folder: Path
    """Where ``tree.json`` is."""
    fitted: FittedSurrogates
    about: About
    train: ActivationStore
    test: ActivationStore
    names: Names

    def write(self) -> None:
        """Writes all of them; the text and the page name the ``tree.json`` that they show."""
        document = self.document()
        write_atomically(self.folder / "tree.txt", tree_text(document))
        write_levels(self.fitted, self.folder / "levels.csv")
        draw_levels(mean_levels(self.fitted), self.folder / "levels.png")
        write_csv(self.folder / "fidelity.csv", fidelity_rows(self.fitted.fidelity))
        nodes = [node for tree in document.trees for node in tree.nodes.values()]
        shown = {index for node in nodes for index in node.examples}
        examples = pictures(predict_split(self.run, "train").predict_dataset, shown, "examples")
        written = set()
        for place, tree in enumerate(show_progress(document.trees, "pictures")):
            name = safe_name(place, tree.name)
            written.add(name)
            write_atomically(self.folder / f"{name}.dot", tree_dot(tree))
            for suffix in ("png", "svg"):
                draw_tree(tree, self.folder / f"{name}.{suffix}", images=examples.__getitem__)
        self._remove_pictures_but(written)
        dataset = predict_split(self.run, "test").predict_dataset
        filters = {number for node in nodes for number in node.filters}
        write_page(
            self.folder / "tree.html",
            document,
            train_images=examples,
            test_images=pictures(dataset, {p.image for tree in document.trees for p in tree.paths}, "test images"),
            filter_regions=filter_regions(self.test, dataset, filters, REGION * min(self.test.image_size)),
            filter_names=dict(enumerate(self.names.filters)),
        )

    def document(self) -> ReviewDocument:
        """Everything that is shown."""
        about, train, test = self.about, self.train, self.test
        trees: list[ReviewTree] = []
        shown = evenly(np.arange(len(test)), MOST_PATHS)
        decided, labels = network_decisions(test), test.labels.numpy()
        for explained in self.fitted.classes.values():
            own = shown[(decided[shown] == explained.target) | (labels[shown] == explained.target)]
            trees.append(
                view_modes(
                    explained.tree,
                    explained.fitted,
                    explained.fitted_images,
                    explained.tested.rows(own),
                    self._test_images(own),
                    self.names,
                )
            )
        trees.append(
            view_filter_tree(
                self.fitted.filter_tree,
                peaks_of(train),
                train.recorded.numpy(),
                peaks_of(test)[shown],
                self._test_images(shown),
                self.names,
            )
        )
        return ReviewDocument(
            title=f"Decision trees of {self.run.folder.name}",
            digest=digest_of(self.folder / FILE_NAME),
            about=(
                ("score", "logit" if about.score == "logit" else "margin over the largest other logit"),
                ("layer", f"{about.layer}, {train.layer().info.filters} filters"),
                ("explained", _explained(about)),
                ("weights", about.checkpoint[:12]),
                ("training images", f"{len(train)} ({about.train_data[:12]})"),
                ("test images", f"{len(test)} ({about.test_data[:12]})"),
            ),
            trees=tuple(trees),
            tables={
                "Decision modes against the network on test images, mean over classes": level_rows(self.fitted),
                "Surrogates of all decisions on test images": fidelity_rows(self.fitted.fidelity),
            },
        )

    def _remove_pictures_but(self, written: set[str]) -> None:
        """Removes the graphs and pictures of trees before, which go in threes; a person's own files stay."""
        for graph in self.folder.glob("[0-9]*.dot"):
            files = [graph.with_suffix(suffix) for suffix in (".dot", ".png", ".svg")]
            if graph.stem not in written and all(file.is_file() for file in files):
                for file in files:
                    file.unlink()

    def _test_images(self, rows: Int[np.ndarray, " image"]) -> ShownImages:
        store = self.test
        return ShownImages(store.recorded.numpy()[rows], store.labels.numpy()[rows], network_decisions(store)[rows])


def _explained(about: About) -> str:
    """How many classes have decision modes, and why others have not."""
    words = f"{len(about.classes) - len(about.left_out)} of {len(about.classes)} classes"
    return "; ".join([words, *(f"{name}: {reason}" for name, reason in about.left_out.items())])
