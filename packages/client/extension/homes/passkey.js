/** A passkey's slot, as the background sees it: one of our pages asked the passkey (pages/passkey.js). */

import { unmoved, wipe } from "../../../phone/web/bytes.js";
import { NSEError } from "../../../phone/web/errors.js";
import { parseBlob } from "../../../phone/web/nse/blob.js";
import { checkParams, PASSKEY } from "../../../phone/web/nse/passkey.js";

/** @typedef {import("../../../phone/web/nse/blob.js").Params} Params */
/** @typedef {import("../../../phone/web/nse/passphrase.js").Protector} Protector */

/** A protector whose wrapping key is here already, until it is closed. @implements {Protector} */
export class AskedPasskey {
  type = PASSKEY;
  hw = false;
  bound = true;
  #params;
  #key;

  /** @param {Params} params of the one slot that the key is for @param {Uint8Array} key the wrapping key */
  constructor(params, key) {
    checkParams(params);
    this.#params = params;
    this.#key = key;
  }

  async create() {
    return { params: this.#params, key: this.#copy() };
  }

  /** @param {Params} params @returns {Promise<Uint8Array>} */
  async recover(params) {
    if (params.credential !== this.#params.credential || params.salt !== this.#params.salt) throw new NSEError("another passkey opens this key", "wrong");
    return this.#copy();
  }

  #copy() {
    const copy = unmoved(this.#key.length);
    copy.set(this.#key);
    return copy;
  }

  close() {
    wipe(this.#key);
  }
}

/** Return the passkey's slot of a sealed key; undefined when it has none. Throws NSEError. @param {string} blob */
export const passkeySlot = (blob) => parseBlob(blob).slots.find(({ type }) => type === PASSKEY);
