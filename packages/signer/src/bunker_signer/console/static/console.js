// The console's script. Every page works without it, but for passkeys and the camera.
import { redraw, unpressed } from "./redraw.js";

const html = (text) => text;
const policy = window.trustedTypes
  ? trustedTypes.createPolicy("console", { createHTML: html, createScriptURL: html })
  : { createHTML: html, createScriptURL: html };
const byId = (id) => document.getElementById(id);

// What the server made, with every stranger's text escaped already. Scripts in it would not run.
// Returns whether there was anything new.
function put(element, text) {
  const made = element.cloneNode(false);
  made.innerHTML = policy.createHTML(text);
  enhance(made);
  countDown(made);
  return redraw(element, made);
}

// The reader's own way to write a date, in the page's language.
const language = document.documentElement.lang;
const locale = navigator.languages.find((code) => code.startsWith(language)) ?? language;

function written(when, onlyClock) {
  const clock = when.toLocaleTimeString(locale, { timeStyle: "short" });
  if (onlyClock) return clock;
  const midnight = (date) => new Date(date).setHours(0, 0, 0, 0);
  const days = Math.round((midnight(when) - midnight(Date.now())) / 86_400_000);
  if (Math.abs(days) > 1) {
    return when.toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" });
  }
  const day = new Intl.RelativeTimeFormat(locale, { numeric: "auto" }).format(days, "day");
  return `${day}, ${clock}`;
}

function enhance(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const when = new Date(time.dateTime);
    if (!Number.isNaN(when.getTime()) && !time.title) {
      time.title = time.textContent;
      time.textContent = written(when, Boolean(time.closest(".clock")));
    }
  }
}

// Requests, live

function countDown(root) {
  const question = root.querySelector(".question");
  const left = question?.querySelector(".left");
  if (!left) return;
  const seconds = Math.max(0, Math.round(Number(question.dataset.deadline) - Date.now() / 1000));
  const text = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  left.textContent = `${text} ${left.dataset.left}`;
}

function showWaiting(text) {
  put(byId("waiting"), text);
  const count = Number(byId("waiting-count").dataset.count);
  byId("count").textContent = count;
  byId("count").hidden = count === 0;
  document.title = document.title.replace(/^(\(\d+\) )?/, count ? `(${count}) ` : "");
}

function showQuestion(text) {
  const question = byId("question");
  const before = question.querySelector(".question");
  if (!put(question, text)) return;
  const said = question.querySelector("h1")?.textContent ?? "";
  if (byId("announce").textContent !== said) byId("announce").textContent = said;
  const card = question.querySelector(".question");
  if (card) rest(card.querySelector("fieldset"), card === before);
}

const REST = 350; // milliseconds
let resting = 0;

// Who was about to tap on something else shall not have allowed this. In a card that was there
// before, only what answers rests, and what its reader has confirmed is to be read again.
function rest(fields, known) {
  const focused = document.activeElement;
  for (const part of known ? fields.querySelectorAll("button") : [fields]) part.disabled = true;
  for (const box of fields.querySelectorAll("[name=sure]")) box.checked = false;
  clearTimeout(resting);
  resting = setTimeout(() => {
    for (const part of [fields, ...fields.elements]) part.disabled = false;
    const lost = document.activeElement === document.body && fields.contains(focused);
    if (lost) focused.focus({ preventScroll: true });
  }, REST);
}

function showOffline(gone) {
  // What appears above moves what is below it away from under the finger.
  unpressed("offline", () => {
    byId("offline").hidden = !gone;
  });
}

