import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interpretable.data.splits import choose_classes, rows_of_split, validation_groups
from interpretable.errors import ConfigurationError, DataError


@given(
    pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 12)), min_size=1, max_size=60),
    share=st.floats(0.05, 0.9),
    seed=st.integers(0, 5),
)
def test_a_group_is_never_split_and_no_class_is_held_out_whole(pairs, share, seed):
    labels, groups = torch.tensor(pairs).T
    held_out = validation_groups(labels, groups, share, seed)
    for group in groups.unique():
        assert len(held_out[groups == group].unique()) == 1
    assert not held_out.all()


def test_each_class_gives_its_share_where_groups_are_small():
    labels = torch.arange(10).repeat_interleave(40)
    groups = torch.arange(400) // 2
    held_out = validation_groups(labels, groups, 0.25, 0)
    assert labels[held_out].bincount().tolist() == [10] * 10


def test_a_small_class_gives_one_group_and_a_class_of_one_group_gives_none():
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    groups = torch.tensor([0, 1, 2, 3, 3, 3])
    held_out = validation_groups(labels, groups, 0.1, 0)
    assert held_out[:3].sum() == 1
    assert not held_out[3:].any()


def test_a_mixed_group_counts_for_the_class_most_of_its_images_have():
    # Were group 9 counted for class 0, class 1 would have a single group, which is never held out.
    labels = torch.tensor([0, 0, 1, 1, 1, 0])
    groups = torch.tensor([1, 2, 3, 9, 9, 9])
    held_out = validation_groups(labels, groups, 0.5, 0)
    assert held_out[2] != held_out[3]


def test_held_out_groups_depend_on_the_seed_alone_and_follow_their_images_when_rows_are_permuted():
    labels, groups = torch.arange(200) % 4, torch.arange(200) // 2 * 7
    held_out = validation_groups(labels, groups, 0.2, 3)
    torch.rand(5)
    assert torch.equal(held_out, validation_groups(labels, groups, 0.2, 3))
    assert not torch.equal(held_out, validation_groups(labels, groups, 0.2, 4))
    order = torch.randperm(200)
    assert set(groups[held_out].tolist()) == set(
        groups[order][validation_groups(labels[order], groups[order], 0.2, 3)].tolist()
    )


def test_multi_hot_labels_are_stratified_by_their_rarest_class():
    labels = torch.zeros(100, 2)
    labels[:, 0] = 1
    labels[:10, 1] = 1
    held_out = validation_groups(labels, torch.arange(100), 0.2, 0)
    assert held_out[:10].sum() == 2
    assert held_out[10:].sum() == 18


@pytest.mark.parametrize("share", [0, 1, -0.1])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ConfigurationError, match="between 0 and 1"):
        validation_groups(torch.zeros(4, dtype=torch.int64), torch.arange(4), share, 0)


def test_rows_are_split_into_train_and_validation_only_where_no_row_is_for_validation():
    labels, groups = torch.zeros(6, dtype=torch.int64), torch.arange(6)
    own = np.array(["train", "validation", "test", "train", "test", "validation"])
    assert rows_of_split("train", own, labels, groups, 0.5).tolist() == [0, 3]
    assert rows_of_split("validation", own, labels, groups, 0.5).tolist() == [1, 5]
    without = np.array(["train", "train", "test", "train", "test", "train"])
    train, validation = (
        rows_of_split(split, without, labels, groups, 0.5).tolist() for split in ("train", "validation")
    )
    assert sorted(train + validation) == [0, 1, 3, 5]
    assert len(train) == len(validation) == 2
    assert rows_of_split("test", without, labels, groups, 0.5).tolist() == [2, 4]


def test_classes_are_selected_and_ordered_by_name():
    assert choose_classes(("ant", "bee", "cat"), None, "x") == (0, 1, 2)
    assert choose_classes(("ant", "bee", "cat"), ["cat", "ant"], "x") == (2, 0)


def test_an_unknown_class_is_answered_with_the_closest_or_with_all():
    with pytest.raises(DataError, match=r"'zebr'.*in_a_file.*did you mean 'zebra'"):
        choose_classes(("ant", "zebra"), ["zebr"], "in_a_file")
    with pytest.raises(DataError, match="it has ant, zebra"):
        choose_classes(("ant", "zebra"), ["ox"], "in_a_file")
    with pytest.raises(DataError, match="each class once"):
        choose_classes(("ant", "zebra"), ["ant", "ant"], "in_a_file")
