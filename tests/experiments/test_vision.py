"""The small vision transformer: what its page relies on."""

import pytest
import torch

from lnlib.experiments import vision


def test_patches_are_squares_of_the_image():
    image = torch.arange(64.0).view(8, 8)
    found = vision.patches(image.flatten())
    for row in range(4):
        for column in range(4):
            square = image[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert torch.equal(found[4 * row + column], square.flatten())


def test_without_positions_the_order_of_the_patches_does_not_matter():
    net, x = vision.PatchNet().double(), torch.randn(3, 16, 32).double()
    order = torch.randperm(16)
    torch.testing.assert_close(net.blocks(x[:, order]), net.blocks(x)[:, order])


def test_a_small_start_shrinks_the_branches_and_nothing_else():
    nets = []
    for start in ("plain", "1/√(2L)"):
        torch.manual_seed(0)
        nets.append(dict(vision.PatchNet("none", start=start).named_parameters()))
    plain, small = nets
    for name, parameter in plain.items():
        ratio = 6**-0.5 if name.endswith("out.weight") else 1.0
        torch.testing.assert_close(small[name], ratio * parameter)


@pytest.mark.parametrize("point", vision.points())
def test_every_arm_scores_images(point):
    arm = {name: value for name, value in point.items() if name != "steps"}
    assert vision.PatchNet(**arm)(torch.randn(5, 64)).shape == (5, 10)
