"""Q-learning on CartPole with and without a norm: from fixed data, and while acting.

CartPole pays 1 for every step, discounted by 0.99, so no true value exceeds 100.
"""

from collections.abc import Sequence
from copy import deepcopy
from itertools import product
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import stack_module_state, vmap
from torch.nn import functional as F

from lnlib.experiments.ensembles import digits
from lnlib.experiments.sweeps import Sweep
from lnlib.modules import MakeNorm
from lnlib.randomness import moved

Transitions = tuple[Tensor, Tensor, Tensor, Tensor]
NORMS: dict[str, MakeNorm] = {"none": nn.Identity, "LN": nn.LayerNorm}
DISCOUNT, HIGHEST = 0.99, 100.0
LENGTHS = (0.25, 0.5, 1.0, 2.0)
EVERY = (1, 20, 200)
RATES = tuple(0.00005 * 2**k for k in range(13))
PAIRS, CHOOSING = 16, 8
TASKS = 20
TASK_RATES = (0.0005, 0.001, 0.002, 0.004, 0.008)


class Critic(nn.Module):
    """Value both actions of a state; the norm stands before each ReLU.

    Args:
        norm: makes a norm of a width.
        inputs: entries of a state.
        outputs: how many actions.
        width: H, entries of the hidden layers.

    Example:
        >>> Critic(nn.LayerNorm)(torch.zeros(7, 4)).shape  # states, actions
        torch.Size([7, 2])
    """

    def __init__(self, norm: MakeNorm, inputs: int = 4, outputs: int = 2, width: int = 64) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(inputs, width), nn.Linear(width, width)
        self.norm_first, self.norm_second = norm(width), norm(width)
        self.values = nn.Linear(width, outputs)

    def forward(self, states: Tensor) -> Tensor:
        """Return values of shape (N, outputs) for states of shape (N, inputs)."""
        x = F.relu(self.norm_first(self.first(states)))
        return self.values(F.relu(self.norm_second(self.second(x))))


