// @ts-check
/**
 * Order of a correlation matrix by hierarchical clustering: average linkage of the distance
 * √(2(1 − ρ)) (R. N. Mantegna, "Hierarchical structure in financial markets", 1999).
 *
 * The clusters are found by the nearest-neighbour chain (F. Murtagh, 1983). Ties, the order of the
 * merges and of the leaves are those of scipy.cluster.hierarchy.
 */

/**
 * The indices of the rows in the order of the leaves. A null correlation counts as 0.
 * @param {(number | null)[][]} matrix  square and symmetric @returns {number[]}
 */
export function order(matrix) {
  if (matrix.length < 2) return matrix.map((_, index) => index);
  return leaves(labelled(merges(distances(matrix)), matrix.length), matrix.length);
}

/** @typedef {[left: number, right: number, distance: number]} Merge */

/** @param {(number | null)[][]} matrix @returns {Float64Array[]} */
function distances(matrix) {
  return matrix.map((_, i) =>
    Float64Array.from(matrix, (_, j) => {
      const rho = matrix[Math.min(i, j)][Math.max(i, j)] ?? 0;
      return i === j ? 0 : Math.sqrt(Math.max(0, 2 * (1 - rho)));
    }),
  );
}

/** The merges by distance. A cluster keeps the larger index of its two parts. @param {Float64Array[]} d @returns {Merge[]} */
function merges(d) {
  const sizes = new Array(d.length).fill(1);
  /** @type {number[]} */
  const chain = [];
  /** @type {Merge[]} */
  const found = [];
  while (found.length < d.length - 1) {
    if (chain.length === 0) chain.push(sizes.findIndex((size) => size > 0));
    const [near, distance] = nearest(d, sizes, chain);
    if (near !== chain.at(-2)) {
      chain.push(near);
      continue;
    }
    const [x, y] = [chain.pop() ?? 0, chain.pop() ?? 0].sort((a, b) => a - b);
    found.push([x, y, distance]);
    join(d, sizes, x, y);
  }
  return found.sort((a, b) => a[2] - b[2]); // stable, as in scipy
}

/** The neighbour of the chain's end; among equals the chain's previous element. @param {Float64Array[]} d @param {number[]} sizes @param {number[]} chain */
function nearest(d, sizes, chain) {
  const end = chain[chain.length - 1];
  let near = chain.length > 1 ? chain[chain.length - 2] : -1;
  let distance = near < 0 ? Infinity : d[end][near];
  for (let i = 0; i < d.length; i += 1) {
    if (sizes[i] > 0 && i !== end && d[end][i] < distance) [near, distance] = [i, d[end][i]];
  }
  return [near, distance];
}

/** @param {Float64Array[]} d @param {number[]} sizes @param {number} x @param {number} y */
function join(d, sizes, x, y) {
  const [nx, ny] = [sizes[x], sizes[y]];
  sizes[x] = 0;
  sizes[y] = nx + ny;
  for (let i = 0; i < d.length; i += 1) {
    if (sizes[i] === 0 || i === y) continue;
    d[i][y] = d[y][i] = (nx * d[i][x] + ny * d[i][y]) / (nx + ny);
  }
}

/** The children of each cluster n, n + 1, …: the smaller label is the left one. @param {Merge[]} found @param {number} n */
function labelled(found, n) {
  const parents = Array.from({ length: 2 * n - 1 }, (_, index) => index);
  const root = (/** @type {number} */ index) => {
    while (parents[index] !== index) index = parents[index];
    return index;
  };
  return found.map(([x, y], index) => {
    const pair = [root(x), root(y)].sort((a, b) => a - b);
    parents[pair[0]] = parents[pair[1]] = n + index;
    return pair;
  });
}

/** @param {number[][]} children @param {number} n @returns {number[]} */
function leaves(children, n) {
  const stack = [2 * n - 2];
  const found = [];
  while (stack.length) {
    const label = /** @type {number} */ (stack.pop());
    if (label < n) found.push(label);
    else stack.push(children[label - n][1], children[label - n][0]);
  }
  return found;
}
