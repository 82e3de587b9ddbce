"""Q-learning on CartPole with and without a norm: from fixed data, and while acting.

CartPole pays 1 for every step, discounted by 0.99, so no true value exceeds 100.
"""

from copy import deepcopy
from itertools import product
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lnlib.experiments.sweeps import Sweep
from lnlib.modules import MakeNorm
from lnlib.randomness import moved

Transitions = tuple[Tensor, Tensor, Tensor, Tensor]
NORMS: dict[str, MakeNorm] = {"none": nn.Identity, "LN": nn.LayerNorm}
DISCOUNT, HIGHEST = 0.99, 100.0
LENGTHS = (0.25, 0.5, 1.0, 2.0)
RATES = (0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03)


class Critic(nn.Module):
    """Value both actions of a state; the norm stands before each ReLU.

    Args:
        norm: makes a norm of a width.
        width: H, entries of the hidden layers.

    Example:
        >>> Critic(nn.LayerNorm)(torch.zeros(7, 4)).shape  # states, actions
        torch.Size([7, 2])
    """

    def __init__(self, norm: MakeNorm, width: int = 64) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, width), nn.Linear(width, width)
        self.norm_first, self.norm_second = norm(width), norm(width)
        self.values = nn.Linear(width, 2)

    def forward(self, states: Tensor) -> Tensor:
        """Return values of shape (N, 2) for states of shape (N, 4)."""
        x = F.relu(self.norm_first(self.first(states)))
        return self.values(F.relu(self.norm_second(self.second(x))))


@torch.no_grad()
def bound(critic: Critic) -> float:
    """Return the largest value that a critic with layer norms can ever give.

    |Q(s, a)| ≤ ‖w_a‖ (‖γ‖_∞ √H + ‖β‖) + |b_a|, since a normalized vector has length ≤ √H and ReLU
    makes no vector longer.

    Raises:
        ValueError: if the critic has no layer norm.
    """
    norm = critic.norm_second
    if not isinstance(norm, nn.LayerNorm):
        raise ValueError(f"critic: expected a layer norm before the last ReLU, got {norm}")
    longest = norm.weight.abs().max() * norm.weight.numel() ** 0.5 + norm.bias.norm()
    each = critic.values.weight.norm(dim=1) * longest + critic.values.bias.abs()
    return float(each.max())


def random_transitions(count: int = 3000, seed: int = 0) -> Transitions:
    """Return states, actions, next states and ends of random play.

    Example:
        >>> states, actions, following, ended = random_transitions(100)
        >>> states.shape, ended.dtype
        (torch.Size([100, 4]), torch.bool)
    """
    memory = _memory(count)
    env = gymnasium.make("CartPole-v1")
    rng = np.random.default_rng(moved(seed))
    state, _ = env.reset(seed=moved(seed))
    for step in range(count):
        action = int(rng.integers(2))
        following, _, fallen, out_of_time, _ = env.step(action)
        _remember(memory, step, state, action, following, fallen)
        state = env.reset()[0] if fallen or out_of_time else following
    return memory


def fit_offline(
    critic: Critic, data: Transitions, *, learning_rate: float, seed: int = 0, steps: int = 800
) -> None:
    """Fit a critic to fixed transitions by Q-learning, its own values as targets.

    Args:
        critic: changed in place.
        data: from `random_transitions`.
        learning_rate: of Adam.
        seed: of the batches of 128.
        steps: how many.
    """
    generator = torch.Generator().manual_seed(moved(seed))
    optimizer = torch.optim.Adam(critic.parameters(), lr=learning_rate, fused=True)
    for _ in range(steps):
        batch = torch.randint(len(data[0]), (128,), generator=generator)
        _improve(critic, critic, optimizer, *(part[batch] for part in data))


def bellman_error(
    critic: Critic,
    target: Critic,
    states: Tensor,
    actions: Tensor,
    following: Tensor,
    ended: Tensor,
) -> Tensor:
    """Return the mean squared Bellman error: of Q(s, a) from 1 + 0.99 max Q'(s', ·), or from 1.

    Args:
        critic: Q, which gets a gradient.
        target: Q', which gets none; may be the same.
        states: s, of shape (N, 4).
        actions: a, of shape (N,) and dtype int64.
        following: s', of shape (N, 4).
        ended: whether the game ended with this step, of shape (N,) and dtype bool.
    """
    with torch.no_grad():
        goals = 1 + DISCOUNT * target(following).amax(1) * ~ended
    return F.mse_loss(critic(states).gather(1, actions[:, None]).squeeze(1), goals)


