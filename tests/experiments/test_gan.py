"""The WGAN of the experiments: its penalty, its batches, its nets side by side."""

import pytest
import torch
from torch import nn

from lnlib.experiments import gan


def jacobian(critic, images):
    return torch.autograd.functional.jacobian(critic, images)


@pytest.mark.parametrize(("norm", "own"), [("none", True), ("LN", True), ("BN", False)])
def test_penalty_is_each_images_own_only_without_the_batch(norm, own):
    critic = gan.Critic(gan.NORMS[norm]).double()
    real, fake = torch.randn(2, 6, 64, dtype=torch.float64)
    share = torch.rand(6, 1, dtype=torch.float64)
    together = gan.penalty(critic, real, fake, share)
    each = jacobian(critic, real.lerp(fake, share))[torch.arange(6), torch.arange(6)]
    assert ((together - (each.norm(dim=1) - 1).square()).abs().max() < 1e-12) == own


def test_with_constant_statistics_no_score_depends_on_another_image():
    critic, images = gan.Critic(gan.BatchNorm).double(), torch.randn(6, 64).double()
    scores = critic(images)
    with gan.constants(critic):
        found = jacobian(critic, images)
        assert torch.equal(critic(images), scores)
    others = found.norm(dim=2) - torch.diag(found.norm(dim=2).diag())
    assert others.abs().max() == 0
    others = jacobian(critic, images).norm(dim=2)
    assert (others - torch.diag(others.diag())).max() > 1e-3


def test_batch_norm_is_torchs():
    norm, x = gan.BatchNorm(3), torch.randn(7, 3)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    expected = nn.functional.batch_norm(x, None, None, norm.weight, norm.bias, training=True)
    torch.testing.assert_close(norm(x), expected)


def test_nets_side_by_side_are_adam_one_by_one():
    rates, seeds, x = (0.1, 0.01), 2, torch.randn(4, 5, 3)
    nets = gan.Nets(lambda: nn.Linear(3, 1), rates, seeds)
    singles = []
    for i in range(4):
        single = nn.Linear(3, 1)
        single.load_state_dict({name: p[i].detach() for name, p in nets.parameters.items()})
        singles.append((single, torch.optim.Adam(single.parameters(), rates[i // 2], (0.0, 0.9))))
    for _ in range(3):
        nets.step(nets(x).square().mean((1, 2)))
        for i, (single, adam) in enumerate(singles):
            adam.zero_grad()
            single(x[i]).square().mean().backward()
            adam.step()
    expected = torch.stack([single(x[i]) for i, (single, _) in enumerate(singles)])
    torch.testing.assert_close(nets(x), expected)


@pytest.mark.parametrize(("norm", "same"), [("LN", True), ("BN", False)])
def test_only_batch_norm_asks_which_images_share_a_batch(norm, same):
    separate, joint = (
        gan.train_gan(norm, batch, False, (0.01,), seeds=2, steps=2)["test"]
        for batch in ("separate", "joint")
    )
    assert torch.allclose(separate, joint, atol=1e-4) == same
