/** Elements made of texts alone: nothing here reads HTML. */

/** @typedef {Node | string | null | undefined | false} Child */

/** Make an element. `on*` are listeners, other attributes are set as texts; null leaves one out. @param {string} tag @param {Record<string, any>} attributes @param {...(Child | Child[])} children @returns {any} */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") /** @type {any} */ (element).value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false).map(String_));
  return element;
}

/** @param {any} child */
const String_ = (child) => (child instanceof Node ? child : String(child));

/** A labelled field. @param {string} label @param {Record<string, any>} attributes */
export function field(label, attributes = {}) {
  const input = h(attributes.tag ?? "input", { autocomplete: "off", autocapitalize: "off", spellcheck: "false", ...attributes, tag: null });
  return { input, node: h("label", {}, label, input) };
}

/** A choice of one. @param {string} label @param {[string, string][]} options @param {string} value @param {(value: string) => void} changed */
export function choice(label, options, value, changed = () => {}) {
  const select = h("select", { onchange: () => changed(select.value) }, options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)));
  return { input: select, node: h("label", {}, label, select) };
}

/** A button whose work may fail: it is off while it works. @param {string} label @param {() => unknown} work @param {string} kind */
export function button(label, work, kind = "") {
  const element = h("button", {
    type: "button", class: kind,
    onclick: async () => {
      element.disabled = true;
      try {
        await work();
      } finally {
        element.disabled = false;
      }
    },
  }, label);
  return element;
}

/** Draw a QR code as SVG. @param {boolean[][]} modules @param {string} label */
export function drawCode(modules, label) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const size = modules.length;
  svg.setAttribute("viewBox", `0 0 ${size} ${size}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  svg.setAttribute("class", "qr");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", modules.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x} ${y}h1v1h-1z` : ""))).join(""));
  svg.append(path);
  return svg;
}
