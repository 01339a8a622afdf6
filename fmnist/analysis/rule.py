"""By what rule differences are judged: good for a look after every seed, and blind to what is too small to matter.

Who looks at a study after each seed and stops once p < 0.05 finds something where nothing is far too often. Here p and
interval are valid at every look, and at whichever look one stops: a group-sequential t test with a look at every number
of seeds (Jennison and Turnbull 2000, repeated significance tests and repeated confidence intervals). Of n seeds out of
`most` the t test is made at a level that grows with n, x · n / most, since the early looks, with their few degrees of
freedom, find little and would spend what the later ones need. The valid p of a look is the probability, were there no
difference, that any look from `first` to `most` is as significant for its place as this one was.

That probability is worked out, not simulated. Let r be the root of the sum of n squared differences and T their sum
over r. The next difference over r, u, is Student's t with n degrees of freedom over sqrt(n), and independent of all
before, as the ratios of successive sums of squares of normal numbers are. So T goes on as (T + u) / sqrt(1 + u²), a
Markov chain that knows neither mean nor deviation, and t² = T² (n - 1) / (n - T²). With u = tan(a) that is
sqrt(1 + T²) cos(a - b), which says between which angles the next look rejects; what is left is a smooth integral over
the angles between, backwards from the last look to the first.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.special import gammaln
from scipy.stats import t as student

Array = NDArray[np.float64]

_NODES, _FIRST_NODES = np.polynomial.legendre.leggauss(24), np.polynomial.legendre.leggauss(96)
_DENSE = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 121))  # -1..1, closer together near the ends, where more happens
_STATES = np.pi / 2 * _DENSE  # arcsines of T over its limit, at which a look is worked out
_LEVELS = [*np.logspace(-5, -1, 9), 0.2, 0.4, 0.7, 0.9]
_LEAST = 1e-12  # level of a look, so low that all looks together have the sum of theirs


@dataclass(frozen=True)
class Rule:
    """How many seeds there may be, and which differences matter.

    Without `most` there is one look, at however many seeds there are: right if their number was chosen before. More
    seeds than `most` are judged as if there were to be no more than that.
    """

    most: int = 0  # seeds at the last look
    first: int = 3  # seeds at the first look, before which nothing is judged
    margin: float = 0.0  # of accuracy: an interval within ±margin shows that no difference matters

    def valid(self, p: ArrayLike, n: ArrayLike) -> Array:
        """The p-values of looks at n seeds, each from the t test's own p; NaN stay NaN."""
        values, seeds = np.broadcast_arrays(np.asarray(p, dtype=np.float64), n)
        result = values.copy()
        for count in np.unique(seeds[~np.isnan(values)]) if self.most else ():
            here = (seeds == count) & ~np.isnan(values)
            last = max(self.most, int(count))
            result[here] = 1.0
            if count >= self.first:
                x, reached = _curve(self.first, last)
                with np.errstate(divide="ignore"):
                    result[here] = np.exp(np.interp(np.log(values[here] * last / count), x, reached, left=-np.inf))
        return result

    def level(self, alpha: ArrayLike, n: ArrayLike) -> Array:
        """At which level the t test of a look at n seeds is made if all looks together shall have level alpha.

        0 before the first look: nothing is significant there, and an interval has no ends.
        """
        wanted, seeds = np.broadcast_arrays(np.asarray(alpha, dtype=np.float64), n)
        result = wanted.copy()
        for count in np.unique(seeds) if self.most else ():
            here, last = seeds == count, max(self.most, int(count))
            result[here] = 0.0
            if count >= self.first:
                x, reached = _curve(self.first, last)
                result[here] = np.exp(np.interp(np.log(wanted[here]), reached, x)) * count / last
        return result

    def is_small(self, low: ArrayLike, high: ArrayLike) -> NDArray[np.bool_]:
        """Whether intervals lie within the margin."""
        return (-self.margin < np.asarray(low)) & (np.asarray(high) < self.margin)

    def bound(self, p: ArrayLike, n: ArrayLike) -> Array:
        """What `valid` is for tests other than the t test of differences: Bonferroni's bound over all looks."""
        values, weights = np.broadcast_arrays(np.asarray(p, dtype=np.float64), self.bound_level(1.0, n))
        with np.errstate(divide="ignore", invalid="ignore"):
            bounds = np.minimum(1.0, np.where(weights > 0, values / weights, 1.0))
        return np.where(np.isnan(values), np.nan, bounds)

    def bound_level(self, alpha: ArrayLike, n: ArrayLike) -> Array:
        """What `level` is for those tests: at which level one is made so that its bound is alpha."""
        wanted, seeds = np.broadcast_arrays(np.asarray(alpha, dtype=np.float64), n)
        if not self.most:
            return wanted.copy()
        last = np.maximum(self.most, seeds)
        looks = (last * (last + 1) - self.first * (self.first - 1)) / (2.0 * last)  # the sum of n / last over the looks
        return np.where(seeds < self.first, 0.0, wanted * seeds / (last * looks))


