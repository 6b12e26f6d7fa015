"""The network for a CPU: 64-pixel images, 8×8 maps at the cut."""

from collections import OrderedDict

from torch import nn

_WIDTHS = (24, 48, 64, 96)


def small(num_classes: int) -> nn.Sequential:
    """Five convolutions, the last two on maps of an eighth of the image; 0.2 million parameters.

    Maps (B, 3, H, W) float images to (B, num_classes) logits. Every convolution is followed by batch normalisation
    and ReLU, and the last map is averaged over its cells.
    """
    first, second, third, fourth = _WIDTHS
    features = nn.Sequential(
        *_convolution(3, first, kernel_size=5, stride=2),
        *_convolution(first, second, stride=2),
        *_convolution(second, third),
        nn.MaxPool2d(2),
        *_convolution(third, fourth),
        *_convolution(fourth, fourth),
    )
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            features=features,
            avgpool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(fourth, num_classes),
        )
    )


def _convolution(
    in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1
) -> tuple[nn.Conv2d, nn.BatchNorm2d, nn.ReLU]:
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)
