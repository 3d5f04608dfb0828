/** The window in which a question is asked; a tab where a browser opens no windows (a phone's). */

export class PromptWindow {
  /** @type {number | null} */
  #id = null;
  #opening = 0;

  /** @param {any} api the browser's @param {() => void} closed its user closed it @param {() => void} failed nobody can be asked */
  constructor(api, closed, failed) {
    this.failed = failed;
    this.api = api;
    this.windows = api.windows?.create ? api.windows : null;
    this.surface = this.windows ?? api.tabs;
    this.surface.onRemoved.addListener((/** @type {number} */ id) => {
      if (id !== this.#id) return;
      this.#id = null;
      closed();
    });
  }

  async open() {
    this.close();
    const turn = (this.#opening += 1);
    try {
      const opened = this.windows
        ? await this.windows.create({ url: "prompt.html", type: "popup", width: 460, height: 680, focused: true })
        : await this.api.tabs.create({ url: "prompt.html" });
      if (turn === this.#opening) this.#id = opened.id;
      else this.surface.remove(opened.id).catch(() => {}); // answered, or withdrawn, meanwhile
    } catch {
      if (turn === this.#opening) this.failed();
    }
  }

  /** Close it, if there is one, without its being an answer. */
  close() {
    this.#opening += 1;
    const id = this.#id;
    this.#id = null;
    if (id !== null) this.surface.remove(id).catch(() => {});
  }

  focus() {
    if (this.#id === null) return;
    if (this.windows) this.windows.update(this.#id, { focused: true });
    else this.api.tabs.update(this.#id, { active: true });
  }
}