@cache
def _curve(first: int, last: int) -> tuple[Array, Array]:
    """log(x), and log of the probability that any look from first to last rejects at level x · n / last."""
    seeds = np.arange(first, last + 1)
    reached = [_crossing(student.isf(x * seeds / last / 2, seeds - 1), first) for x in _LEVELS]
    known = np.log([_LEAST, *_LEVELS, 1.0]), np.log([_LEAST * (seeds / last).sum(), *reached, 1.0])
    x = np.linspace(np.log(_LEAST), 0.0, 2001)
    return x, np.maximum.accumulate(PchipInterpolator(*known)(x))


def _crossing(limits: Array, first: int) -> float:
    """The probability that |t| of the first n of normal numbers reaches its limit for any n.

    Args:
        limits: (looks,), of |t| at n = first, first + 1, ...
        first: at least 2.
    """
    seeds = np.arange(first, first + len(limits))
    ends = np.sqrt(seeds * limits**2 / (seeds - 1 + limits**2))  # of |T|
    later = CubicSpline(_STATES, np.zeros(len(_STATES)))  # the probability to cross after a look, by the state there
    for n, end, next_end in list(zip(seeds[:-1], ends[:-1], ends[1:], strict=True))[::-1]:
        later = CubicSpline(_STATES, _after(int(n), end * np.sin(_STATES), next_end, later))
    at_once = 2 * student.sf(limits[0], first - 1)
    if len(limits) == 1:
        return float(at_once)
    nodes, weights = _FIRST_NODES
    share, dense = ends[0] / np.sqrt(first), np.pi / 2 * np.sin(np.pi / 2 * nodes)
    angles = np.arcsin(share * np.sin(dense))  # T is sqrt(n) · sin of an angle with density cos^(n - 2)
    density = np.cos(angles) ** (first - 2) * _norm(first - 1)
    spacing = share * np.cos(dense) / np.cos(angles) * np.pi**2 / 4 * np.cos(np.pi / 2 * nodes)
    return float(at_once + (weights * spacing * density * later(dense)).sum())


def _after(n: int, states: Array, end: float, later: CubicSpline) -> Array:
    """The probability to cross at the look after n seeds (|T| reaches `end`) or after that, from states T at n."""
    size, middle = np.sqrt(1 + states**2), np.arctan2(1.0, states)  # the next T is size · cos(angle - middle)
    reach = np.arccos(np.minimum(1.0, end / size))
    angles = [middle - np.pi - reach, middle - np.pi + reach, middle - reach, middle + reach]
    low, high = np.full_like(states, -np.pi / 2), np.full_like(states, np.pi / 2)
    edges = [low, *(np.clip(angle, low, high) for angle in angles), high]
    chances = [student.cdf(np.sqrt(n) * np.tan(edge), n) for edge in edges[1:-1]]
    total: Array = chances[1] - chances[0] + chances[3] - chances[2]
    nodes, weights = (each[:, None] for each in _NODES)
    for start, stop in zip(edges[::2], edges[1::2], strict=True):  # the angles that stay within
        angle = (start + stop) / 2 + (stop - start) / 2 * nodes
        states_after = np.arcsin(np.clip(size * np.cos(angle - middle) / end, -1, 1))
        density = _norm(n) * np.cos(angle) ** (n - 1)
        total = total + ((stop - start) / 2 * weights * density * later(states_after)).sum(axis=0)
    return total


def _norm(n: int) -> float:
    """Of the density cos^(n - 1) of an angle whose tangent is Student's t with n degrees of freedom over sqrt(n)."""
    return float(np.exp(gammaln((n + 1) / 2) - gammaln(n / 2)) / np.sqrt(np.pi))
