// @ts-check
/** The cases that Python computed: tests/support/web_cases.py. */

import { readFileSync } from "node:fs";

/** @param {string} name @returns {any[]} */
export const cases = (name) => JSON.parse(readFileSync(new URL(`data/${name}.json`, import.meta.url), "utf8"));
