// The console's script. Every page works without it, but for passkeys and the camera.
import { redraw, unpressed } from "./redraw.js";

/** @typedef {HTMLButtonElement | null} Submitter what a form was submitted by */

const text = (/** @type {string} */ given) => given;
const rules = { createHTML: text, createScriptURL: text };
/** @type {typeof rules} */
const policy = /** @type {any} */ (window).trustedTypes?.createPolicy("console", rules) ?? rules;

/** Return an element that this page may have. @param {string} id */
const byId = (id) => document.getElementById(id);

/** Return an element that this page has. @param {string} id */
const part = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/**
 * Show what the server made, with every stranger's text escaped already. Scripts in it would not
 * run. Returns whether there was anything new.
 *
 * @param {HTMLElement} element
 * @param {string} html
 */
function put(element, html) {
  const made = /** @type {HTMLElement} */ (element.cloneNode(false));
  made.innerHTML = policy.createHTML(html);
  enhance(made);
  countDown(made);
  return redraw(element, made);
}

// The reader's own way to write a date, in the page's language.
const language = document.documentElement.lang;
const locale = navigator.languages.find((code) => code.startsWith(language)) ?? language;

/** @param {Date} when @param {boolean} onlyClock */
function written(when, onlyClock) {
  const clock = when.toLocaleTimeString(locale, { timeStyle: "short" });
  if (onlyClock) return clock;
  const midnight = (/** @type {Date | number} */ date) => new Date(date).setHours(0, 0, 0, 0);
  const days = Math.round((midnight(when) - midnight(Date.now())) / 86_400_000);
  if (Math.abs(days) > 1) {
    return when.toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" });
  }
  const day = new Intl.RelativeTimeFormat(locale, { numeric: "auto" }).format(days, "day");
  return `${day}, ${clock}`;
}

/** @param {ParentNode} root */
function enhance(root) {
  for (const time of /** @type {NodeListOf<HTMLTimeElement>} */ (root.querySelectorAll("time[datetime]"))) {
    const when = new Date(time.dateTime);
    if (!Number.isNaN(when.getTime()) && !time.title) {
      time.title = time.textContent ?? "";
      time.textContent = written(when, Boolean(time.closest(".clock")));
    }
  }
}

// Requests, live

/** @param {ParentNode} root */
function countDown(root) {
  const question = /** @type {HTMLElement | null} */ (root.querySelector(".question"));
  const left = /** @type {HTMLElement | null | undefined} */ (question?.querySelector(".left"));
  if (!question || !left) return;
  const seconds = Math.max(0, Math.round(Number(question.dataset.deadline) - Date.now() / 1000));
  const clock = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  left.textContent = `${clock} ${left.dataset.left}`;
}

/** @param {string} html */
function showWaiting(html) {
  put(part("waiting"), html);
  const count = Number(part("waiting-count").dataset.count);
  part("count").textContent = String(count);
  part("count").hidden = count === 0;
  document.title = document.title.replace(/^(\(\d+\) )?/, count ? `(${count}) ` : "");
}

/** @param {string} html */
function showQuestion(html) {
  const question = part("question");
  const before = question.querySelector(".question");
  if (!put(question, html)) return;
  const said = question.querySelector("h1")?.textContent ?? "";
  if (part("announce").textContent !== said) part("announce").textContent = said;
  const card = question.querySelector(".question");
  const fields = card?.querySelector("fieldset");
  if (fields) rest(fields, card === before);
}

const REST = 350; // milliseconds
let resting = 0;

/**
 * Take no answer for a moment: who was about to tap on something else shall not have allowed this.
 * In a card that was there before (`known`), only what answers rests, and what its reader has
 * confirmed is to be read again.
 *
 * @param {HTMLFieldSetElement} fields
 * @param {boolean} known
 */
function rest(fields, known) {
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  for (const item of known ? fields.querySelectorAll("button") : [fields]) item.disabled = true;
  const boxes = /** @type {NodeListOf<HTMLInputElement>} */ (fields.querySelectorAll("[name=sure]"));
  for (const box of boxes) box.checked = false;
  clearTimeout(resting);
  resting = setTimeout(() => {
    const controls = /** @type {Iterable<HTMLInputElement>} */ (fields.elements);
    for (const item of [fields, ...controls]) item.disabled = false;
    const lost = document.activeElement === document.body && fields.contains(focused);
    if (lost) focused?.focus({ preventScroll: true });
  }, REST);
}

