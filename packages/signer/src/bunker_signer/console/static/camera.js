// Reads an app's code with the camera: in the browser where it can, else by the signer, to which it
// sends one small grey picture after the other. No picture goes anywhere else, and none is kept.
/** Return an element that this page has. @param {string} id */
const part = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
const form = /** @type {HTMLFormElement} */ (part("take"));
const scanner = part("scanner");
const video = /** @type {HTMLVideoElement} */ (part("camera"));
const button = /** @type {HTMLButtonElement} */ (part("scan"));
const uri = /** @type {HTMLInputElement} */ (part("uri"));
const texts = scanner.dataset;
const SIDE = Number(texts.side); // pixels
const PAUSE = 200; // milliseconds between two pictures

const pause = () => new Promise((resolve) => setTimeout(resolve, PAUSE));
const say = (text = "") => {
  if (part("scan-says").textContent !== text) part("scan-says").textContent = text;
};
const stream = () => /** @type {MediaStream | null} */ (video.srcObject);

/** @returns {Promise<(() => Promise<string[]>) | null>} */
async function inTheBrowser() {
  const { BarcodeDetector } = /** @type {any} */ (window);
  if (!BarcodeDetector) return null;
  const formats = await BarcodeDetector.getSupportedFormats();
  if (!formats.includes("qr_code")) return null;
  const detector = new BarcodeDetector({ formats: ["qr_code"] });
  return async () =>
    (await detector.detect(video)).map((/** @type {{ rawValue: string }} */ code) => code.rawValue);
}

/** Return the middle square of what the camera sees, which is also what the page shows of it, and its side. */
function greySquare() {
  const from = Math.min(video.videoWidth, video.videoHeight);
  const side = Math.min(from, SIDE);
  const canvas = document.createElement("canvas");
  canvas.width = side;
  canvas.height = side;
  const context = /** @type {CanvasRenderingContext2D} */ (
    canvas.getContext("2d", { willReadFrequently: true })
  );
  const [left, top] = [(video.videoWidth - from) / 2, (video.videoHeight - from) / 2];
  context.drawImage(video, left, top, from, from, 0, 0, side, side);
  const { data } = context.getImageData(0, 0, side, side);
  const grey = new Uint8Array(side * side);
  for (let pixel = 0; pixel < grey.length; pixel += 1) {
    const at = pixel * 4;
    grey[pixel] = (data[at] * 77 + data[at + 1] * 150 + data[at + 2] * 29) >> 8;
  }
  return { grey, side };
}

/** @returns {Promise<string[]>} */
async function bySigner() {
  const { grey, side } = greySquare();
  const fields = new FormData();
  fields.set("csrf", /** @type {any} */ (form.elements).csrf.value);
  fields.set("width", String(side));
  fields.set("height", String(side));
  fields.set("picture", new Blob([grey]));
  const answer = await fetch("/apps/frame", { method: "POST", body: fields });
  if (answer.status === 429) return [];
  if (!answer.ok) throw new Error(String(answer.status));
  const { text } = await answer.json();
  return text ? [text] : [];
}

function stop(said = "") {
  for (const track of stream()?.getTracks() ?? []) track.stop();
  video.srcObject = null;
  video.hidden = true;
  button.textContent = texts.start ?? "";
  button.classList.add("primary");
  say(said);
}

async function start() {
  let camera;
  button.disabled = true; // while the browser asks
  try {
    camera = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "environment", width: { ideal: 1280 }, height: { ideal: 1280 } },
    });
  } catch {
    say(texts.denied);
    return;
  } finally {
    button.disabled = false;
  }
  video.srcObject = camera;
  if (document.hidden) {
    stop();
    return;
  }
  video.hidden = false;
  button.textContent = texts.stop ?? "";
  button.classList.remove("primary");
  say(texts.looking);
  await video.play();
  video.scrollIntoView({ block: "center" });
  const read = (await inTheBrowser()) ?? bySigner;
  while (stream() === camera) {
    let codes;
    try {
      codes = await read();
    } catch {
      stop(texts.failed);
      return;
    }
    if (stream() !== camera) return; // stopped meanwhile
    const found = codes.find((code) => code.toLowerCase().startsWith("nostrconnect:"));
    if (found) {
      stop();
      uri.value = found;
      form.requestSubmit();
      return;
    }
    if (codes.length > 0) say(texts.other);
    await pause();
  }
}

button.addEventListener("click", () => (video.srcObject ? stop() : start()));
// Nobody is filmed by a page that nobody looks at.
document.addEventListener("visibilitychange", () => {
  if (document.hidden && video.srcObject) stop();
});
window.addEventListener("pagehide", () => stop());
document.getElementById("photo")?.addEventListener("change", () => {
  uri.value = "";
  form.requestSubmit();
});
// Browsers offer the camera at https:// and at localhost alone.
scanner.hidden = !navigator.mediaDevices?.getUserMedia || !(texts.reads || (await inTheBrowser()));

export {};
