/** What is kept in this browser: IndexedDB, one transaction for what belongs together. */

const NAME = "bunker";
const VERSION = 2;

/** @typedef {"keys" | "settings" | "clients" | "grants" | "secrets" | "handled" | "requests" | "audit" | "known"} Store */
/** @typedef {{ name: string, blob: string, pubkey: string, created_at: number, recovered: boolean }} KeyRow */
/** @typedef {{ pubkey: string, key: string, name: string, url: string, renamed: boolean, relays: string[], requested: string, paired_at: number, last_seen: number }} ClientRow */
/** @typedef {import("./policy.js").Grant & { id?: number, client: string }} GrantRow */
/** @typedef {{ digest: string, key: string, grants: import("./policy.js").Grant[], relays: string[], created_at: number, used_by: string }} SecretRow */
// received_at is in seconds and counts for the deadline; arrived, in milliseconds, is the order in which they are asked.
/** @typedef {"open" | "approved" | "answered" | "done"} State */
/** @typedef {{ digest: string, key: string, client: string, event: import("../nips/event.js").Event, relay: string, state: State, received_at: number, arrived: number, decided_by: string, answer: string, method: string, param: string, notified: boolean }} RequestRow */

/** What was signed or is published by a key: place is the key and a replaceable event's place, or a host. @typedef {{ place: string[], key: string[], at: number, size: number, event: import("../nips/event.js").Event | null }} KnownRow */

/** One transaction; every method is awaited before the next. */
export class Transaction {
  /** @param {IDBTransaction} transaction */
  constructor(transaction) {
    this.transaction = transaction;
  }

  /** @param {Store} store @param {IDBValidKey} key @returns {Promise<any>} */
  get(store, key) {
    return done(this.transaction.objectStore(store).get(key));
  }

  /** @param {Store} store @param {string} [index] @param {IDBValidKey | IDBKeyRange} [key] @returns {Promise<any[]>} */
  all(store, index, key) {
    const source = this.transaction.objectStore(store);
    return done(index ? source.index(index).getAll(key) : source.getAll(key));
  }

  /** The row with the greatest key. @param {Store} store @returns {Promise<any>} */
  async last(store) {
    return (await done(this.transaction.objectStore(store).openCursor(null, "prev")))?.value;
  }

  /** @param {Store} store @param {string} index @param {IDBValidKey} key */
  count(store, index, key) {
    return done(this.transaction.objectStore(store).index(index).count(key));
  }

  /** @param {Store} store @param {any} row */
  put(store, row) {
    return done(this.transaction.objectStore(store).put(row));
  }

  /** @param {Store} store @param {IDBValidKey | IDBKeyRange} key */
  delete(store, key) {
    return done(this.transaction.objectStore(store).delete(key));
  }

  /** @param {Store} store */
  clear(store) {
    return done(this.transaction.objectStore(store).clear());
  }

  /** Delete what an index has up to `bound`. @param {Store} store @param {string} index @param {number} bound */
  async deleteUpTo(store, index, bound) {
    const source = this.transaction.objectStore(store);
    for (const key of await done(source.index(index).getAllKeys(IDBKeyRange.upperBound(bound), 1000))) {
      await done(source.delete(key));
    }
  }

  /** @param {string} name @returns {Promise<any>} */
  async setting(name) {
    return (await this.get("settings", name))?.value;
  }

  /** @param {string} name @param {any} value */
  set(name, value) {
    return this.put("settings", { name, value });
  }
}

export class Database {
  /** @param {IDBDatabase} database */
  constructor(database) {
    this.database = database;
    // Another tab wants to delete or upgrade it: this one must not stand in its way.
    database.onversionchange = () => database.close();
  }

  /** @returns {Promise<Database>} */
  static async open() {
    const request = indexedDB.open(NAME, VERSION);
    request.onupgradeneeded = ({ oldVersion }) => {
      const database = request.result;
      if (oldVersion < 2) database.createObjectStore("known", { keyPath: "place" }).createIndex("key", "key");
      if (oldVersion >= 1) return;
      database.createObjectStore("keys", { keyPath: "name" });
      database.createObjectStore("settings", { keyPath: "name" });
      database.createObjectStore("clients", { keyPath: "pubkey" });
      database.createObjectStore("grants", { keyPath: "id", autoIncrement: true }).createIndex("client", "client");
      database.createObjectStore("secrets", { keyPath: "digest" }).createIndex("created_at", "created_at");
      database.createObjectStore("handled", { keyPath: "id" }).createIndex("at", "at");
      const requests = database.createObjectStore("requests", { keyPath: "digest" });
      requests.createIndex("received_at", "received_at");
      requests.createIndex("client", "client");
      requests.createIndex("state", "state");
      database.createObjectStore("audit", { keyPath: "seq" }).createIndex("at", "at");
    };
    return new Database(await done(request));
  }

  /**
   * Read one setting from whatever version is stored, and raise none: a worker that the owner did not
   * agree to must not bring the storage to a version that theirs can't open.
   * @param {string} name @returns {Promise<any>}
   */
  static async stored(name) {
    const request = indexedDB.open(NAME);
    request.onupgradeneeded = () => request.transaction?.abort(); // there is none, and none is made
    let database;
    try {
      database = new Database(await done(request));
      return await database.setting(name);
    } catch {
      return undefined;
    } finally {
      database?.database.close();
    }
  }

  /**
   * Run `work` as one transaction; what it throws takes all of it back.
   * @template T @param {IDBTransactionMode} mode @param {Store[]} stores @param {(tx: Transaction) => Promise<T>} work @returns {Promise<T>}
   */
  async run(mode, stores, work) {
    // `strict`: on disk before it counts, for an answer must not leave before it is written down.
    const transaction = this.database.transaction(stores, mode, mode === "readwrite" ? { durability: "strict" } : {});
    const ended = new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error ?? new Error("transaction taken back"));
    });
    let result;
    try {
      result = await work(new Transaction(transaction));
    } catch (error) {
      ended.catch(() => {});
      try {
        transaction.abort();
      } catch {
        // it has ended already
      }
      throw error;
    }
    await ended;
    return result;
  }

  /** @template T @param {Store[]} stores @param {(tx: Transaction) => Promise<T>} work */
  read(stores, work) {
    return this.run("readonly", stores, work);
  }

  /** @template T @param {Store[]} stores @param {(tx: Transaction) => Promise<T>} work */
  write(stores, work) {
    return this.run("readwrite", stores, work);
  }

  /** @param {string} name @returns {Promise<any>} */
  setting(name) {
    return this.read(["settings"], (tx) => tx.setting(name));
  }

  /** @param {string} name @param {any} value */
  set(name, value) {
    return this.write(["settings"], (tx) => tx.set(name, value));
  }
}

/** Wait for a request of IndexedDB. @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
export function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
