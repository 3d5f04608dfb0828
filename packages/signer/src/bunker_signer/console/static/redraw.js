// Draws a part of the page anew and leaves a person at what they are: nothing changes between the
// press of a button and its click, and what is the same stays, with its focus, what is typed in it
// and what is open.

const HOLD = 1000; // milliseconds for which a press keeps the page as it is
const CLICK = 300; // milliseconds after the finger is lifted in which its click comes

let pressed = false; // until the click, or until none can come any more
let held = false; // while pressed, for HOLD at most
let timer = 0;
/** @type {Map<string, () => void>} */
const later = new Map();
/** @type {Set<Element>} */
const changed = new Set(); // under the finger: what it pressed was something else

/**
 * Change the page, after the press that may be under way. Of changes of one name that have to wait
 * only the last is made.
 *
 * @param {string} name
 * @param {() => void} change
 */
export function unpressed(name, change) {
  if (held) later.set(name, change);
  else change();
}

function release() {
  held = false;
  const changes = [...later.values()];
  later.clear();
  for (const change of changes) change();
}

function press() {
  clearTimeout(timer);
  pressed = held = true;
  changed.clear();
  timer = setTimeout(release, HOLD);
}

function end(/** @type {number} */ milliseconds) {
  if (!pressed) return;
  clearTimeout(timer);
  timer = setTimeout(() => {
    pressed = false;
    changed.clear();
    release();
  }, milliseconds);
}

/** Tell whether a key presses what has the focus. @param {Event} event of the keyboard */
function clicks(event) {
  const { key } = /** @type {KeyboardEvent} */ (event);
  return key === "Enter" || key === " ";
}

const repeats = (/** @type {Event} */ event) => /** @type {KeyboardEvent} */ (event).repeat;

// Before anything that a press leads to, and with whatever is pressed.
addEventListener("pointerdown", press, true);
addEventListener("pointerup", () => end(CLICK), true);
addEventListener("pointercancel", () => end(0), true);
addEventListener("keydown", (event) => clicks(event) && !repeats(event) && press(), true);
addEventListener("keyup", (event) => clicks(event) && end(CLICK), true);
addEventListener(
  "click",
  (event) => {
    const target = /** @type {Node} */ (event.target);
    if ([...changed].some((element) => element.contains(target))) {
      event.preventDefault();
      event.stopImmediatePropagation();
    }
    end(0); // a task of its own: after all that the click does
  },
  true,
);

/**
 * Make the content of an element that of another; returns whether there was anything to change.
 *
 * @param {Element} element
 * @param {Element} made
 */
export function redraw(element, made) {
  const different = contents(element, made);
  if (different && pressed) changed.add(element);
  return different;
}

// What the page itself gives an element, and the server does not know of.
const OWN = new Set(["open", "disabled"]);

// What tells an element from its like. With another of these it is another element.
function name(/** @type {Element} */ element) {
  const told = ["id", "class", "data-id", "href", "action", "name", "type"];
  if (element.tagName === "BUTTON") told.push("value");
  return told.map((attribute) => element.getAttribute(attribute)).join("\n");
}

function same(/** @type {Node} */ one, /** @type {Node} */ other) {
  if (one.nodeName !== other.nodeName) return false;
  return !(one instanceof Element && other instanceof Element) || name(one) === name(other);
}

function contents(/** @type {Element} */ element, /** @type {Element} */ made) {
  let different = false;
  let at = element.firstChild;
  for (const wanted of [...made.childNodes]) {
    let found = at;
    // A text has no name by which one further on could be told from others.
    while (found && !same(found, wanted)) {
      found = wanted instanceof Element ? found.nextSibling : null;
    }
    if (!found) {
      element.insertBefore(wanted, at);
      different = true;
      continue;
    }
    while (at && at !== found) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
      different = true;
    }
    at = found.nextSibling;
    if (node(found, wanted)) different = true;
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
    different = true;
  }
  return different;
}

function node(/** @type {Node} */ old, /** @type {Node} */ made) {
  if (!(old instanceof Element && made instanceof Element)) {
    if (old.nodeValue === made.nodeValue) return false;
    old.nodeValue = made.nodeValue;
    return true;
  }
  let different = false;
  for (const attribute of old.getAttributeNames()) {
    if (made.hasAttribute(attribute) || OWN.has(attribute)) continue;
    old.removeAttribute(attribute);
    different = true;
  }
  for (const { name: attribute, value } of made.attributes) {
    if (old.getAttribute(attribute) === value) continue;
    old.setAttribute(attribute, value);
    different = true;
  }
  return contents(old, made) || different;
}
