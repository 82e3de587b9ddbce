"""The reinforcement learning of the experiments: its bound, its games, its tasks."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lnlib.experiments import reinforcement
from lnlib.experiments.reinforcement import Critics


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


@pytest.mark.parametrize("norm", reinforcement.NORMS)
def test_critics_side_by_side_are_critics(norm):
    critics = Critics(norm, range(3))
    for parameter in critics.parameters.values():
        nn.init.normal_(parameter)
    states = torch.randn(3, 7, 4)
    alone = torch.stack([critics[i](states[i]) for i in range(3)])
    torch.testing.assert_close(critics(states), alone)


def test_a_critic_learns_as_it_would_alone():
    data = reinforcement.random_transitions(300)
    together, alone = Critics("LN", range(3)), Critics("LN", [2])
    for critics in (together, alone):
        reinforcement.fit_offline(critics, data, learning_rate=0.001, steps=20)
    states = torch.randn(7, 4)
    torch.testing.assert_close(together[2](states), alone[0](states))


def test_transitions_follow_each_other_and_repeat_under_a_seed():
    states, actions, following, ended = reinforcement.random_transitions(300)
    assert torch.equal(following[:-1][~ended[:-1]], states[1:][~ended[:-1]])
    assert 5 < ended.sum() < 40
    assert set(actions.tolist()) == {0, 1}
    assert torch.equal(reinforcement.random_transitions(300)[0], states)


def test_goals_stop_at_the_end_of_a_game():
    critics = Critics("LN", [0])
    with torch.no_grad():
        critics.parameters["values.weight"].zero_()
        critics.parameters["values.bias"].fill_(50.0)
    part = torch.zeros(1, 1, 4), torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 1, 4)
    goes_on, ends = (
        reinforcement.bellman_error(critics, critics, *part, torch.tensor([[end]])).item()
        for end in (False, True)
    )
    assert goes_on == pytest.approx((50 - (1 + 0.99 * 50)) ** 2, rel=1e-4)
    assert ends == pytest.approx((50 - 1) ** 2, rel=1e-4)


def test_a_longer_pole_is_another_game():
    critics = Critics("LN", [3, 4])
    games = [reinforcement.play(critics, 0, length=length)[0] for length in (0.5, 0.5, 4.0)]
    assert np.array_equal(games[0], games[1])
    assert not np.array_equal(games[1], games[2])


def test_belief_is_the_value_of_the_favorite_at_the_start():
    critics = Critics("none", range(2))
    with torch.no_grad():
        critics.parameters["values.weight"].zero_()
        critics.parameters["values.bias"].copy_(torch.tensor([[1.0, 7.0], [9.0, 2.0]]))
    steps, believed = reinforcement.play(critics, 0, games=3)
    assert believed.tolist() == [[7.0] * 3, [9.0] * 3]
    assert (steps < 15).all()  # who always pushes to the same side soon falls


def test_worth_is_the_sum_of_discounted_rewards():
    steps = np.array([1.0, 7.0, 500.0])
    sums = [sum(0.99**t for t in range(int(n))) for n in steps]
    np.testing.assert_allclose(reinforcement.worth(steps), sums)


def test_an_old_copy_holds_belief_back():
    """One copy, of the untrained critics: no goal exceeds 1 and what they believed at first."""
    highest = []
    for every in (1, 10_000):
        critics = Critics("none", range(2))
        found = reinforcement.learn_online(critics, learning_rate=0.003, every=every, steps=600)
        highest.append(found)
    assert (highest[0] > 5).all()
    assert (highest[1] < 3).all()


def test_tasks_are_learned_and_the_last_nets_only_choose():
    found = reinforcement.run_tasks(norm="LN", learning_rate=0.004, tasks=2, steps=100)
    assert np.shape(found["known"]) == (reinforcement.PAIRS, 2)
    assert 0.3 < -found["validation"] < 1
    assert min(min(net) for net in found["known"]) > 30  # guessing knows a tenth