/** @param {boolean} gone */
function showOffline(gone) {
  // What appears above moves what is below it away from under the finger.
  unpressed("offline", () => {
    part("offline").hidden = !gone;
  });
}

/** @param {HTMLElement} live */
function listen(live) {
  const over = document.querySelector(".over") ? "1" : "";
  const query = new URLSearchParams({ shown: live.dataset.shown ?? "", over });
  const source = new EventSource(`/events?${query}`);
  source.addEventListener("waiting", ({ data }) => {
    unpressed("waiting", () => showWaiting(data));
    showOffline(false); // not before: it comes last, when the page is what the signer has
  });
  source.addEventListener("question", ({ data }) => unpressed("question", () => showQuestion(data)));
  source.addEventListener("shown", (event) => {
    live.dataset.shown = event.data;
  });
  source.addEventListener("unbound", () => {
    source.close();
    location.assign("/login");
  });
  source.onerror = () => {
    // Not the browser's own reconnect: it would ask for what was shown when the page was made.
    source.close();
    showOffline(true);
    setTimeout(() => listen(live), 1000);
  };
}

// Passkeys

const decode = (/** @type {string} */ base64url) =>
  Uint8Array.from(atob(base64url.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const encode = (/** @type {ArrayBuffer} */ buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replace(/\+/g, "-")
    .replace(/\//g, "_")
    .replace(/=+$/, "");

/** Put bytes where JSON has base64url (WebAuthn, section 5.1). @param {any} options */
function prepared(options) {
  options.challenge = decode(options.challenge);
  if (options.user) options.user.id = decode(options.user.id);
  for (const list of [options.allowCredentials, options.excludeCredentials]) {
    for (const entry of list ?? []) entry.id = decode(entry.id);
  }
  return options;
}

/** @param {PublicKeyCredential} credential */
function asJSON(credential) {
  const given = /** @type {Record<string, any>} */ (credential.response);
  /** @type {Record<string, string>} */
  const response = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature"]) {
    if (given[name]) response[name] = encode(given[name]);
  }
  if (given.userHandle) response.userHandle = encode(given.userHandle);
  return JSON.stringify({
    id: credential.id,
    rawId: encode(credential.rawId),
    type: credential.type,
    response,
    clientExtensionResults: {},
  });
}

/**
 * Ask for a passkey, or make one; returns what the server checks.
 *
 * @param {"create" | "get"} kind
 * @param {string} address of the options
 * @param {Iterable<[string, FormDataEntryValue]>} fields
 */
async function passkey(kind, address, fields) {
  const body = new URLSearchParams(/** @type {[string, string][]} */ ([...fields]));
  const answer = await fetch(address, { method: "POST", body });
  if (!answer.ok) throw new Error(String(answer.status));
  const publicKey = prepared(await answer.json());
  return asJSON(/** @type {PublicKeyCredential} */ (await navigator.credentials[kind]({ publicKey })));
}

/** @param {HTMLFormElement} form @param {Submitter} button */
function fieldsOf(form, button) {
  const fields = new FormData(form);
  if (button?.name) fields.set(button.name, button.value);
  return fields;
}

/** Send what stood in a form when it was submitted, whatever has become of it since. @param {string} action @param {FormData} fields */
function send(action, fields) {
  const form = document.createElement("form");
  Object.assign(form, { method: "post", action, hidden: true });
  for (const [name, value] of fields) {
    const field = document.createElement("input");
    Object.assign(field, { type: "hidden", name, value });
    form.append(field);
  }
  document.body.append(form);
  form.submit();
}

/**
 * Tell whether a passkey confirms it: every form that sends something, if the owner wants that; but
 * for locking, denying and the like.
 *
 * @param {HTMLFormElement} form
 * @param {Submitter} button
 */
function confirmed(form, button) {
  if (form.method !== "post" || button?.value === "deny") return false;
  return "confirm" in form.dataset || ("confirm" in document.body.dataset && !("free" in form.dataset));
}

/** @param {HTMLFormElement} form @param {FormData} fields @param {boolean} asked */
async function submitWithPasskey(form, fields, asked) {
  const { passkey: kind, options = "" } = form.dataset;
  if (kind) {
    fields.set("credential", await passkey(/** @type {"create" | "get"} */ (kind), options, fields));
  }
  if (asked) {
    const path = new URL(form.action).pathname;
    fields.set("proof", await passkey("get", "/confirm/options", [...fields, ["confirm_path", path]]));
  }
  send(form.action, fields);
}

/** Tell whether the signer is there: an answer that it would not get stays on the page. */
async function alive() {
  try {
    return (await fetch("/alive", { cache: "no-store", signal: AbortSignal.timeout(3000) })).ok;
  } catch {
    return false;
  }
}

/** @param {HTMLFormElement} form @param {FormData} fields */
async function submitIfAlive(form, fields) {
  if (!(await alive())) {
    part("offline").hidden = false;
    part("offline").scrollIntoView({ block: "nearest" });
    throw new Error("The signer can't be reached");
  }
  send(form.action, fields);
}

let sent = new WeakSet(); // what was tapped: a second tap while the first is on its way adds nothing
addEventListener("pageshow", () => {
  sent = new WeakSet(); // also of a page that the browser has kept
});

document.addEventListener("submit", (event) => {
  const form = /** @type {HTMLFormElement} */ (event.target);
  const button = /** @type {Submitter} */ (event.submitter);
  const asked = confirmed(form, button);
  const withPasskey = form.dataset.passkey || asked;
  if (!withPasskey && !form.matches(".answers:has(fieldset)")) return;
  event.preventDefault();
  const tapped = button ?? form;
  if (sent.has(tapped)) return;
  sent.add(tapped);
  const fields = fieldsOf(form, button);
  const sending = withPasskey ? submitWithPasskey(form, fields, asked) : submitIfAlive(form, fields);
  // Cancelled, no sensor, nobody there: it can be tried again.
  sending.catch(() => sent.delete(tapped));
});

// Copy

document.addEventListener("click", async (event) => {
  const target = /** @type {Element} */ (event.target);
  const button = /** @type {HTMLElement | null} */ (target.closest("[data-copy]"));
  if (!button) return;
  await navigator.clipboard.writeText((part(button.dataset.copy ?? "").textContent ?? "").trim());
  button.textContent = button.dataset.copied ?? "";
});

// Waking this device

/** @param {HTMLFormElement} form */
async function wake(form) {
  const fields = /** @type {Record<string, any>} */ (form.elements);
  if ((await Notification.requestPermission()) !== "granted") return;
  const { pushManager } = await navigator.serviceWorker.ready;
  const subscription = await pushManager.subscribe({
    userVisibleOnly: true,
    applicationServerKey: decode(form.dataset.key ?? ""),
  });
  fields.endpoint.value = subscription.endpoint;
  fields.key.value = encode(/** @type {ArrayBuffer} */ (subscription.getKey("p256dh")));
  fields.secret.value = encode(/** @type {ArrayBuffer} */ (subscription.getKey("auth")));
  form.requestSubmit();
}

const wakeForm = /** @type {HTMLFormElement | null} */ (byId("wake"));
if (wakeForm && "PushManager" in window && "Notification" in window && navigator.serviceWorker) {
  wakeForm.hidden = false;
  part("wake-not").hidden = true;
  wakeForm.addEventListener(
    "submit",
    (event) => {
      const { endpoint } = /** @type {Record<string, any>} */ (wakeForm.elements);
      if (endpoint.value) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      wake(wakeForm).catch(() => {
        part("wake-not").hidden = false;
      });
    },
    true,
  );
}

// Start

enhance(document);
countDown(document);
setInterval(() => countDown(document), 1000);
const copies = /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-copy]"));
for (const button of copies) {
  button.hidden = !navigator.clipboard;
}
const live = byId("live");
if (live) listen(live);
if (byId("away")) {
  const again = setInterval(async () => {
    if (!(await alive())) return;
    clearInterval(again);
    location.assign(location.pathname === "/offline" ? "/requests" : location.pathname);
  }, 2000);
}
navigator.serviceWorker?.register(policy.createScriptURL("/worker.js"));
