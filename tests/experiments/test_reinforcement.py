"""The reinforcement learning of the experiments: its bound, its games."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lnlib.experiments import reinforcement


def test_bound_holds_and_is_nearly_reached():
    critic = reinforcement.Critic(nn.LayerNorm).double()
    for parameter in critic.parameters():
        nn.init.normal_(parameter)
    most = reinforcement.bound(critic)
    states = 1e6 * torch.randn(2000, 4, dtype=torch.float64)
    assert critic(states).abs().max().item() <= most
    last = critic.values
    with torch.no_grad():  # a normalized vector along w, the longest there is
        critic.norm_second.weight.fill_(1.0)
        critic.norm_second.bias.zero_()
        last.bias.zero_()
        w = F.one_hot(torch.tensor(0), 64).double()
        last.weight.copy_(torch.stack([w, w]))
        critic.second.weight.zero_()
        critic.second.bias.copy_(100 * w)
    reached = critic(states).abs().max().item()
    assert 0.99 * reinforcement.bound(critic) < reached <= reinforcement.bound(critic)


def test_bound_needs_a_layer_norm():
    with pytest.raises(ValueError, match="critic: expected a layer norm before the last ReLU"):
        reinforcement.bound(reinforcement.Critic(reinforcement.NORMS["none"]))


def test_transitions_follow_each_other_and_repeat_under_a_seed():
    states, actions, following, ended = reinforcement.random_transitions(300)
    assert torch.equal(following[:-1][~ended[:-1]], states[1:][~ended[:-1]])
    assert 5 < ended.sum() < 40
    assert set(actions.tolist()) == {0, 1}
    assert torch.equal(reinforcement.random_transitions(300)[0], states)


def test_goals_stop_at_the_end_of_a_game():
    critic = reinforcement.Critic(nn.LayerNorm)
    with torch.no_grad():
        critic.values.weight.zero_()
        critic.values.bias.fill_(50.0)
    part = torch.zeros(1, 4), torch.zeros(1, dtype=torch.long), torch.zeros(1, 4)
    goes_on, ends = (
        reinforcement.bellman_error(critic, critic, *part, torch.tensor([end])).item()
        for end in (False, True)
    )
    assert goes_on == pytest.approx((50 - (1 + 0.99 * 50)) ** 2, rel=1e-4)
    assert ends == pytest.approx((50 - 1) ** 2, rel=1e-4)


def test_a_longer_pole_is_another_game():
    torch.manual_seed(3)
    critic = reinforcement.Critic(nn.LayerNorm)
    games = [reinforcement.play(critic, range(5), length) for length in (0.5, 0.5, 4.0)]
    assert games[0] == games[1] != games[2]
