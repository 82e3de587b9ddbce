// The norms of the drawings, in double precision; tests/book/test_drawings.py holds them against lnlib.
export const sum = (values) => values.reduce((total, value) => total + value, 0);
export const mean = (values) => sum(values) / values.length;
export const times = (a, b) => a.map((value, i) => value * b[i]);
export const dot = (a, b) => sum(times(a, b));

export const NORMS = {
  LN: { center: true },
  RMS: { center: false },
  outside: { center: true, outside: true }, // ε beside the root
  GN: { center: true, groups: 2 },
};

// The entries that share their statistics.
function standardize(x, eps, { center, outside = false }) {
  const mu = center ? mean(x) : 0;
  const difference = x.map((entry) => entry - mu);
  const variance = mean(times(difference, difference));
  const root = outside ? Math.sqrt(variance) + eps : Math.sqrt(variance + eps);
  const xHat = difference.map((entry) => entry / root);
  const backward = (g) => {
    const u = outside ? difference.map((entry) => (variance > 0 ? entry / Math.sqrt(variance) : 0)) : xHat;
    const along = mean(times(g, u));
    const common = center ? mean(g) : 0;
    return g.map((entry, i) => (entry - common - xHat[i] * along) / root);
  };
  return { mean: mu, difference, variance, root, xHat, backward };
}

// Normalize a vector, and return every step; backward(dy) returns the gradients of the sum of dy ⊙ y.
export function forward(x, norm, { eps, weight, bias }) {
  const { groups = 1 } = NORMS[norm];
  const size = x.length / groups;
  const cut = (values) => Array.from({ length: groups }, (_, i) => values.slice(i * size, (i + 1) * size));
  const parts = cut(x).map((part) => standardize(part, eps, NORMS[norm]));
  const xHat = parts.flatMap((part) => part.xHat);
  const backward = (dy) => {
    const g = times(dy, weight);
    const dx = cut(g).flatMap((part, i) => parts[i].backward(part));
    return { g, dx, dweight: times(dy, xHat), dbias: dy };
  };
  return {
    mean: parts.map((part) => part.mean),
    difference: parts.flatMap((part) => part.difference),
    variance: parts.map((part) => part.variance),
    root: parts.map((part) => part.root),
    xHat,
    y: xHat.map((entry, i) => weight[i] * entry + bias[i]),
    backward,
  };
}
