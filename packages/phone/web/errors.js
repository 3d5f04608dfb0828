/** What can go wrong; every text here may be shown or sent, none holds a content or a secret. */

/** The root: an input or a state that is refused with words. */
export class BunkerError extends Error {
  get name() {
    return this.constructor.name;
  }
}

/** Encryption or decryption failed; one message for every cause. */
export class CryptoError extends BunkerError {
  constructor() {
    super("message can't be encrypted or decrypted");
  }
}

/** A key, an event, a URI or a message that is none. */
export class InvalidInput extends BunkerError {}

/** A request that can't be read; `requestId` is there if it could be. */
export class InvalidRPC extends InvalidInput {
  /** @param {string} message @param {string | number | null} requestId */
  constructor(message, requestId = null) {
    super(message);
    this.requestId = requestId;
  }
}

/** The sealed key does not open, or is damaged. */
export class NSEError extends BunkerError {
  /** @param {string} message @param {"damaged" | "wrong" | "unavailable" | "locked"} code */
  constructor(message, code) {
    super(message);
    this.code = code;
  }
}

/** A request is answered with this text. `lasting`: the same request again gets the same answer. */
export class Refused extends BunkerError {
  /** @param {string} message @param {boolean} lasting @param {string} by */
  constructor(message, lasting = true, by = "") {
    super(message);
    this.lasting = lasting;
    this.by = by;
  }
}
