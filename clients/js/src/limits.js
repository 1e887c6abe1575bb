/** Promises with time limits, in ms. */

const MAX_TIMEOUT_MS = 2 ** 31 - 1; // maximum of setTimeout

/** The deadline on the monotonic clock. A timeout of 0 or Infinity means no limit. */
export function deadlineOf(timeout) {
  return timeout === 0 || timeout === Infinity ? Infinity : performance.now() + timeout;
}

/** A time to wait that a server has named, plus up to a quarter, so that clients do not return together. */
export function spread(ms) {
  return ms * (1 + Math.random() / 4);
}

export function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A promise with a deadline. `begin(resolve, reject)` returns a clean-up function. */
export function limited(deadline, timeoutError, begin) {
  return new Promise((resolve, reject) => {
    let end = () => {};
    let timer;
    const settle = (finish) => (value) => {
      clearTimeout(timer);
      end();
      finish(value);
    };
    if (deadline !== Infinity)
      timer = setTimeout(() => settle(reject)(timeoutError()), Math.min(MAX_TIMEOUT_MS, Math.max(0, deadline - performance.now())));
    end = begin(settle(resolve), settle(reject));
  });
}
