/**
 * Return a function that does work which needs open keys; they are locked after the last of what is
 * under way, unless they stay open. Two answers can be: the next question is shown while the relay
 * has not yet taken the last answer.
 * @param {() => Promise<boolean>} stay
 * @param {() => void} lock
 * @returns {(work: () => Promise<unknown>) => Promise<void>}
 */
export function whileOpen(stay, lock) {
  let inside = 0;
  return async (work) => {
    inside += 1;
    try {
      await work();
    } finally {
      inside -= 1;
      if (!(await stay()) && !inside) lock(); // while that was looked up, the next may have begun
    }
  };
}
