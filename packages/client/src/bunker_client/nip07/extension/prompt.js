// The question: everything that a site says is shown as plain text, nothing of it is fetched.
"use strict";
const api = globalThis.browser ?? globalThis.chrome;
const at = (id) => document.getElementById(id);
const GUARD = 400; // milliseconds: a window that pops up under a double click must not be answered

async function show() {
  const question = await api.runtime.sendMessage({ type: "ask" });
  if (!question) return window.close();
  const { origin, words, permission, shown } = question;
  at("origin").textContent = origin.replace(/^https:\/\//, "");
  at("words").textContent = words;
  at("insecure").hidden = !origin.startsWith("http:");
  if (shown.content) {
    at("content").textContent = shown.content + (shown.cut ? `… and ${shown.cut} characters more` : "");
    at("content").hidden = false;
  }
  const details = [];
  if (shown.kind !== undefined) details.push(`kind ${shown.kind}`, `${shown.tags} tags`);
  if (shown.peer) details.push(`with ${shown.peer.slice(0, 8)}…${shown.peer.slice(-8)}`);
  at("detail").textContent = details.join(" · ");
  at("scope").textContent = `More than once means ${permission} for this site alone; bunker nip07 sites lists it.`;
  const buttons = [...document.querySelectorAll("button")];
  for (const button of buttons) button.disabled = true;
  document.body.hidden = false; // only a whole question can be answered
  setTimeout(() => {
    for (const button of buttons) button.disabled = false;
    document.querySelector(".no").focus();
  }, GUARD);
  document.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    for (const button of buttons) button.disabled = true;
    api.runtime.sendMessage({ type: "answer", id: question.id, answer: event.submitter.value });
  });
}

show();
