"""The command line: ``interpretable COMMAND``, training included.

Signatures alone: what a command does is imported when it runs, so that ``--help`` does not load torch.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Annotated, Any

import typer

from interpretable.errors import InterpretableError, sentence_of

TRAINING = {
    "fit": "Train a network (train.py fit); `interpretable fit --help` lists every setting.",
    "validate": "Score a checkpoint on the validation images (train.py validate).",
    "test": "Score a checkpoint on the test images and draw its filters (train.py test).",
    "predict": "Write activations with every setting of training at hand (train.py predict).",
}

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, such as runs/latest.")]
Layer = Annotated[str | None, typer.Option(help="Recorded layer; the top part layer if omitted.")]

app = typer.Typer(
    name="interpretable",
    help="Image classifiers whose filters each stand for one object part, and what shows that they do.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def activations(
    run: RunFolder,
    split: Annotated[list[str], typer.Option(help="train, validation or test; may be repeated.")] = ["test", "train"],  # noqa: B006
    layer: Annotated[list[str] | None, typer.Option(help="Layer to record; the part layers if omitted.")] = None,
    maps: Annotated[bool, typer.Option(help="Keep full maps in half precision too.")] = False,
    rationales: Annotated[
        list[str] | None, typer.Option(help="Class whose rationales to keep; `label` for each image's own.")
    ] = None,
    devices: Annotated[int, typer.Option(min=1, help="Number of devices.")] = 1,
    accelerator: Annotated[str, typer.Option(help="cpu, gpu or auto.")] = "auto",
    batch_size: Annotated[int | None, typer.Option(min=2, help="Images a step; as in training if omitted.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Delete a store that is there.")] = False,
) -> None:
    """Write the peaks, positions and sums of every filter, logits and annotations of each image to a store.

    A store whose writing was stopped is gone on with; one of another network or data is refused.
    """
    from interpretable.commands.activations import write_activations

    write_activations(run, split, layer, maps, rationales, devices, accelerator, batch_size, overwrite)


@app.command()
def evaluate(
    run: RunFolder,
    layer: Layer = None,
    random_network: Annotated[
        bool, typer.Option(help="Also evaluate the network with the random weights it started from, as a baseline.")
    ] = True,
) -> None:
    """Measure whether filters follow parts and what they stand for: metrics.json and evaluation/filters.png.

    Activations of the training and test images are written first where they are missing or stale.
    """
    from interpretable.commands.evaluate import evaluate_folder

    evaluate_folder(run, layer, random_network)


@app.command()
def dissect(
    run: RunFolder,
    concepts: Annotated[
        str | None,
        typer.Option(
            help="creatures, voc:FOLDER, pets:FOLDER, broden:FOLDER or folder:FOLDER; the test images if omitted."
        ),
    ] = None,
    layer: Layer = None,
    iou_threshold: Annotated[float, typer.Option(min=0, max=1, help="IoU above which a filter is a detector.")] = 0.04,
    nulls: Annotated[bool, typer.Option(help="Dissect rotated filters and shuffled labels too.")] = True,
    workers: Annotated[int, typer.Option(min=0, help="Processes that load labels.")] = 0,
) -> None:
    """Name the concept that each filter's region overlaps most: dissection/ in the run folder.

    Writes a JSON file with every filter, a picture of the best detectors' top images and a histogram of detectors.
    """
    from interpretable.commands.dissect import dissect_folder

    dissect_folder(run, concepts, layer, iou_threshold, nulls, workers)


@app.command()
def compare(
    run: RunFolder,
    others: Annotated[list[Path], typer.Argument(metavar="RUN2 ...", help="Runs to set beside it.")],
) -> None:
    """Print the measures of runs side by side, and draw their filters side by side into RUN/comparison.png.

    Runs that have not been evaluated, or not with their present weights, are evaluated first.
    """
    from interpretable.commands.compare import compare_folders

    compare_folders([run, *others])


@app.command()
def tree(
    run: RunFolder,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="Class to explain; may be repeated, all if omitted.")
    ] = None,
    score: Annotated[
        str, typer.Option(help="Of a class: its margin over the largest other logit, or its logit.")
    ] = "margin",
    labels: Annotated[
        Path | None, typer.Option(help="filters.csv of `interpretable tree-labels`, with a reviewer's names.")
    ] = None,
    images: Annotated[int, typer.Option(min=2, help="Training images of a class at most.")] = 2000,
    selection: Annotated[
        str,
        typer.Option(help="Filters of a node: all, those the lasso keeps (binary), or weighed by it (sparse)."),
    ] = "all",
    sparsity: Annotated[float, typer.Option(min=0, help="Penalty of the lasso.")] = 1e-6,
    gain: Annotated[
        str, typer.Option(help="What is merged first: the largest gain of the objective, or per_image.")
    ] = "objective",
    penalty: Annotated[float, typer.Option(min=0, help="What the objective pays for a decision mode, in nats.")] = 1.0,
) -> None:
    """Explain a run's decisions by trees: of decision modes for each class, and of filters for all of them.

    Writes tree/: tree.json, which a review is bound to, the page tree.html, text, graphs, pictures and tables.
    """
    from interpretable.commands.tree import build_trees

    parameters = {"selection": selection, "sparsity": sparsity, "gain": gain, "penalty": penalty}
    build_trees(run, classes or [], score, labels, images, parameters)


@app.command("tree-labels")
def tree_labels(run: RunFolder) -> None:
    """Write tree/filters.csv, in which a reviewer names the filters; names that are there are kept.

    Each filter's part is suggested from the evaluation, which is made first where it is missing.
    """
    from interpretable.commands.tree_labels import write_filter_labels

    write_filter_labels(run)


@app.command()
def review(
    run: RunFolder,
    approve: Annotated[bool, typer.Option("--approve", help="Sign the tree off.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="Turn the tree down.")] = False,
    by: Annotated[str | None, typer.Option(help="Name of the reviewer.")] = None,
    note: Annotated[str, typer.Option(help="What the decision rests on, or is subject to.")] = "",
) -> None:
    """Record a decision on the tree of a run, or show the one that stands; fails if rejected, or changed since.

    The decision is bound to the SHA-256 of tree.json and to the run's weights, and kept in tree/review.json.
    """
    from interpretable.commands.review import review_tree

    review_tree(run, approve, reject, by, note)


@app.command()
def graph(
    run: RunFolder,
    layers: Annotated[
        list[str] | None,
        typer.Option(help="Conv layer; may be repeated, in any order. The trunk and the part layers if omitted."),
    ] = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="Class to learn a graph of; may be repeated, all if omitted.")
    ] = None,
    together: Annotated[bool, typer.Option("--together", help="One graph of all these classes, not one each.")] = False,
    images: Annotated[int, typer.Option(min=2, help="Training images of a graph at most.")] = 1000,
    density: Annotated[
        list[float] | None,
        typer.Option(
            help="Nodes per cell; one for all layers or one each, bottom to top. By the maps' size if omitted."
        ),
    ] = None,
    parents: Annotated[int, typer.Option(min=1, help="Nodes of the layer above that a node hangs on.")] = 15,
    iterations: Annotated[int, typer.Option(min=1, help="Of each layer.")] = 20,
    mirror: Annotated[bool, typer.Option(help="Read an image mirrored where the nodes explain that better.")] = True,
    seed: Annotated[int, typer.Option(min=0, max=2**32, help="Of the nodes' first places.")] = 0,
    device: Annotated[str, typer.Option(help="Where it is computed: cpu or cuda.")] = "cpu",
) -> None:
    """Split filters into part patterns and show which ones move together: an explanatory graph for each class.

    Writes graph/: measures.csv, and for each graph graph.json, graph.graphml, nodes.csv, a picture and a page. A run
    that is stopped goes on from the last layer that it learned.
    """
    from interpretable.commands.graph import build_graphs

    densities = None if not density else density[0] if len(density) == 1 else tuple(density)
    parameters = {
        "density": densities,
        "parents": parents,
        "iterations": iterations,
        "mirror": mirror,
        "seed": seed,
    }
    build_graphs(run, layers or [], classes or [], together, images, device, parameters)


@app.command()
def prototypes(
    run: RunFolder,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="Class to choose of; may be repeated, all if omitted.")
    ] = None,
    together: Annotated[
        bool, typer.Option("--together", help="One choice among all these images, not one each.")
    ] = False,
    local: Annotated[
        bool, typer.Option("--local", help="With --together: images of different classes are nothing like each other.")
    ] = False,
    number: Annotated[int, typer.Option("--prototypes", min=1, help="Prototypes of each choice.")] = 8,
    criticisms: Annotated[int, typer.Option(min=0, help="Criticisms of each choice.")] = 8,
    layer: Layer = None,
    pixels: Annotated[
        bool, typer.Option("--pixels", help="Compare images by their pixels, not by filter peaks.")
    ] = False,
    split: Annotated[str, typer.Option(help="Which images: train, validation or test.")] = "train",
    gamma: Annotated[
        str, typer.Option(help="Width of the kernel exp(-γ‖x - y‖²): median, 1/d, cv-1nn or a number.")
    ] = "median",
    weight: Annotated[
        str, typer.Option(help="Of log det against the witness in criticisms: a number, or auto to balance them.")
    ] = "1",
    filters: Annotated[int, typer.Option(min=0, help="The loudest filters, whose prototypes are chosen too.")] = 8,
    numbers: Annotated[
        list[int] | None, typer.Option("--filter", min=0, help="Filter to choose of instead; may be repeated.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Images that stand for all in means over the data, for very many.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of what is drawn at random.")] = 0,
    device: Annotated[str, typer.Option(help="Where it is computed: cpu or cuda.")] = "cpu",
) -> None:
    """Choose the images that represent each class, and those that these fail to represent (MMD-critic).

    Writes prototypes/: prototypes.json, contact sheets of classes and filters, MMD² and errors beside random picks.
    """
    from interpretable.commands.prototype_request import Asked
    from interpretable.commands.prototypes import choose_prototypes

    asked = Asked(layer, pixels, split, tuple(classes or ()), together, filters, tuple(numbers or ()))
    parameters = {
        "n_prototypes": number,
        "n_criticisms": criticisms,
        "gamma": gamma,
        "local": local,
        "regularizer_weight": weight,
        "colmean_samples": samples,
        "random_state": seed,
        "device": device,
    }
    choose_prototypes(run, asked, parameters)


@app.command()
def attribute(
    run: RunFolder,
    images: Annotated[
        list[str] | None,
        typer.Option(
            help="Number of an image in --split, or an image file or a folder of them; may be repeated. 6 images of "
            "--split, evenly over its classes, if omitted."
        ),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            help="One, or several by commas; may be repeated. part_filters is always there where the network has part "
            "layers; beside it integrated_gradients, lrp, grad_cam and guided_backprop if omitted. Others: saliency, "
            "gradient_times_input, smooth_grad, interior_gradient, deconvnet, deep_taylor, deep_lift, cam, "
            "guided_grad_cam, occlusion, rise, and pattern_net and pattern_attribution, whose patterns are fitted on "
            "up to 512 training images and kept."
        ),
    ] = None,
    target: Annotated[
        str, typer.Option(help="Class to explain: predicted, label (each image's own), or the name of one.")
    ] = "predicted",
    split: Annotated[str, typer.Option(help="Whose images numbers mean: train, validation or test.")] = "test",
    device: Annotated[str, typer.Option(help="Where it is computed: cpu or cuda.")] = "cpu",
    batch_size: Annotated[int | None, typer.Option(min=1, help="Examples in a pass; as fits if omitted.")] = None,
) -> None:
    """Explain decisions on single images by several methods, side by side with the network's own part filters.

    Writes attribution/: attributions.safetensors with each method's arrays, and pictures of twelve images each.
    """
    from interpretable.commands.attribute import attribute_images
    from interpretable.commands.attribution_request import Asked

    asked = Asked(tuple(images or ()), tuple(methods or ()), target, split, device, batch_size)
    attribute_images(run, asked)


@app.command()
def influence(
    run: RunFolder,
    images: Annotated[
        list[str] | None,
        typer.Option(
            "--image",
            "--images",
            help="Number of an image in --split, or an image file or a folder of them; may be repeated. "
            "Self-influence alone if omitted.",
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Class of the image files; the one that is predicted of each if omitted.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="last_layer (exact there, and fast), trac_in (over the run's checkpoints) or ek_fac (all layers that "
            "were trained, and slow)."
        ),
    ] = "last_layer",
    top: Annotated[int, typer.Option(min=1, help="Helpful training images, and harmful ones, of each image.")] = 8,
    split: Annotated[str, typer.Option(help="Whose images numbers mean: train, validation or test.")] = "test",
    damping: Annotated[
        float | None,
        typer.Option(help="Added to the curvature, not of trac_in; a tenth of its mean eigenvalue if omitted."),
    ] = None,
    device: Annotated[str, typer.Option(help="Where it is computed: cpu or cuda.")] = "cpu",
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images in a pass at most; as fits if omitted.")] = None,
) -> None:
    """Say which training images decided an image, and which ones may have a wrong label.

    Influence is the first-order change of the image's loss if the training image were left out, in nats: positive for
    helpful ones. Of trac_in it is the fall of the loss by steps on the training image alone. Self-influence, that on
    the training image's own loss, is high where its label surprises: what to look at first.

    Writes influence/: influence.csv and self_influence.csv, a sheet of each, and influence.json with the settings.
    """
    from interpretable.commands.influence import show_influence
    from interpretable.commands.influence_request import Asked

    show_influence(run, Asked(tuple(images or ()), label, method, top, split, damping, device, batch_size))


@app.command()
def convert(
    layout: Annotated[
        str, typer.Argument(help="animal-part, cub-200-2011, voc-part, celeba-mask-hq or coco-keypoints.")
    ],
    source: Annotated[Path, typer.Argument(help="Folder of the data set as it is distributed.")],
    target: Annotated[Path, typer.Argument(help="Folder to write, which must not exist yet.")],
    size: Annotated[int | None, typer.Option(min=1, help="Side of the crops in pixels, 224 if omitted.")] = None,
    keep_size: Annotated[bool, typer.Option(help="Keep the crops as large as they are.")] = False,
    part_boxes: Annotated[
        Path | None, typer.Option(help="animal-part: folder of the part boxes, if not beside the images.")
    ] = None,
    attribute: Annotated[str | None, typer.Option(help="celeba-mask-hq: the attribute that is the class.")] = None,
    own_parts: Annotated[
        bool, typer.Option(help="voc-part: keep each animal's own parts instead of the papers' merged ones.")
    ] = False,
) -> None:
    """Turn a published data set into a part-annotated folder, which every command of this package reads."""
    from interpretable.commands.convert import convert_layout

    options: dict[str, Any] = {
        "part_boxes": part_boxes,
        "attribute": attribute,
        "size": size,
        "merge_parts": False if own_parts else None,
    }
    given = {name: value for name, value in options.items() if value is not None}
    convert_layout(layout, source, target, given | ({"size": None} if keep_size else {}))


def _forward(name: str) -> Callable[[typer.Context], None]:
    def train(context: typer.Context) -> None:
        from interpretable.cli import main as train_main

        train_main([name, *context.args])

    return train


_PASSED_ON: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True}
for _name, _help in TRAINING.items():
    app.command(_name, help=_help, context_settings=_PASSED_ON, add_help_option=False, rich_help_panel="Training")(
        _forward(_name)
    )


def main(args: Sequence[str] | None = None) -> None:
    """Runs a command; an error of this package, or of a file, ends it in one line.

    Args:
        args: Words of the command line, those of the process where omitted.
    """
    try:
        app(args if args is None else list(args))
    except (InterpretableError, OSError, UnpicklingError) as error:
        print(f"error: {sentence_of(error)}", file=sys.stderr)
        raise SystemExit(1) from error
