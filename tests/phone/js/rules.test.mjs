// What the phone decides and says is what the Python signer decides and says.
import assert from "node:assert/strict";
import { test } from "node:test";
import { table, curve } from "./_tables.mjs";
import { decide, FREE, permission, profileGrants, ruleParam, sameAction, used } from "../../../packages/phone/web/signer/policy.js";
import { hostsOf, readOperation, shown } from "../../../packages/phone/web/signer/operation.js";
import { fault, next } from "../../../packages/phone/web/signer/audit_chain.js";
import { TokenBucket, Buckets } from "../../../packages/phone/web/signer/limits.js";
import { eventId, parseEvent, parseTemplate, signEvent, verifyEvent } from "../../../packages/phone/web/nips/event.js";
import { isPage, METHODS, parseMessage, parseMetadata, parsePermissions, parseRequest, responseText } from "../../../packages/phone/web/nips/nip46.js";
import { bunkerUri, nostrConnectUri, parseBunkerUri, parseNostrConnect } from "../../../packages/phone/web/nips/bunker_uri.js";
import { parseRelayUrl } from "../../../packages/phone/web/nips/relay_url.js";

import { describe } from "../../../packages/phone/web/describe/description.js";
import { DESCRIBE, Texts } from "../../../packages/phone/web/describe/texts.js";
import { LANGUAGES } from "../../../packages/phone/web/texts/texts.js";

const knownOf = ({ events, notes, names, hosts, same_name }) => ({
  events: new Map(events), notes: new Map(Object.entries(notes)), names: new Map(Object.entries(names)),
  hosts: new Set(hosts), sameName: same_name, ownName: "",
});
const USER = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
const NOW = 1_800_000_000;
const OWN = ["wss://relay.example", "ws://localhost:7777/x"];

test("the methods are the same, and those that every client may use", () => {
  const { all, free } = table("methods");
  assert.deepEqual([...METHODS].sort(), all);
  assert.deepEqual([...FREE].sort(), free);
});

test("the languages are the same", () => {
  assert.deepEqual(LANGUAGES.map(([code]) => code), table("languages"));
  assert.deepEqual(Object.keys(DESCRIBE), table("languages"));
});

test("300 decisions over random grants are the same", () => {
  const rows = table("policy");
  assert.equal(rows.length, 300);
  for (const row of rows) {
    assert.equal(permission(row.action), row.permission);
    assert.equal(ruleParam(row.action), row.rule);
    assert.deepEqual(decide(row.grants, row.action, row.now), row.decision);
    assert.deepEqual(row.grants.map((grant) => used(grant, row.now)), row.used);
  }
});

test("the profiles grant the same", () => {
  for (const [name, grants] of Object.entries(table("profiles"))) assert.deepEqual(profileGrants(name), grants);
});

test("a request is read the same, and refused with the same words", () => {
  for (const { text, found, error, request_id } of table("requests")) {
    if (found) assert.deepEqual(parseRequest(text), found, text);
    else assert.throws(() => parseRequest(text), { message: error, requestId: request_id }, text);
  }
});

test("a response has the one shape that all client libraries read", () => {
  for (const { id, result, error, text } of table("responses")) {
    const said = { id, ...(result !== null && { result }), ...(error !== null && { error }) };
    assert.equal(responseText(said), text);
  }
});

test("what signers answer, in any shape, is read as the Python client reads it", () => {
  for (const { text, found, error } of table("messages")) {
    if (found) assert.deepEqual(parseMessage(text), found, text);
    else assert.throws(() => parseMessage(text), { message: error }, text);
  }
});

test("a page that a signer names is an address, and no command", () => {
  for (const url of ["https://x.example/a?b=c#d", "http://localhost:1"]) assert.ok(isPage(url));
  for (const url of ["", "javascript:alert(1)", "data:text/html,x", "https://", "https://a b", "https://x\n", "https://ü", ` https://x`, `https://x/${"y".repeat(2048)}`]) assert.ok(!isPage(url), url);
});

test("permissions and metadata of strangers are cut down the same", () => {
  for (const { text, found } of table("permissions")) assert.deepEqual(parsePermissions(text), found, text);
  for (const { text, found } of table("metadata")) assert.deepEqual(parseMetadata(text), found, text);
});

test("what a request would have the key do is read the same", () => {
  for (const { method, params, refused, ...want } of table("operations")) {
    const read = () => readOperation({ id: "a", method, params }, USER, NOW, hostsOf(OWN));
    if (refused) {
      assert.throws(read, { message: refused }, JSON.stringify(params));
      continue;
    }
    const { action, eventId: id, text } = read();
    const whole = { host: null, own: false, context: null, ...action };
    assert.deepEqual({ action: whole, event_id: id, text }, want);
  }
});

test("a question is about one peer, one host, one kind and scope", () => {
  const action = { method: "nip44v3_encrypt", kind: null, peer: USER, context: [1, "app"] };
  assert.ok(sameAction(action, { ...action, host: null, own: false }));
  for (const other of [{ peer: "0".repeat(64) }, { context: [1, ""] }, { context: null }, { host: "x" }, { method: "nip44v3_decrypt" }]) {
    assert.ok(!sameAction(action, { ...action, ...other }));
  }
});

