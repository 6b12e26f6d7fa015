import subprocess
import sys

import pytest

RIGHT_HAND_ROOMS = [
    "interpretable",
    *(
        f"interpretable.{room}"
        for room in (
            "activations", "attribution", "concepts", "convert", "dissection", "documents", "evaluation",
            "evaluation.measures",
            "exemplars",
            "exemplars.exemplar_curves", "exemplars.exemplar_pictures", "exemplars.exemplar_records",
            "exemplars.nearest_prototype", "influence", "losses",
            "evaluation.part_removal", "metrics", "receptive_field", "surrogates", "surrogates.approval",
            "surrogates.explanatory_graph",
            "surrogates.export.page", "surrogates.export.picture", "surrogates.filter_labels", "surrogates.fitting",
            "templates",
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize("room", RIGHT_HAND_ROOMS)
def test_a_right_hand_room_loads_neither_lightning_nor_wandb(room):
    code = f"import sys, {room}; print(sorted({{'pytorch_lightning', 'wandb', 'lightning'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_every_public_name_resolves_and_an_unknown_one_is_refused():
    import interpretable

    assert {name for name in interpretable.__all__ if getattr(interpretable, name) is None} == set()
    assert set(interpretable.__all__) <= set(dir(interpretable))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = interpretable.nonsense
