import pytest

from interpretable.files import safe_name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "3_etc_passwd"), ("a.b/c\\d:e", "3_a_b_c_d_e"), ("李子", "3"), ("..", "3"), ("", "3"),
        ("\n\0 CON", "3_CON"), ("é" * 300 + "x", "3"), ("x" * 300, "3_" + "x" * 58),
    ],
)  # fmt: skip
def test_a_safe_name_is_short_and_of_plain_letters_digits_and_underscores(name: str, safe: str) -> None:
    assert safe_name(3, name) == safe


def test_safe_names_of_different_numbers_are_different_whatever_is_named() -> None:
    names = ("", "_", "2", "2 x", "x", "李子", "x" * 300)
    of_numbers = [{safe_name(number, name) for name in names} for number in range(30)]
    assert sum(map(len, of_numbers)) == len(set().union(*of_numbers))