function listen(live) {
  const over = document.querySelector(".over") ? "1" : "";
  const query = new URLSearchParams({ shown: live.dataset.shown, over });
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

const decode = (text) =>
  Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const encode = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replace(/\+/g, "-")
    .replace(/\//g, "_")
    .replace(/=+$/, "");

function prepared(options) {
  options.challenge = decode(options.challenge);
  if (options.user) options.user.id = decode(options.user.id);
  for (const list of [options.allowCredentials, options.excludeCredentials]) {
    for (const entry of list ?? []) entry.id = decode(entry.id);
  }
  return options;
}

function asJSON(credential) {
  const response = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature"]) {
    if (credential.response[name]) response[name] = encode(credential.response[name]);
  }
  if (credential.response.userHandle) {
    response.userHandle = encode(credential.response.userHandle);
  }
  return JSON.stringify({
    id: credential.id,
    rawId: encode(credential.rawId),
    type: credential.type,
    response,
    clientExtensionResults: {},
  });
}

async function passkey(kind, address, fields) {
  const answer = await fetch(address, { method: "POST", body: new URLSearchParams(fields) });
  if (!answer.ok) throw new Error(String(answer.status));
  const publicKey = prepared(await answer.json());
  return asJSON(await navigator.credentials[kind]({ publicKey }));
}

function fieldsOf(form, button) {
  const fields = new FormData(form);
  if (button?.name) fields.set(button.name, button.value);
  return fields;
}

// Sends what stood in a form when it was submitted, whatever has become of it since.
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

// Every form that sends something, if the owner wants that; but for locking, denying and the like.
function confirmed(form, button) {
  if (form.method !== "post" || button?.value === "deny") return false;
  return "confirm" in form.dataset || ("confirm" in document.body.dataset && !("free" in form.dataset));
}

async function submitWithPasskey(form, fields, asked) {
  const { passkey: kind, options } = form.dataset;
  if (kind) fields.set("credential", await passkey(kind, options, fields));
  if (asked) {
    const path = new URL(form.action).pathname;
    const proven = [...fields, ["confirm_path", path]];
    fields.set("proof", await passkey("get", "/confirm/options", proven));
  }
  send(form.action, fields);
}

// Whether the signer is there: an answer that it would not get stays on the page.
async function alive() {
  try {
    return (await fetch("/alive", { cache: "no-store", signal: AbortSignal.timeout(3000) })).ok;
  } catch {
    return false;
  }
}

async function submitIfAlive(form, fields) {
  if (!(await alive())) {
    byId("offline").hidden = false;
    byId("offline").scrollIntoView({ block: "nearest" });
    throw new Error("The signer can't be reached");
  }
  send(form.action, fields);
}

let sent = new WeakSet(); // what was tapped: a second tap while the first is on its way adds nothing
addEventListener("pageshow", () => {
  sent = new WeakSet(); // also of a page that the browser has kept
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  const asked = confirmed(form, event.submitter);
  const withPasskey = form.dataset.passkey || asked;
  if (!withPasskey && !form.matches(".answers:has(fieldset)")) return;
  event.preventDefault();
  const tapped = event.submitter ?? form;
  if (sent.has(tapped)) return;
  sent.add(tapped);
  const fields = fieldsOf(form, event.submitter);
  const sending = withPasskey ? submitWithPasskey(form, fields, asked) : submitIfAlive(form, fields);
  // Cancelled, no sensor, nobody there: it can be tried again.
  sending.catch(() => sent.delete(tapped));
});

// Copy

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(byId(button.dataset.copy).textContent.trim());
  button.textContent = button.dataset.copied;
});

// Waking this device

async function wake(form) {
  const fields = form.elements;
  if ((await Notification.requestPermission()) !== "granted") return;
  const { pushManager } = await navigator.serviceWorker.ready;
  const subscription = await pushManager.subscribe({
    userVisibleOnly: true,
    applicationServerKey: decode(form.dataset.key),
  });
  fields.endpoint.value = subscription.endpoint;
  fields.key.value = encode(subscription.getKey("p256dh"));
  fields.secret.value = encode(subscription.getKey("auth"));
  form.requestSubmit();
}

const wakeForm = byId("wake");
if (wakeForm && "PushManager" in window && "Notification" in window && navigator.serviceWorker) {
  wakeForm.hidden = false;
  byId("wake-not").hidden = true;
  wakeForm.addEventListener(
    "submit",
    (event) => {
      if (wakeForm.elements.endpoint.value) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      wake(wakeForm).catch(() => {
        byId("wake-not").hidden = false;
      });
    },
    true,
  );
}

// Start

enhance(document);
countDown(document);
setInterval(() => countDown(document), 1000);
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
}
if (byId("live")) listen(byId("live"));
if (byId("away")) {
  const again = setInterval(async () => {
    if (!(await alive())) return;
    clearInterval(again);
    location.assign(location.pathname === "/offline" ? "/requests" : location.pathname);
  }, 2000);
}
navigator.serviceWorker?.register(policy.createScriptURL("/worker.js"));