def _improve(
    critic: Critic, target: Critic, optimizer: torch.optim.Optimizer, *transitions: Tensor
) -> None:
    loss = bellman_error(critic, target, *transitions)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _memory(count: int) -> Transitions:
    """Return room for transitions: states, actions, next states, ends."""
    return (
        torch.zeros(count, 4), torch.zeros(count, dtype=torch.long),
        torch.zeros(count, 4), torch.zeros(count, dtype=torch.bool),
    )  # fmt: skip


def _remember(memory: Transitions, step: int, *transition: Any) -> None:
    for part, value in zip(memory, transition, strict=True):
        part[step] = torch.as_tensor(value)


@torch.no_grad()
def play(critic: Critic, seeds: range, length: float = 0.5) -> list[float]:
    """Return how long a critic's favorite actions keep the pole up, for each seed.

    Args:
        critic: of the actions.
        seeds: of the starts.
        length: half the pole's, in metres; 0.5 is CartPole's own.
    """
    env = gymnasium.make("CartPole-v1")
    body: Any = env.unwrapped
    body.length, body.polemass_length = length, body.masspole * length
    returns = []
    for seed in seeds:
        state, _ = env.reset(seed=moved(seed))
        total, over = 0.0, False
        while not over:
            state, reward, fallen, out_of_time, _ = env.step(_favorite(critic, state))
            total, over = total + float(reward), fallen or out_of_time
        returns.append(total)
    return returns


def _favorite(critic: Critic, state: NDArray[np.float32]) -> int:
    with torch.no_grad():
        return int(critic(torch.from_numpy(state)[None]).argmax())


def learn_online(
    critic: Critic, *, learning_rate: float, seed: int, target: bool, steps: int = 6000
) -> float:
    """Train a critic by DQN while acting with it; return the largest value it believes in.

    Args:
        critic: changed in place.
        learning_rate: of Adam.
        seed: of starts, chance actions and batches.
        target: whether the goals come from a copy that is 200 steps old at most.
        steps: of the game, with one batch of 64 after each; chance actions fall from all to 5 %
            over the first half.

    Returns:
        The largest value of the critic on the states of the last thousand steps.

    Source: Mnih et al. (2015), https://doi.org/10.1038/nature14236.
    """
    env, rng = gymnasium.make("CartPole-v1"), np.random.default_rng(moved(seed))
    generator = torch.Generator().manual_seed(moved(seed))
    optimizer = torch.optim.Adam(critic.parameters(), lr=learning_rate, fused=True)
    copy, memory = deepcopy(critic) if target else critic, _memory(steps)
    state, _ = env.reset(seed=moved(seed))
    for step in range(steps):
        if target and step % 200 == 0:
            copy.load_state_dict(critic.state_dict())
        by_chance = rng.random() < max(0.05, 1 - 2 * step / steps)
        action = int(rng.integers(2)) if by_chance else _favorite(critic, state)
        following, _, fallen, out_of_time, _ = env.step(action)
        _remember(memory, step, state, action, following, fallen)
        state = env.reset()[0] if fallen or out_of_time else following
        if step >= 200:
            batch = torch.randint(step + 1, (64,), generator=generator)
            _improve(critic, copy, optimizer, *(part[batch] for part in memory))
    with torch.no_grad():
        return float(critic(memory[0][-1000:]).max())


def run(*, norm: str, target: bool, learning_rate: float, seed: int) -> dict[str, Any]:
    """Train one critic while acting; return mean lengths of games, for each length of the pole.

    "validation" is minus the mean on starts of its own, so that less is better.
    """
    torch.manual_seed(moved(seed))
    critic = Critic(NORMS[norm])
    believed = learn_online(critic, learning_rate=learning_rate, seed=seed, target=target)
    test = {length: float(np.mean(play(critic, range(100, 110), length))) for length in LENGTHS}
    return {
        "validation": -float(np.mean(play(critic, range(200, 210)))),
        "test": test[0.5],
        "lengths": [round(test[length], 1) for length in LENGTHS],
        "believed": round(believed, 1),
    }


def points(seeds: int = 5) -> list[dict[str, Any]]:
    """Return the arguments of all runs that the book shows."""
    arms = product(NORMS, (True, False), RATES, range(seeds))
    names = ("norm", "target", "learning_rate", "seed")
    return [dict(zip(names, arm, strict=True)) for arm in arms]


SWEEPS: dict[str, Sweep] = {"reinforcement": (run, points)}
