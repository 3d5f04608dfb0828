// The extension's middle: says to the host which site calls, and shows the host's questions.
"use strict";
const api = globalThis.browser ?? globalThis.chrome;
const HOST = "nostr_bunker";

let port = null;
let last = 0;
const calls = new Map(); // id -> the function that answers the page, and its tab
const MAX_BYTES = 1000000; // of a call, as in page.js: a page can go round that
const LONE = /(?<!\\)(?:\\\\)*\\ud[89a-f]/i; // JSON.stringify writes half a pair that way, and no other
let question = null; // what the host asks, one at a time
let windowId = null; // where it is asked

function connected() {
  if (port) return port;
  port = api.runtime.connectNative(HOST);
  port.onMessage.addListener(received);
  port.onDisconnect.addListener((ended) => {
    const reason = (ended.error ?? api.runtime.lastError)?.message ?? "it ended";
    port = null;
    for (const { answer } of calls.values()) {
      answer({ error: `error: bunker can't be reached: ${reason}; see bunker nip07 install` });
    }
    calls.clear();
    closeQuestion();
  });
  return port;
}

async function received(message) {
  if (message.type === "reply") {
    calls.get(message.id)?.answer({ result: message.result, error: message.error });
    calls.delete(message.id);
  } else if (message.type === "withdrawn") {
    if (question?.id === message.id) closeQuestion();
  } else if (message.type === "question") {
    question = message;
    try {
      const opened = await api.windows.create({
        url: "prompt.html", type: "popup", width: 440, height: 620, focused: true,
      });
      windowId = opened.id;
    } catch {
      decide("deny"); // nobody can be asked, and silence is denial
    }
  }
}

function decide(answer) {
  if (!question) return;
  const { id } = question;
  question = null;
  port?.postMessage({ type: "answer", id, answer });
}

function closeQuestion() {
  question = null;
  if (windowId !== null) api.windows.remove(windowId).catch(() => {});
  windowId = null;
}

// A page that is closed or loaded anew takes its calls along, and the question of one of them.
api.runtime.onConnect.addListener((page) => {
  const tab = page.sender?.tab?.id;
  page.onDisconnect.addListener(() => {
    const ids = [...calls].filter(([, call]) => call.tab === tab).map(([id]) => id);
    for (const id of ids) calls.delete(id);
    if (ids.length) port?.postMessage({ type: "gone", ids });
  });
});

api.windows.onRemoved.addListener((closed) => {
  if (closed !== windowId) return;
  windowId = null;
  decide("deny");
});

api.runtime.onMessage.addListener((message, sender, answer) => {
  if (sender.id !== api.runtime.id) return false;
  if (sender.url === api.runtime.getURL("prompt.html")) {
    if (message.type === "ask") answer(question);
    if (message.type === "answer" && message.id === question?.id) {
      const shown = windowId;
      windowId = null; // the next question has a window of its own
      decide(message.answer);
      api.windows.remove(shown).catch(() => {});
    }
    return false;
  }
  if (message.type !== "call" || !sender.tab || sender.frameId !== 0) return false;
  const text = JSON.stringify(message.params ?? null);
  if (LONE.test(text) || new TextEncoder().encode(text).length > MAX_BYTES) {
    answer({ error: "invalid: the call is too large, or not Unicode" });
    return false;
  }
  const id = (last += 1);
  calls.set(id, { answer, tab: sender.tab.id });
  // Who calls is the browser's word, never the page's.
  const origin = sender.origin ?? new URL(sender.url).origin;
  try {
    const { method, params } = message;
    connected().postMessage({ type: "request", id, origin, method, params });
  } catch (error) {
    calls.delete(id);
    answer({ error: `error: ${error.message}` });
  }
  return true; // the answer comes later
});
