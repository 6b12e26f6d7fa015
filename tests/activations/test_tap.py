import copy

import pytest
import torch
import torchvision
from torch import Tensor, nn

from interpretable.activations import UpTo, tap
from interpretable.errors import ModelError
from interpretable.models import InterpretableCNN


class Net(nn.Module):
    """Two convolutions, an in-place ReLU that runs twice, and a head that counts how often it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(4, 5, 3)
        self.pair = nn.Identity()
        self.unused = nn.ReLU()
        self.head_runs = 0

    def forward(self, x: Tensor, fail: bool = False) -> Tensor:
        x = self.relu(self.first(x))
        if fail:
            raise RuntimeError("inside the model")
        x = self.relu(self.second(x))
        self.pair((x, x))
        self.head_runs += 1
        return x.mean((-2, -1))


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 12, 12)


def test_all_layers_come_from_one_pass_which_ends_at_the_last(images: Tensor) -> None:
    net = Net()
    with tap(net, ["second", "first"]) as read:
        maps = read(images)
    assert list(maps) == ["second", "first"]
    assert net.head_runs == 0
    torch.testing.assert_close(maps["second"], net.second(net.first(images).relu()), rtol=0, atol=0)


def test_what_a_later_layer_does_in_place_does_not_reach_the_maps(images: Tensor) -> None:
    net = Net()
    for stop in (True, False):
        with tap(net, ["first", "second"], stop=stop) as read:
            maps = read(images)
        torch.testing.assert_close(maps["first"], net.first(images), rtol=0, atol=0)
        assert (maps["first"] < 0).any()
        assert (maps["second"] < 0).any()


def test_a_layer_that_runs_twice_is_read_at_its_first_call(images: Tensor) -> None:
    net = Net()
    for stop in (True, False):
        with tap(net, ["relu"], stop=stop) as read:
            torch.testing.assert_close(read(images)["relu"], net.first(images).relu(), rtol=0, atol=0)


def test_without_stop_the_pass_of_others_is_read_and_forgotten_by_the_next(images: Tensor) -> None:
    net = Net()
    with tap(net, ["first"], stop=False) as read:
        assert net(images).shape == (2, 5)
        torch.testing.assert_close(read.outputs["first"], net.first(images), rtol=0, atol=0)
        with pytest.raises(RuntimeError, match="inside"):
            net(-images, fail=True)
        torch.testing.assert_close(read.outputs["first"], net.first(-images), rtol=0, atol=0)
    assert net.head_runs == 1


@pytest.mark.parametrize("fail", [False, True], ids=["success", "exception"])
def test_no_hook_is_left_behind(images: Tensor, fail: bool) -> None:
    net = Net()
    before = copy.deepcopy(net.state_dict())
    try:
        with tap(net, ["first", "second"]) as read:
            assert hooks(net) == 3
            read(images, fail=fail)
    except RuntimeError:
        assert fail
    assert hooks(net) == 0
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert net(images).shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "closest"), [("frist", "first"), ("second.0", "second"), ("", "relu")], ids=["typo", "below", "empty"]
)
def test_a_wrong_name_leaves_no_hook_and_names_the_closest(name: str, closest: str) -> None:
    net = Net()
    with pytest.raises(ModelError, match=closest), tap(net, ["second", name]):
        pass
    assert hooks(net) == 0


def test_no_layers_an_unused_layer_and_a_layer_without_a_tensor_are_refused_in_a_sentence(images: Tensor) -> None:
    net = Net()
    with pytest.raises(ModelError, match="At least one layer"), tap(net, []):
        pass
    with pytest.raises(ModelError, match="got none of unused"), tap(net, ["first", "unused"]) as read:
        read(images)
    with pytest.raises(ModelError, match="pair must give a tensor, got tuple"), tap(net, ["pair"]) as read:
        read(images)
    assert hooks(net) == 0


def test_a_network_that_catches_exceptions_still_stops(images: Tensor) -> None:
    class Catching(Net):
        def forward(self, x: Tensor, fail: bool = False) -> Tensor:
            try:
                return super().forward(x)
            except Exception:
                self.head_runs += 1
                return x

    net = Catching()
    with tap(net, ["first"]) as read:
        read(images)
    assert net.head_runs == 0


def test_a_pass_that_others_run_goes_on_to_its_end(images: Tensor) -> None:
    net = Net()
    with tap(net, ["first"]) as read:
        assert net(images).shape == (2, 5)
        torch.testing.assert_close(read.outputs["first"], net.first(images), rtol=0, atol=0)
        read(images)
    assert net.head_runs == 1


@pytest.mark.parametrize(("outer", "inner"), [("first", "second"), ("second", "first")])
def test_of_two_readers_on_one_network_each_stops_at_its_own_layer(images: Tensor, outer: str, inner: str) -> None:
    net = Net()
    expected = {"first": net.first(images), "second": net.second(net.first(images).relu())}
    with tap(net, [outer]) as read, tap(net, [inner]) as other:
        for reader, name in ((other, inner), (read, outer), (other, inner)):
            torch.testing.assert_close(reader(images)[name], expected[name], rtol=0, atol=0)
    assert net.head_runs == 0
    assert hooks(net) == 0


def test_a_reader_inside_the_network_leaves_the_stop_to_the_one_around_it(images: Tensor) -> None:
    net = Net()
    top = UpTo(net, "second")
    with tap(top, ["model.first"]) as read:
        torch.testing.assert_close(read(images)["model.first"], net.first(images), rtol=0, atol=0)
    assert hooks(net) == 0


@pytest.mark.slow
@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first in, first out", "last in, first out"])
def test_compiled_code_is_used_again_in_whichever_order_blocks_end(images: Tensor, order: tuple[int, int]) -> None:
    runs = []

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        def run(*args: Tensor) -> object:
            runs.append(1)
            return graph(*args)

        return run

    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    compiled = torch.compile(net, backend=backend)
    blocks = [tap(net, ["0"], stop=False), tap(net, ["1"], stop=False)]
    for block in blocks:
        block.__enter__()
    for number in order:
        compiled(images)
        blocks[number].__exit__(None, None, None)
    assert not runs
    compiled(images)
    assert len(runs) == 1


def test_inference_mode_autocast_and_gradients_hold_as_for_the_network(images: Tensor) -> None:
    net = Net()
    with tap(net, ["second"]) as read:
        assert read(images)["second"].requires_grad
        with torch.inference_mode():
            assert read(images)["second"].is_inference()
        with torch.autocast("cpu", torch.bfloat16):
            assert read(images)["second"].dtype == torch.bfloat16
        (gradient,) = torch.autograd.grad(read(images)["second"].sum(), net.first.weight)
    expected = torch.autograd.grad(net.second(net.first(images).relu()).sum(), net.first.weight)[0]
    torch.testing.assert_close(gradient, expected)


@pytest.mark.slow
@pytest.mark.parametrize("in_place", [False, True], ids=["wrapped", "module.compile"])
def test_a_network_compiled_and_run_before_is_read_and_keeps_its_compiled_code(images: Tensor, in_place: bool) -> None:
    runs = []

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        def run(*args: Tensor) -> object:
            runs.append(1)
            return graph(*args)

        return run

    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3))
    if in_place:
        net.compile(backend=backend)
    compiled = net if in_place else torch.compile(net, backend=backend)
    compiled(images)
    with tap(compiled, ["1"]) as read:
        torch.testing.assert_close(read(images)["1"], net[0](images).relu())
    assert len(runs) == 1
    compiled(images)
    assert len(runs) == 2
    assert hooks(net) == 0


def test_layers_of_a_network_this_package_did_not_build_and_of_its_own(images: Tensor) -> None:
    resnet = torchvision.models.resnet18().eval()
    picture = torch.randn(1, 3, 64, 64)
    with tap(resnet, ["layer1.0.bn1", "layer3"]) as read:
        maps = read(picture)
    with torch.no_grad():
        stem = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(picture))))
        expected = resnet.layer1[0].bn1(resnet.layer1[0].conv1(stem))
        top = resnet.layer3(resnet.layer2(resnet.layer1(stem)))
    torch.testing.assert_close(maps["layer1.0.bn1"], expected)
    assert (expected < 0).any()
    torch.testing.assert_close(maps["layer3"], top)
    own = InterpretableCNN("small", 3).eval()
    with tap(own, ["part_filters.0", "part_filters.1"]) as read:
        raw = read(picture)
    for name, expected in zip(raw, own.forward_features(picture), strict=True):
        torch.testing.assert_close(raw[name], expected, rtol=0, atol=0)
