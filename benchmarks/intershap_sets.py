"""The data sets that demonstrate InterSHAP (Wenderoth et al., AAAI 2025), and its score.

HD-XOR hides two bits in 200 Gaussian numbers. The first modality shows 200 mixtures of them, the second 100,
and the target is the XOR of the bits. *Unique* puts both bits into one modality, *redundant* shows both
modalities the same numbers, *synergy* gives each modality one bit, and *random* permutes the labels. In SUM,
the target is whether the sum of five Gaussian numbers (ten for *synergy*) is positive; here without label
noise. Each of its modalities mixes five numbers of its own into fifty columns, and five shared ones into
fifty more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from commlearn.information.pid.marginals import Array
from commlearn.seeds import numpy_generator

Draw = np.random.Generator
LATENTS = 200
COLUMNS = (200, 100)  # columns of each modality
DRAWS = 400_000  # draws of the latents, to compute the truth
MASKS = 50  # records that replace a hidden modality


@dataclass(frozen=True)
class Recipe:
    """One data set.

    Attributes:
        name: name of the set.
        published: InterSHAP of the authors' early-fusion network on 20 000 records, in per cent, if given.
        sample: draws the modalities a and b, and the target.
        truth: computes R, U of a, U of b and S in bits.
    """

    name: str
    published: str
    sample: Callable[[int, Draw], tuple[dict[str, Array], np.ndarray]]
    truth: Callable[[Draw], Array]


# ------------------------------------------------------------------------------ HD-XOR
def mixing() -> tuple[Array, ...]:
    """Return the mixing matrices, which are the same for all samples so that they have the same truth."""
    draw = numpy_generator(0, "mixing of HD-XOR")
    return tuple(draw.uniform(-0.5, 0.5, size=(LATENTS, columns)) for columns in COLUMNS)


def hidden(bits: np.ndarray, away: float, spread: float, draw: Draw) -> Array:
    """Draw Gaussian numbers with means of `away` times a bit's sign; each bit has an equal share of them."""
    means = np.repeat(away * (2 * bits - 1), LATENTS // bits.shape[1], axis=1)
    return means + spread * draw.normal(size=means.shape)


def hd_xor(setting: str) -> Callable[[int, Draw], tuple[dict[str, Array], np.ndarray]]:
    def sample(records: int, draw: Draw) -> tuple[dict[str, Array], np.ndarray]:
        bits = draw.integers(0, 2, size=(records, 2))
        target = bits[:, 0] ^ bits[:, 1]
        if setting == "redundant":
            latents = [hidden(bits, 0.25, 1.0, draw)] * 2
        elif setting in ("synergy", "random"):
            latents = [hidden(bits[:, [place]], 0.35, 2.0, draw) for place in (0, 1)]
        else:
            latents = [draw.normal(size=(records, LATENTS)) for _ in COLUMNS]
            latents["ab".index(setting[-1])] = hidden(bits, 0.35, 1.0, draw)
        shown = {name: part @ mix for name, part, mix in zip("ab", latents, mixing(), strict=True)}
        return shown, draw.permutation(target) if setting == "random" else target

    return sample


def evidence(place: int, halves: int, away: float, draw: Draw) -> tuple[Array, Array]:
    """Draw the sufficient statistics of a modality's bits, and return them with their Gram matrix.

    The columns of a modality span a subspace of the latents. If A contains the bits' directions in it, in
    units of the noise, then A'x ~ N(G s, G) for signs s and G = A'A.
    """
    basis, _ = np.linalg.qr(mixing()[place])
    directions = basis.T @ np.repeat(away * np.eye(halves), LATENTS // halves, axis=0)
    gram = directions.T @ directions
    signs = draw.choice([-1.0, 1.0], size=(DRAWS, halves))
    noise = draw.normal(size=(DRAWS, halves)) @ np.linalg.cholesky(gram).T
    return signs @ gram + noise, gram


def bits_of_both(place: int, away: float, draw: Draw) -> float:
    """Return the information that a modality with both bits has about their XOR."""
    seen, gram = evidence(place, 2, away, draw)
    equal, other = np.logaddexp(seen.sum(axis=1), -seen.sum(axis=1)), np.diff(seen, axis=1)[:, 0]
    odds = equal - np.logaddexp(other, -other) - 2 * gram[0, 1]
    return information(1 / (1 + np.exp(-odds)))


def hd_xor_truth(setting: str) -> Callable[[Draw], Array]:
    def truth(draw: Draw) -> Array:
        if setting == "random":
            return np.zeros(4)
        if setting == "synergy":  # a single bit has no information about the XOR
            beliefs = [np.tanh(evidence(place, 1, 0.35 / 2, draw)[0][:, 0]) for place in (0, 1)]
            return np.array([0, 0, 0, information((1 + beliefs[0] * beliefs[1]) / 2)])
        if setting == "redundant":  # b is a function of a, from which all latents can be recovered
            first, second = (bits_of_both(place, 0.25, draw) for place in (0, 1))
            return np.array([second, first - second, 0, 0])
        place = "ab".index(setting[-1])
        return np.eye(4)[1 + place] * bits_of_both(place, 0.35, draw)

    return truth


def information(chances: Array) -> float:
    """Return I(X; Y) of a fair binary target, from draws of p(y = 1 | x)."""
    both = np.stack([chances, 1 - chances])
    return float(1 + np.mean(np.sum(both * np.log2(np.maximum(both, 1e-300)), axis=0)))


# ------------------------------------------------------------------------------ SUM
def summed(setting: str) -> Callable[[int, Draw], tuple[dict[str, Array], np.ndarray]]:
    def sample(records: int, draw: Draw) -> tuple[dict[str, Array], np.ndarray]:
        own_a, own_b, both = draw.normal(size=(3, records, 5))
        mixes = draw.uniform(size=(3, 5, 50))
        shown = {
            name: np.concatenate([own @ mix, both @ mixes[2]], axis=1)
            for name, own, mix in zip("ab", (own_a, own_b), mixes[:2], strict=True)
        }
        score = {"unique": own_a, "redundant": both, "synergy": own_a + own_b}[setting]
        return shown, (score.sum(axis=1) > 0).astype(int)

    return sample


def summed_truth(setting: str) -> Callable[[Draw], Array]:
    """Return a function that gives the exact parts of a SUM set.

    The summands together determine the target. Given one of two equal summands, p(y = 1) is uniform on 0..1,
    so one summand has 1 - 1 / (2 ln 2) bits. Both have the same joint distribution with the target, so
    nothing is unique.
    """
    one = 1 - 1 / (2 * np.log(2))
    parts = {"unique": [0, 1, 0, 0], "redundant": [1, 0, 0, 0], "synergy": [one, 0, 0, 1 - one]}[setting]
    return lambda draw: np.array(parts, dtype=float)


def recipes() -> list[Recipe]:
    published = {
        "unique a": "0.2",
        "unique b": "3.1",
        "redundant": "38.6",
        "synergy": "98.0",
        "random": "57.8",
    }
    made = [
        Recipe(f"HD-XOR, {name}", score, hd_xor(name), hd_xor_truth(name))
        for name, score in published.items()
    ]
    sums = ("unique", "redundant", "synergy")
    return made + [Recipe(f"SUM, {name}", "", summed(name), summed_truth(name)) for name in sums]


# ------------------------------------------------------------------------------ the score
def intershap(arrays: dict[str, Array], target: np.ndarray, seed: int) -> tuple[float, float]:
    """Return InterSHAP, in per cent, of a network with one hidden layer, and the network's accuracy.

    Both are computed on the last 30 % of the records, which the network has not seen. A hidden modality is
    replaced by that of another record, averaged over `MASKS` of them, as in the authors' code. v(A) is the
    probability of the predicted class when the modalities A are shown. The score is the share

        |v(ab) - v(a) - v(b) + v()|  of  |v(ab) - v(a) - v(b) + v()| + |v(a) - v()| + |v(b) - v()|

    averaged over records: the Shapley interaction's share of all effects.
    """
    cut, draw = int(0.7 * len(target)), numpy_generator(seed, "masks of InterSHAP")
    network = MLPClassifier((64,), alpha=1e-2, early_stopping=True, max_iter=300, random_state=seed)
    model = make_pipeline(StandardScaler(), network)
    first, second = (part[:cut] for part in arrays.values())
    model.fit(np.concatenate([first, second], axis=1), target[:cut])
    first, second = (part[cut:] for part in arrays.values())

    def chances(first: Array, second: Array) -> Array:
        return np.asarray(model.predict_proba(np.concatenate([first, second], axis=1)))

    full = chances(first, second)
    others = [draw.permutation(len(full)) for _ in range(MASKS)]
    only_first = np.mean([chances(first, second[other]) for other in others], axis=0)
    only_second = np.mean([chances(first[other], second) for other in others], axis=0)
    predicted = full.argmax(axis=1)
    both, one, two = (part[np.arange(len(full)), predicted] for part in (full, only_first, only_second))
    none = full.mean(axis=0)[predicted]
    mixed = np.abs(both - one - two + none)
    share = mixed / (mixed + np.abs(one - none) + np.abs(two - none))
    return 100 * float(share.mean()), float(np.mean(predicted == target[cut:]))


def drawn(recipe: Recipe, records: int, seed: int) -> tuple[dict[str, Array], np.ndarray]:
    return recipe.sample(records, numpy_generator(seed, f"set {recipe.name}"))
