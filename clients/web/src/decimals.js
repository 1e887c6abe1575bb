// @ts-check
/**
 * Exact decimal arithmetic on the API's texts. Values are BigInts of the unscaled digits; floats are
 * never involved. Results keep the trailing zeros that Python's Decimal keeps.
 */

const FORM = /^([+-]?)(\d+)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/;

/**
 * @typedef {{digits: bigint, scale: number}} Decimal  the value is digits / 10 ** scale, scale ≥ 0
 */

/**
 * Parse a decimal text. Throws RangeError for any other text.
 * @param {string} text @returns {Decimal}
 */
export function parse(text) {
  const match = FORM.exec(text);
  if (!match) throw new RangeError(`not a decimal: ${text}`);
  const [, sign, whole, fraction = "", exponent = "0"] = match;
  const digits = BigInt(whole + fraction) * (sign === "-" ? -1n : 1n);
  const scale = fraction.length - Number(exponent);
  return scale < 0 ? { digits: digits * power(-scale), scale: 0 } : { digits, scale };
}

/**
 * The plain text of a value, without exponent. A zero has no sign.
 * @param {Decimal} value
 */
export function text({ digits, scale }) {
  const sign = digits < 0n ? "-" : "";
  const all = (digits < 0n ? -digits : digits).toString().padStart(scale + 1, "0");
  return scale === 0 ? sign + all : `${sign}${all.slice(0, -scale)}.${all.slice(-scale)}`;
}

/** @param {Iterable<string>} texts  none: "0" */
export function sum(texts) {
  let total = { digits: 0n, scale: 0 };
  for (const each of texts) total = added(total, parse(each));
  return text(total);
}

/** @param {string} a @param {string} b */
export function add(a, b) {
  return text(added(parse(a), parse(b)));
}

/** @param {string} a @param {string} b */
export function subtract(a, b) {
  const { digits, scale } = parse(b);
  return text(added(parse(a), { digits: -digits, scale }));
}

/** @param {string} a @param {string} b */
export function multiply(a, b) {
  const [left, right] = [parse(a), parse(b)];
  return text({ digits: left.digits * right.digits, scale: left.scale + right.scale });
}

/**
 * -1, 0 or 1 if a is less than, equal to or greater than b.
 * @param {string} a @param {string} b @returns {-1 | 0 | 1}
 */
export function compare(a, b) {
  const [left, right] = aligned(parse(a), parse(b));
  if (left === right) return 0;
  return left < right ? -1 : 1;
}

/**
 * a / b with `digits` decimals, rounded half to even. Throws RangeError if b is 0.
 * @param {string} a @param {string} b @param {number} digits
 */
export function divide(a, b, digits) {
  const [left, right] = aligned(parse(a), parse(b));
  return text({ digits: quotient(left * power(digits), right), scale: digits });
}

/** @param {Decimal} a @param {Decimal} b @returns {Decimal} */
function added(a, b) {
  const [left, right] = aligned(a, b);
  return { digits: left + right, scale: Math.max(a.scale, b.scale) };
}

/** The digits of both values at the larger scale. @param {Decimal} a @param {Decimal} b */
function aligned(a, b) {
  const scale = Math.max(a.scale, b.scale);
  return [a.digits * power(scale - a.scale), b.digits * power(scale - b.scale)];
}

/** @param {bigint} dividend @param {bigint} divisor */
function quotient(dividend, divisor) {
  if (divisor === 0n) throw new RangeError("division by zero");
  const negative = dividend < 0n !== divisor < 0n;
  const [above, below] = [magnitude(dividend), magnitude(divisor)];
  let result = above / below;
  const twice = (above % below) * 2n;
  if (twice > below || (twice === below && result % 2n === 1n)) result += 1n;
  return negative ? -result : result;
}

/** @param {bigint} value */
function magnitude(value) {
  return value < 0n ? -value : value;
}

/** @param {number} exponent */
function power(exponent) {
  return 10n ** BigInt(exponent);
}
