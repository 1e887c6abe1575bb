// @ts-check
/** Contrast of WCAG 2.2 and the colour difference of the tokens in app.css. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const CSS = readFileSync(new URL("../app.css", import.meta.url), "utf8");
const DARK = tokens(":root");
const LIGHT = { ...DARK, ...tokens(':root[data-theme="light"]') };
const THEMES = {
  dark: DARK,
  "dark green-red": { ...DARK, ...tokens(':root[data-palette="green-red"]') },
  light: LIGHT,
  "light green-red": { ...LIGHT, ...tokens(':root[data-theme="light"][data-palette="green-red"]') },
};
// foreground, backgrounds, least contrast: the least of both themes and palettes
const PAIRS = /** @type {[string, string[], number][]} */ ([
  ["text", ["bg"], 15.4], ["text", ["panel", "up-bg", "down-bg"], 10.2],
  ["dim", ["bg", "panel"], 5.9], ["dim", ["up-bg", "down-bg"], 4.5],
  ["up", ["bg", "panel"], 5.0], ["down", ["bg", "panel"], 5.0],
  ["warn", ["bg", "panel"], 5.9], ["crit", ["bg", "panel"], 5.9], ["ok", ["bg", "panel"], 5.9],
  ["focus", ["bg", "panel"], 6.0], ["edge", ["bg", "panel"], 3.4],
  ["bg", ["crit", "warn"], 4.5],
]); // prettier-ignore
const VISIONS = {
  normal: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  // Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
  protan: [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  deutan: [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
  tritan: [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}; // prettier-ignore

test("every pair of tokens has the contrast of its use", () => {
  const low = [];
  for (const [theme, colours] of Object.entries(THEMES)) {
    for (const [front, backs, least] of PAIRS) {
      for (const back of backs) {
        const found = contrast(colours[front], colours[back]);
        if (found < least) low.push(`${theme}: ${front} on ${back} ${found.toFixed(2)} < ${least}`);
      }
    }
  }
  assert.deepEqual(low, []);
});

test("up and down differ for every kind of colour vision", () => {
  for (const [name, matrix] of Object.entries(VISIONS)) {
    const found = difference(DARK.up, DARK.down, matrix);
    assert.ok(found >= 78, `${name}: ${found.toFixed(1)}`);
  }
});

/** @param {string} selector @returns {Record<string, string>} */
function tokens(selector) {
  const start = CSS.indexOf(`\n${selector} {`);
  const block = CSS.slice(start, CSS.indexOf("}", start));
  return Object.fromEntries([...block.matchAll(/--([\w-]+):\s*(#[0-9a-f]{6});/g)].map((match) => [match[1], match[2]]));
}

/** @param {string} hex */
function linear(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
}

/** @param {string} hex */
function luminance(hex) {
  const [r, g, b] = linear(hex);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** @param {string} a @param {string} b */
function contrast(a, b) {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

/** ΔE76 of two colours as seen through `matrix`. @param {string} a @param {string} b @param {number[][]} matrix */
function difference(a, b, matrix) {
  const [left, right] = [lab(a, matrix), lab(b, matrix)];
  return Math.hypot(...left.map((value, index) => value - right[index]));
}

/** CIE L*a*b* with the white D65. @param {string} hex @param {number[][]} matrix */
function lab(hex, matrix) {
  const source = linear(hex);
  const [r, g, b] = matrix.map((row) => Math.min(1, Math.max(0, row.reduce((total, factor, i) => total + factor * source[i], 0))));
  const xyz = [0.4124 * r + 0.3576 * g + 0.1805 * b, 0.2126 * r + 0.7152 * g + 0.0722 * b, 0.0193 * r + 0.1192 * g + 0.9505 * b];
  const [x, y, z] = xyz.map((value, i) => value / [0.95047, 1, 1.08883][i]).map((t) => (t > 216 / 24389 ? Math.cbrt(t) : (24389 / 27 * t + 16) / 116));
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}
