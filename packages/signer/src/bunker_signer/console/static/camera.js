// Reads an app's code with the camera: in the browser where it can, else by the signer, to which it
// sends one small grey picture after the other. No picture goes anywhere else, and none is kept.
const byId = (id) => document.getElementById(id);
const form = byId("take");
const scanner = byId("scanner");
const video = byId("camera");
const button = byId("scan");
const texts = scanner.dataset;
const SIDE = Number(texts.side); // pixels
const PAUSE = 200; // milliseconds between two pictures

const pause = () => new Promise((resolve) => setTimeout(resolve, PAUSE));
const say = (text) => {
  if (byId("scan-says").textContent !== text) byId("scan-says").textContent = text;
};

async function inTheBrowser() {
  if (!("BarcodeDetector" in window)) return null;
  const formats = await BarcodeDetector.getSupportedFormats();
  if (!formats.includes("qr_code")) return null;
  const detector = new BarcodeDetector({ formats: ["qr_code"] });
  return async () => (await detector.detect(video)).map((code) => code.rawValue);
}

// The middle square of what the camera sees, which is also what the page shows of it.
function greySquare() {
  const from = Math.min(video.videoWidth, video.videoHeight);
  const side = Math.min(from, SIDE);
  const canvas = document.createElement("canvas");
  canvas.width = side;
  canvas.height = side;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const [left, top] = [(video.videoWidth - from) / 2, (video.videoHeight - from) / 2];
  context.drawImage(video, left, top, from, from, 0, 0, side, side);
  const { data } = context.getImageData(0, 0, side, side);
  const grey = new Uint8Array(side * side);
  for (let pixel = 0; pixel < grey.length; pixel += 1) {
    const at = pixel * 4;
    grey[pixel] = (data[at] * 77 + data[at + 1] * 150 + data[at + 2] * 29) >> 8;
  }
  return [grey, side];
}

async function bySigner() {
  const [grey, side] = greySquare();
  const fields = new FormData();
  fields.set("csrf", form.elements.csrf.value);
  fields.set("width", side);
  fields.set("height", side);
  fields.set("picture", new Blob([grey]));
  const answer = await fetch("/apps/frame", { method: "POST", body: fields });
  if (answer.status === 429) return [];
  if (!answer.ok) throw new Error(String(answer.status));
  const { text } = await answer.json();
  return text ? [text] : [];
}

function stop(said = "") {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
  video.hidden = true;
  button.textContent = texts.start;
  button.classList.add("primary");
  say(said);
}

async function start() {
  let stream;
  button.disabled = true; // while the browser asks
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "environment", width: { ideal: 1280 }, height: { ideal: 1280 } },
    });
  } catch {
    say(texts.denied);
    return;
  } finally {
    button.disabled = false;
  }
  video.srcObject = stream;
  if (document.hidden) {
    stop();
    return;
  }
  video.hidden = false;
  button.textContent = texts.stop;
  button.classList.remove("primary");
  say(texts.looking);
  await video.play();
  video.scrollIntoView({ block: "center" });
  const read = (await inTheBrowser()) ?? bySigner;
  while (video.srcObject === stream) {
    let codes;
    try {
      codes = await read();
    } catch {
      stop(texts.failed);
      return;
    }
    if (video.srcObject !== stream) return; // stopped meanwhile
    const found = codes.find((code) => code.toLowerCase().startsWith("nostrconnect:"));
    if (found) {
      stop();
      byId("uri").value = found;
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
byId("photo")?.addEventListener("change", () => {
  byId("uri").value = "";
  form.requestSubmit();
});
// Browsers offer the camera at https:// and at localhost alone.
scanner.hidden = !navigator.mediaDevices?.getUserMedia || !(texts.reads || (await inTheBrowser()));