test("what version 3 encrypts is shown as the text that it is, or as its base64", () => {
  const operation = (text) => ({ action: { method: "nip44v3_encrypt", kind: null, peer: USER, context: [1, ""] }, template: null, eventId: "", text });
  assert.equal(shown(operation("Z3LDvMOfZQ==")).text, "grüße");
  assert.equal(shown(operation("/w==")).text, "/w==");
});

test("an event has the same id, and what is none is refused with the same words", () => {
  for (const { value, id, error } of table("events")) {
    const read = () => eventId(parseTemplate(value, NOW), USER);
    if (error) assert.throws(read, { message: error }, JSON.stringify(value));
    else assert.equal(read(), id);
  }
  assert.throws(() => eventId({ kind: 1, content: "\ud800", tags: [], created_at: 1 }, USER), /Unicode/);
});

test("an event that was changed does not verify", async () => {
  const secret = new Uint8Array(32).fill(1);
  const key = { pubkey: Buffer.from(curve.pubkey(secret)).toString("hex"), sign: (message) => curve.sign(secret, message) };
  const event = await signEvent({ kind: 1, content: "hi", tags: [], created_at: 1 }, key);
  verifyEvent(parseEvent(event), curve);
  assert.throws(() => verifyEvent({ ...event, content: "ho" }, curve), /id does not match/);
  const sig = (event.sig[0] === "0" ? "1" : "0") + event.sig.slice(1);
  assert.throws(() => verifyEvent({ ...event, sig }, curve), /signature does not match/);
  assert.throws(() => parseEvent({ ...event, sig: "x" }), /sig is not 128/);
});

test("nostrconnect URIs of every library are read the same", () => {
  for (const { text, found, error } of table("uris")) {
    if (error) assert.throws(() => parseNostrConnect(text), text);
    else {
      const { requested, ...rest } = parseNostrConnect(text);
      assert.deepEqual(rest, found, text);
    }
  }
});

test("bunker URIs are read as the Python client reads them", () => {
  for (const { text, found, error } of table("bunker_uris")) {
    if (error) assert.throws(() => parseBunkerUri(text), text);
    else assert.deepEqual(parseBunkerUri(text), found, text);
  }
});

test("an invitation is read back as it was written", () => {
  const uri = nostrConnectUri(USER, ["wss://a.b/~x"], "0f", "An (app)");
  const { client, relays, secret, metadata } = parseNostrConnect(uri);
  assert.deepEqual([client, relays, secret, metadata.name], [USER, ["wss://a.b/~x"], "0f", "An (app)"]);
});

test("a bunker URI has nothing that nostr-tools refuses", () => {
  assert.match(bunkerUri(USER, ["wss://a.b/~x"], "0f"), /^bunker:\/\/[0-9a-f]{64}\?[?/\w:.=&%-]*$/);
});

test("a relay has one spelling", () => {
  for (const { text, found, error } of table("relay_urls")) {
    if (error) assert.throws(() => parseRelayUrl(text), text);
    else assert.equal(parseRelayUrl(text), found, text);
  }
});

test("the audit chain has the same hashes, and breaks where it was changed", () => {
  const rows = table("audit");
  let last;
  for (const row of rows) {
    const { seq, previous, hash, at, action, key_name, ...facts } = row;
    last = next(last, at, action, key_name, facts);
    assert.deepEqual(last, row);
  }
  assert.equal(fault(rows), "");
  assert.match(fault([rows[0], { ...rows[1], outcome: "denied" }, rows[2]]), /entry 2 was changed/);
  assert.match(fault([rows[0], rows[2]]), /entry 3 does not follow/);
});

test("a bucket is bounded, and so is how many are remembered", () => {
  const bucket = new TokenBucket(1, 3);
  assert.deepEqual([0, 0, 0, 0].map((now) => bucket.take(now)), [true, true, true, false]);
  assert.equal(bucket.take(1), true);
  assert.equal(bucket.take(1), false);
  const buckets = new Buckets(1, 1, 2);
  assert.equal(buckets.take("a", 0), true);
  assert.equal(buckets.take("a", 0), false);
  buckets.take("b", 0);
  buckets.take("c", 0);
  assert.equal(buckets.take("a", 0), true); // forgotten: only two are kept
});

test("a person is told the same of a request, in both languages", () => {
  const rows = table("descriptions");
  assert.ok(rows.length > 80);
  for (const { action, asked, said, peer, count, where, known } of rows) {
    const told = describe(action, asked, NOW, known && knownOf(known));
    assert.deepEqual({ peer: told.peer, count: told.count, where: told.where }, { peer, count, where });
    for (const [language, want] of Object.entries(said)) {
      const texts = new Texts(language, DESCRIBE[language]);
      const say = (sentences) => sentences.map((item) => texts.say(item));
      const found = { title: texts.say(told.title), warnings: say(told.warnings), dangers: say(told.dangers), changes: told.details.map((detail) => say(detail.changes)) };
      assert.deepEqual(found, want, JSON.stringify({ action, asked: asked[0] }));
    }
  }
});

test("a field of any depth is told: an app can't make its question one that nobody can look at", () => {
  const [known, depth] = [knownOf({ events: [], notes: {}, names: {}, hosts: [], same_name: false }), 200_000];
  const action = { method: "sign_event", kind: 0, peer: null };
  const template = { kind: 0, content: `{"name":${"[".repeat(depth)}${"]".repeat(depth)}}`, tags: [], created_at: NOW };
  const { details } = describe(action, [{ action, template, eventId: "", text: "" }], NOW, known);
  assert.equal(details.length, 1);
});
