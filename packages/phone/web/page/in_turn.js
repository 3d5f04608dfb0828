/**
 * Return a function that does `work`, never twice at once. Who calls it while that is under way gets
 * a run of its own after it, one for all who came: the one under way may have looked too early.
 * @param {() => Promise<void>} work
 * @returns {() => Promise<void>}
 */
export function inTurn(work) {
  let running = Promise.resolve();
  /** @type {Promise<void> | null} */
  let next = null;
  return () => {
    next ??= running.catch(() => undefined).then(() => {
      next = null;
      running = work();
      return running;
    });
    return next;
  };
}
