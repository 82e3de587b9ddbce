// A layer y = N(X Wᵀ) with one of five norms, and what one may change about X or W.
import { dot, forward } from "./norms.mjs";

const transposed = (rows) => rows[0].map((_, i) => rows.map((row) => row[i]));
const product = (rows, others) => rows.map((row) => others.map((other) => dot(row, other))); // A Bᵀ
const normalized = (rows, norm, eps) =>
  rows.map((row) => forward(row, norm, { eps, weight: row.map(() => 1), bias: row.map(() => 0) }).y);
const unit = (rows) => rows.map((row) => row.map((value) => value / Math.hypot(...row)));

export const LAYERS = {
  LN: (X, W, eps) => normalized(product(X, W), "LN", eps),
  RMS: (X, W, eps) => normalized(product(X, W), "RMS", eps),
  BN: (X, W, eps) => transposed(normalized(transposed(product(X, W)), "LN", eps)),
  WN: (X, W) => product(X, unit(W)),
  none: (X, W) => product(X, W),
};

const scaled = (rows, c) => rows.map((row) => row.map((value) => c * value));
const shifted = (rows, c) => rows.map((row) => row.map((value, i) => value + c * i));
const first = (rows, change) => [...change(rows.slice(0, 1)), ...rows.slice(1)];
// Turn the rows two by two by an angle.
const turned = (rows, angle) => rows.map((row, i) => {
  const other = rows[i % 2 ? i - 1 : i + 1];
  const sine = (i % 2 ? 1 : -1) * Math.sin(angle);
  return row.map((value, k) => Math.cos(angle) * value + sine * other[k]);
});

// What becomes of X and W; whether only the first example is looked at, or y is turned back.
export const CHANGES = {
  weights: (X, W, c) => ({ X, W: scaled(W, c) }),
  rowsShifted: (X, W, c) => ({ X, W: shifted(W, c) }),
  oneRow: (X, W, c) => ({ X, W: first(W, (row) => scaled(row, c)) }),
  inputs: (X, W, c) => ({ X: scaled(X, c), W }),
  inputsShifted: (X, W, c) => ({ X: shifted(X, c), W }),
  oneExample: (X, W, c) => ({ X: first(X, (row) => scaled(row, c)), W }),
  oneFeature: (X, W, c) => ({ X: transposed(first(transposed(X), (row) => scaled(row, c))), W }),
  mates: (X, W, c) => ({ X: [X[0], ...scaled(X.slice(1), c)], W, alone: true }),
  turned: (X, W, c) => ({ X, W: turned(W, c), back: (y) => transposed(turned(transposed(y), -c)) }),
};

// The output of a layer before and after a change, and how far they are apart at most.
export function compare(layer, change, X, W, c, eps) {
  const { X: otherX, W: otherW, alone = false, back = (y) => y } = CHANGES[change](X, W, c);
  const before = LAYERS[layer](X, W, eps);
  const after = back(LAYERS[layer](otherX, otherW, eps));
  const rows = alone ? 1 : X.length;
  const apart = before.slice(0, rows).flatMap((row, i) => row.map((value, k) => Math.abs(value - after[i][k])));
  return { before, after, apart: Math.max(...apart) };
}
