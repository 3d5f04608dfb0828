// Keys, encryption and the sealed key, against public vectors and against what Python wrote.
import assert from "node:assert/strict";
import { test } from "node:test";
import { readFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { curve, table, vectors } from "./_tables.mjs";
import { fromHex, toHex, utf8 } from "../../../packages/phone/web/bytes.js";
import { isSecret, newSecret } from "../../../packages/phone/web/secp256k1.js";
import * as nip04 from "../../../packages/phone/web/nips/nip04.js";
import * as nip44 from "../../../packages/phone/web/nips/nip44.js";
import * as nip44v3 from "../../../packages/phone/web/nips/nip44v3.js";
import * as nip49 from "../../../packages/phone/web/nips/nip49.js";
import { decodeBech32, encodeNpub, parsePubkey } from "../../../packages/phone/web/nips/nip19.js";
import { isEncrypted, parseKeyText, readKey } from "../../../packages/phone/web/nips/key_text.js";
import { parseBlob } from "../../../packages/phone/web/nse/blob.js";
import { Passphrase } from "../../../packages/phone/web/nse/passphrase.js";
import { seal, Vault } from "../../../packages/phone/web/nse/vault.js";

const CHEAP = { m: 8, t: 1, p: 1 };
const key = (last) => fromHex(last.toString(16).padStart(64, "0"));

test("BIP-340's vectors verify as they should, and its keys sign", { skip: !process.env.BIP340 }, () => {
  const rows = vectors("BIP340").trim().split("\n").slice(1).map((line) => line.split(","));
  assert.ok(rows.length >= 15);
  for (const [, secret, pubkey, , message, signature, result] of rows) {
    if (message.length !== 64) continue;
    const hex = (value) => fromHex(value.toLowerCase());
    assert.equal(curve.verify(hex(pubkey), hex(message), hex(signature)), result === "TRUE");
    if (secret) {
      assert.equal(toHex(curve.pubkey(hex(secret))), pubkey.toLowerCase());
      const made = curve.sign(hex(secret), hex(message));
      assert.ok(curve.verify(hex(pubkey), hex(message), made));
    }
  }
});

test("NIP-44's vectors hold, the good and the bad", { skip: !process.env.NIP44 }, () => {
  const { valid, invalid } = JSON.parse(vectors("NIP44")).v2;
  for (const { sec1, pub2, conversation_key } of valid.get_conversation_key) {
    assert.equal(toHex(nip44.conversationKey(curve.sharedX(fromHex(sec1), fromHex(pub2)))), conversation_key);
  }
  for (const { keys } of [valid.get_message_keys]) {
    for (const row of keys) {
      const made = nip44.messageKeys(fromHex(valid.get_message_keys.conversation_key), fromHex(row.nonce));
      assert.equal(toHex(made), row.chacha_key + row.chacha_nonce + row.hmac_key);
    }
  }
  for (const [length, padded] of valid.calc_padded_len) assert.equal(nip44.paddedLength(length), padded);
  for (const { conversation_key, nonce, plaintext, payload } of valid.encrypt_decrypt) {
    assert.equal(nip44.encrypt(plaintext, fromHex(conversation_key), fromHex(nonce)), payload);
    assert.equal(nip44.decrypt(payload, fromHex(conversation_key)), plaintext);
  }
  for (const { sec1, pub2 } of invalid.get_conversation_key) {
    assert.throws(() => curve.sharedX(fromHex(sec1), fromHex(pub2)), JSON.stringify({ sec1, pub2 }));
  }
  for (const { conversation_key, payload } of invalid.decrypt) {
    assert.throws(() => nip44.decrypt(payload, fromHex(conversation_key)), { name: "CryptoError" });
  }
});

test("the vectors of NIP-44's version 3 hold, the good and the bad", () => {
  const found = JSON.parse(readFileSync(new URL("../../core/nips/vectors/nip44v3.json", import.meta.url), "utf8"));
  const scope = ({ scope_hex }) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(fromHex(scope_hex));
  const shared = ({ secret1, secret2 }) => curve.sharedX(fromHex(secret1), curve.pubkey(fromHex(secret2)));
  for (const row of found.encrypt_decrypt) {
    const { nonce, kind, plaintext_hex, ciphertext } = row;
    const keys = nip44v3.messageKeys(shared(row), fromHex(nonce));
    assert.deepEqual([toHex(keys.cipher), toHex(keys.mac)], [row.encryption_key, row.mac_key]);
    assert.equal(nip44v3.encrypt(fromHex(plaintext_hex), shared(row), kind, scope(row), fromHex(nonce)), ciphertext);
    assert.equal(toHex(nip44v3.decrypt(`${ciphertext}\n`, shared(row), kind, scope(row))), plaintext_hex);
  }
  for (const row of found.decrypt_only) {
    assert.equal(toHex(nip44v3.decrypt(row.ciphertext, shared(row), row.kind, scope(row))), row.plaintext_hex);
  }
  for (const row of found.long_encrypt_decrypt) {
    const plaintext = fromHex(row.pattern_hex.repeat(row.repeat));
    const payload = nip44v3.encrypt(plaintext, shared(row), row.kind, scope(row), fromHex(row.nonce));
    assert.equal(createHash("sha256").update(payload).digest("hex"), row.ciphertext_sha256);
    assert.deepEqual(nip44v3.decrypt(payload, shared(row), row.kind, scope(row)), plaintext);
  }
  for (const [length, padded] of found.padded_length) assert.equal(nip44v3.paddedLength(length), padded);
  for (const { why, secret, public: peer, ciphertext, kind, ...row } of found.invalid_decryption) {
    assert.throws(() => nip44v3.decrypt(ciphertext, curve.sharedX(fromHex(secret), fromHex(peer)), kind, scope(row)), { name: "CryptoError" }, why);
  }
});

test("NIP-44 goes beyond 65535 bytes, both ways, and ends at its bound", () => {
  const secret = key(3);
  for (const length of [1, 65535, 65536, 200_000]) {
    const text = "x".repeat(length);
    assert.equal(nip44.decrypt(nip44.encrypt(text, secret), secret), text);
  }
  assert.throws(() => nip44.encrypt("", secret), { name: "CryptoError" });
  assert.throws(() => nip44.encrypt("x".repeat(nip44.MAX_PLAINTEXT + 1), secret), { name: "CryptoError" });
});

test("two keys share one secret, and the module keeps neither", () => {
  const [a, b] = [new Uint8Array(32), new Uint8Array(32)];
  newSecret(a);
  newSecret(b);
  assert.deepEqual(curve.sharedX(a, curve.pubkey(b)), curve.sharedX(b, curve.pubkey(a)));
  assert.throws(() => curve.pubkey(new Uint8Array(32)), /not a private key/);
  const order = fromHex("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
  assert.equal(isSecret(order), false);
  order[31] -= 1;
  assert.equal(isSecret(order), true);
  order[31] += 2;
  assert.equal(isSecret(order), false);
  assert.equal(isSecret(new Uint8Array(31).fill(1)), false);
});

test("NIP-04 opens what it seals, and nothing else", async () => {
  const shared = curve.sharedX(key(5), curve.pubkey(key(7)));
  const payload = await nip04.encrypt("hällo", shared);
  assert.equal(await nip04.decrypt(payload, shared), "hällo");
  for (const bad of ["", "x", "AAAA?iv=AAAA", payload.slice(1), payload + "?iv="]) {
    await assert.rejects(() => nip04.decrypt(bad, shared), { name: "CryptoError" });
  }
});

test("what Python encrypted opens here", async () => {
  const { nip04: old, nip44: payload, ncryptsec, passphrase, secret, peer, text } = table("encrypted");
  const shared = curve.sharedX(fromHex(secret), fromHex(peer));
  assert.equal(await nip04.decrypt(old, shared), text);
  assert.equal(nip44.decrypt(payload, nip44.conversationKey(shared)), text);
  const out = new Uint8Array(32);
  await nip49.decrypt(ncryptsec, passphrase, out);
  assert.equal(toHex(out), secret);
  await assert.rejects(() => nip49.decrypt(ncryptsec, "wrong", out), { name: "CryptoError" });
});

test("an ncryptsec that asks for 4 GiB is refused before anything is computed", async () => {
  const { data } = decodeBech32(table("encrypted").ncryptsec);
  data[1] = 22;
  const { encodeBech32 } = await import("../../../packages/phone/web/nips/nip19.js");
  await assert.rejects(() => nip49.decrypt(encodeBech32("ncryptsec", data), "x", new Uint8Array(32)), /more memory/);
});

test("a private key is read in every form that Python takes but words, and what is none is named", () => {
  const out = new Uint8Array(32);
  for (const { text, found, error } of table("key_texts")) {
    out.fill(0);
    const read = () => parseKeyText(text, out);
    if (found && text.split(" ").length > 11) assert.throws(read, /seed words/, text);
    else if (found) assert.deepEqual({ ncryptsec: read(), secret: toHex(out) }, found, text);
    else assert.throws(read, { message: error.replace(", 64 hex characters or seed words", " or 64 hex characters").replace("not a bech32 text", "bech32 checksum does not match") }, text);
  }
  assert.throws(() => parseKeyText("1".repeat(70_000), out), /too long/);
});

test("the passphrase of an ncryptsec is asked for, and a wrong one is said", async () => {
  const { ncryptsec, passphrase, secret } = table("encrypted");
  const out = new Uint8Array(32);
  for (const text of [ncryptsec, ` "NOSTR:${ncryptsec.toUpperCase()}"`]) {
    await readKey(text, passphrase, out);
    assert.equal(toHex(out), secret);
    assert.ok(isEncrypted(text));
    await assert.rejects(() => readKey(text, "wrong", out), /not the passphrase/);
    await assert.rejects(() => readKey(text, "", out), /needs its passphrase/);
  }
});

test("a public key is taken in every form", () => {
  const hex = toHex(curve.pubkey(key(1)));
  assert.equal(parsePubkey(encodeNpub(hex)), hex);
  assert.equal(parsePubkey(`nostr:${encodeNpub(hex)}`), hex);
  assert.throws(() => parsePubkey("x".repeat(64)), /not a bech32 text/);
});

test("a blob that Python sealed opens here, and one field changed does not", async () => {
  const { blob, passphrase, pubkey } = table("blob");
  const vault = new Vault(curve, blob, () => 0);
  assert.equal(vault.pubkey, pubkey);
  const good = new Passphrase(passphrase);
  await vault.unlock(good, 60);
  assert.ok(curve.verify(fromHex(pubkey), key(9), await vault.sign(key(9))));
  await assert.rejects(() => vault.unlock(new Passphrase("wrong"), 60), /wrong passphrase/);
  const value = JSON.parse(blob);
  const changes = { created_at: value.created_at + 1, gen: 2, iv: "0".repeat(24), ciphertext: "0".repeat(96), mac: "0".repeat(56) };
  for (const [name, changed] of Object.entries(changes)) {
    const { canonical } = await import("../../../packages/phone/web/bytes.js");
    const other = new Vault(curve, canonical({ ...value, [name]: changed }), () => 0);
    await assert.rejects(async () => {
      await other.unlock(good, 60);
      await other.sign(key(9));
    }, { name: "NSEError" }, name);
  }
});

test("hostile blobs are refused before a KDF runs", async () => {
  const { blob } = table("blob");
  const value = JSON.parse(blob);
  const { canonical } = await import("../../../packages/phone/web/bytes.js");
  for (const bad of ["", "{", "[]", "{}", `${blob} `, canonical({ ...value, version: 3 }), canonical({ ...value, more: 1 }), canonical({ ...value, slots: [] }), canonical({ ...value, npub: "x" }), "x".repeat(70_000)]) {
    assert.throws(() => parseBlob(bad), { name: "NSEError" });
  }
  const bomb = structuredClone(value);
  bomb.slots[0].params.m = 2 ** 30;
  const vault = new Vault(curve, canonical(bomb), () => 0);
  await assert.rejects(() => vault.unlock(new Passphrase("x"), 60), /slot parameter 'm' is not from 8/);
});

test("a key sealed here locks itself, gets slots, and leaves in no other form", async () => {
  let now = 0;
  const secret = key(11);
  const first = new Passphrase("one", CHEAP);
  const vault = new Vault(curve, await seal(curve, secret, [first], 5), () => now);
  await assert.rejects(async () => vault.sign(key(9)), { code: "locked" });
  await vault.unlock(first, 10);
  const both = await vault.addSlot(new Passphrase("two", CHEAP));
  const peer = toHex(curve.pubkey(key(13)));
  for (const scheme of ["nip44", "nip04"]) {
    const payload = await vault.crypt(`${scheme}_encrypt`, peer, "secret text");
    assert.equal(await vault.crypt(`${scheme}_decrypt`, peer, payload), "secret text");
  }
  const scoped = await vault.crypt("nip44v3_encrypt", peer, "aGk=", [30078, "app"]);
  assert.equal(await vault.crypt("nip44v3_decrypt", peer, scoped, [30078, "app"]), "aGk=");
  await assert.rejects(() => vault.crypt("nip44v3_decrypt", peer, scoped, [30078, "other"]), { name: "CryptoError" });
  const copy = await vault.recoveryCopy("a passphrase");
  const out = new Uint8Array(32);
  await nip49.decrypt(copy, "a passphrase", out);
  assert.deepEqual(out, secret);
  now = 10_000;
  assert.equal(vault.locked, true);
  await assert.rejects(async () => vault.sign(key(9)), { code: "locked" });
  const again = new Vault(curve, both, () => 0);
  await again.unlock(new Passphrase("two", CHEAP), 1);
  assert.ok(!both.includes(toHex(secret)));
  if (process.env.BLOB_OUT) (await import("node:fs")).writeFileSync(process.env.BLOB_OUT, both);
  assert.equal(utf8("é").length, 2);
});
