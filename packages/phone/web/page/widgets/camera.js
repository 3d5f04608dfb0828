/** Reading a QR code with the camera: the browser's own reader, or jsQR. */

import jsQR from "jsqr";
import { h } from "./dom.js";

const EVERY = 150; // milliseconds

/** Show the camera in `place` until a code is read; resolves to its text, or null when it was stopped or can't be used. @param {HTMLElement} place @param {{ looking: string, stop: string, denied: string }} texts @returns {Promise<string | null>} */
export async function scan(place, texts) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch {
    place.replaceChildren(h("p", { class: "banner bad", role: "alert" }, texts.denied));
    return null;
  }
  const video = h("video", { playsinline: true, muted: true });
  video.srcObject = stream;
  let stopped = false;
  const stop = h("button", { type: "button", onclick: () => (stopped = true) }, texts.stop);
  place.replaceChildren(video, h("p", { role: "status" }, texts.looking), stop);
  try {
    await video.play();
    const canvas = document.createElement("canvas");
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
    // Behind another page or on a phone that was put away nobody holds a code before it.
    while (!stopped && video.isConnected && !document.hidden) {
      await new Promise((resolve) => setTimeout(resolve, EVERY));
      if (!video.videoWidth) continue;
      const scale = Math.min(1, 720 / video.videoWidth);
      canvas.width = video.videoWidth * scale;
      canvas.height = video.videoHeight * scale;
      context.drawImage(video, 0, 0, canvas.width, canvas.height);
      const picture = context.getImageData(0, 0, canvas.width, canvas.height);
      const code = jsQR(picture.data, picture.width, picture.height);
      if (code?.data) return code.data;
    }
    return null;
  } finally {
    for (const track of stream.getTracks()) track.stop();
    place.replaceChildren();
  }
}
