// Arms compared in pairs, as in lnlib.experiments; tests/book/test_drawings.py holds both together.
import { mean } from "./norms.mjs";

// The mean and its standard error; of one number there is none.
export function summary(values) {
  const center = mean(values);
  const squares = values.map((value) => (value - center) ** 2);
  const { length: n } = values;
  return { mean: center, error: Math.sqrt((mean(squares) * n) / (n - 1) / n), n };
}

// What one arm loses more than another, pair by pair, each at its own rate; null where a run diverged.
export function paired(arm, other) {
  const [a, b] = [arm, other].map(({ losses, own }) => losses[own]);
  const n = Math.min(a.length, b.length);
  const differences = a.slice(0, n).map((loss, i) => (loss === null || b[i] === null ? null : loss - b[i]));
  return differences.includes(null) ? null : { differences, ...summary(differences) };
}