class Critics:
    """Critics side by side, one for each seed, computed as one batch; `critics[i]` is one of them.

    Args:
        norm: of the critics, "none" or "LN".
        seeds: of the initial weights, and of all that is drawn by chance in training.
        shape: inputs, outputs and width of each.

    Example:
        >>> Critics("LN", range(3))(torch.zeros(3, 7, 4)).shape  # critics, states, actions
        torch.Size([3, 7, 2])
    """

    def __init__(self, norm: str, seeds: Sequence[int], **shape: int) -> None:
        nets = []
        for seed in seeds:
            torch.manual_seed(moved(seed))
            nets.append(Critic(NORMS[norm], **shape))
        self.seeds, self._net = seeds, nets[0]
        self.parameters: dict[str, Tensor] = stack_module_state(nets)[0]
        self._generators = [torch.Generator().manual_seed(moved(seed)) for seed in seeds]

    def __call__(self, states: Tensor) -> Tensor:
        """Return values (critics, N, outputs) of each critic's own states (critics, N, inputs)."""
        x = F.relu(self._norm("norm_first", self._linear("first", states)))
        return self._linear("values", F.relu(self._norm("norm_second", self._linear("second", x))))

    def _linear(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self._of(name)
        return torch.baddbmm(bias, x, weight.mT)

    def _norm(self, name: str, x: Tensor) -> Tensor:
        if f"{name}.weight" not in self.parameters:
            return x
        gain, shift = self._of(name)
        return F.layer_norm(x, x.shape[-1:]) * gain[:, None] + shift

    def _of(self, name: str) -> tuple[Tensor, Tensor]:
        return self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"][:, None]

    def __getitem__(self, place: int) -> Critic:
        """Return a copy of one critic."""
        critic = deepcopy(self._net)
        critic.load_state_dict({name: p[place] for name, p in self.parameters.items()})
        return critic

    def follow(self, other: "Critics") -> None:
        """Take over the weights of other critics."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(other.parameters[name])

    def adam(self, learning_rate: float) -> torch.optim.Optimizer:
        """Return what improves all critics."""
        return torch.optim.Adam(self.parameters.values(), lr=learning_rate, fused=True)

    def draw(self, count: int, size: int) -> Tensor:
        """Return a batch for each critic: positions below `count`, of shape (critics, size)."""
        return torch.stack([torch.randint(count, (size,), generator=g) for g in self._generators])


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


def worth(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what games of so many steps pay, discounted to their start.

    Example:
        >>> worth(np.array([1.0, 500.0])).round(1).tolist()
        [1.0, 99.3]
    """
    return (1 - DISCOUNT**steps) / (1 - DISCOUNT)


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
        for part, value in zip(memory, (state, action, following, fallen), strict=True):
            part[step] = torch.as_tensor(value)
        state = env.reset()[0] if fallen or out_of_time else following
    return memory


def fit_offline(
    critics: Critics, data: Transitions, *, learning_rate: float, steps: int = 600
) -> None:
    """Fit critics to fixed transitions by Q-learning, their own values as targets.

    Args:
        critics: changed in place.
        data: from `random_transitions`, the same for all.
        learning_rate: of Adam.
        steps: how many, on batches of 128.
    """
    optimizer = critics.adam(learning_rate)
    for _ in range(steps):
        batches = critics.draw(len(data[0]), 128)
        _improve(bellman_error(critics, critics, *(part[batches] for part in data)), optimizer)


def bellman_error(
    critics: Critics,
    targets: Critics,
    states: Tensor,
    actions: Tensor,
    following: Tensor,
    ended: Tensor,
) -> Tensor:
    """Return each critic's mean squared error of Q(s, a) from 1 + 0.99 max Q'(s', ·), or from 1.

    Args:
        critics: Q, which get a gradient.
        targets: Q', which get none; may be the same.
        states: s, of shape (critics, N, 4).
        actions: a, of shape (critics, N) and dtype int64.
        following: s', of shape (critics, N, 4).
        ended: whether the game ended with this step, of shape (critics, N) and dtype bool.
    """
    with torch.no_grad():
        goals = 1 + DISCOUNT * targets(following).amax(-1) * ~ended
    return (critics(states).gather(-1, actions[..., None]).squeeze(-1) - goals).square().mean(-1)


def _improve(losses: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Take a step on the losses of critics side by side."""
    optimizer.zero_grad()
    losses.sum().backward()
    optimizer.step()


def _memory(*shape: int) -> Transitions:
    """Return room for transitions: states, actions, next states, ends."""
    return (
        torch.zeros(*shape, 4), torch.zeros(*shape, dtype=torch.long),
        torch.zeros(*shape, 4), torch.zeros(*shape, dtype=torch.bool),
    )  # fmt: skip


@torch.no_grad()
def play(
    critics: Critics, seed: int, *, games: int = 10, length: float = 0.5
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how long the critics' favorite actions keep the pole up, and what they believed.

    Args:
        critics: of the actions.
        seed: of the starts, which differ from game to game and from critic to critic.
        games: of each critic.
        length: half the pole's, in metres; 0.5 is CartPole's own.

    Returns:
        The steps of each game, at most 500, and the highest value at its start, each of shape
        (critics, games).
    """
    shape = len(critics.seeds), games
    env: Any = gymnasium.make_vec(
        "CartPole-v1", shape[0] * games, vectorization_mode="vector_entry_point"
    )
    env.length, env.polemass_length = length, env.masspole * length
    states, _ = env.reset(seed=moved(seed))
    values = critics(torch.from_numpy(states).view(*shape, 4))
    believed = values.amax(-1).numpy().astype(float)
    steps, running = np.zeros(shape), np.ones(shape, dtype=bool)
    while running.any():
        states, _, fallen, out_of_time, _ = env.step(values.argmax(-1).flatten().numpy())
        steps += running
        running &= ~(fallen | out_of_time).reshape(shape)
        values = critics(torch.from_numpy(states).view(*shape, 4))
    return steps, believed


def learn_online(
    critics: Critics, *, learning_rate: float, every: int, steps: int = 6000
) -> NDArray[np.float64]:
    """Train critics by DQN while each acts in games of its own.

    Args:
        critics: changed in place.
        learning_rate: of Adam.
        every: the goals come from a copy that is renewed every so many steps; at 1, the copy is
            the critic itself.
        steps: of the game, with one batch of 32 after each; chance actions fall from all to 5 %
            over the first half.

    Returns:
        The highest value of each critic on its states of the last thousand steps.

    Source: Mnih et al. (2015), https://doi.org/10.1038/nature14236.
    """
    seeds = critics.seeds
    rngs = [np.random.default_rng(moved(seed)) for seed in seeds]
    chance = np.stack([rng.random(steps) for rng in rngs], 1)
    chance_actions = np.stack([rng.integers(2, size=steps) for rng in rngs], 1)
    envs = [gymnasium.make("CartPole-v1", disable_env_checker=True) for _ in seeds]
    state = np.stack([env.reset(seed=moved(s))[0] for env, s in zip(envs, seeds, strict=True)])
    optimizer = critics.adam(learning_rate)
    targets, memory = deepcopy(critics), _memory(len(seeds), steps)
    rows = torch.arange(len(seeds))[:, None]
    for step in range(steps):
        if step % every == 0:
            targets.follow(critics)
        with torch.no_grad():
            favorites = critics(torch.from_numpy(state)[:, None]).argmax(-1).squeeze(1).numpy()
        by_chance = chance[step] < max(0.05, 1 - 2 * step / steps)
        actions = np.where(by_chance, chance_actions[step], favorites)
        moves = [env.step(int(action)) for env, action in zip(envs, actions, strict=True)]
        following, _, fallen, out_of_time, _ = map(np.array, zip(*moves, strict=True))
        for part, value in zip(memory, (state, actions, following, fallen), strict=True):
            part[:, step] = torch.from_numpy(value)
        state = following.copy()
        for i in np.flatnonzero(fallen | out_of_time):
            state[i] = envs[i].reset()[0]
        if step >= 200:
            batches = critics.draw(step + 1, 32)
            found = (part[rows, batches] for part in memory)
            _improve(bellman_error(critics, targets, *found), optimizer)
    with torch.no_grad():
        return critics(memory[0][:, -1000:]).flatten(1).amax(1).numpy().astype(float)


def run(*, norm: str, every: int, learning_rate: float) -> dict[str, Any]:
    """Train critics side by side while they act, then let them play.

    Returns:
        For each of the 16 critics the mean steps of its games, for each length of the pole
        ("poles") and for CartPole's own ("played"), the mean value believed at the starts and what
        these games were worth, the highest value believed in training; "validation" is minus the
        mean steps of games of their own, so that less is better.
    """
    critics = Critics(norm, range(PAIRS))
    highest = learn_online(critics, learning_rate=learning_rate, every=every)
    steps, believed = play(critics, 100)
    poles = [play(critics, 100, length=length)[0].mean(1) for length in LENGTHS]
    return {
        "validation": -float(play(critics, 200)[0].mean()),
        "played": _rounded(steps.mean(1)),
        "poles": [_rounded(pole) for pole in poles],
        "believed": _rounded(believed.mean(1)),
        "worth": _rounded(worth(steps).mean(1)),
        "highest": _rounded(highest),
    }


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [round(float(value), 1) for value in values]


def points() -> list[dict[str, Any]]:
    """Return the arguments of all runs that the book shows."""
    arms = product(EVERY, NORMS, RATES)
    return [{"norm": n, "every": e, "learning_rate": r} for e, n, r in arms]


def run_tasks(
    *, norm: str, learning_rate: float, tasks: int = TASKS, steps: int = 200
) -> dict[str, Any]:
    """Let 24 nets learn the same 256 digits by heart, again and again with other random labels.

    Returns:
        For each of the first 16 nets the percentage of labels that it knows at the end of each task
        ("known"); "validation" is minus the mean share of the last 8 nets, which only choose the
        learning rate.

    Source: after C. Lyle, Z. Zheng, E. Nikishin, B. Avila Pires, R. Pascanu, W. Dabney (2023),
        https://arxiv.org/abs/2303.01486.
    """
    images, _ = digits(256).training
    generator = torch.Generator().manual_seed(moved())
    nets = Critics(norm, range(PAIRS + CHOOSING), inputs=64, outputs=10)
    known = []
    for _ in range(tasks):
        labels, optimizer = torch.randint(10, (256,), generator=generator), nets.adam(learning_rate)
        for _ in range(steps):
            batches = nets.draw(256, 32)
            losses = vmap(F.cross_entropy)(nets(images[batches]), labels[batches])
            _improve(losses, optimizer)
        with torch.no_grad():
            answers = nets(images.expand(len(nets.seeds), -1, -1)).argmax(-1)
        known.append((answers == labels).double().mean(1))
    shares = torch.stack(known, 1)
    return {
        "validation": -float(shares[PAIRS:].mean()),
        "known": [_rounded(100 * net) for net in shares[:PAIRS].numpy()],
    }


def task_points() -> list[dict[str, Any]]:
    """Return the arguments of all nets that learn tasks one after the other."""
    return [{"norm": n, "learning_rate": r} for n, r in product(NORMS, TASK_RATES)]


SWEEPS: dict[str, Sweep] = {
    "reinforcement": (run, points),
    "plasticity": (run_tasks, task_points),
}
