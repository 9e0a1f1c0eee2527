// The browser's camera: one picture at a time to the server, the newest one.
import { Link } from "./link.js";

const QUALITY = 0.8, SLOWEST = 250;

export class Camera {
  // shows: {started(width, height), hello(message), answer(message, latency), ended(message), lost(reason, final), problem(words)}
  constructor(video, shows) {
    this.video = video; this.shows = shows; this.running = false;
    this.canvas = document.createElement("canvas");
    this.link = new Link("api/live", {
      message: (data) => this.heard(JSON.parse(data)),
      lost: (reason, final) => { this.waiting = false; shows.lost(reason, final); },
    });
    document.addEventListener("visibilitychange", () => this.seen());
  }

  async start(device) {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Error("Browsers give a camera only to pages that come over https, or from this very machine. Start the server with a certificate, or open the page where it runs.");
    }
    const wish = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };
    if (device) wish.deviceId = { exact: device }; else wish.facingMode = "user";
    try {
      this.media = await navigator.mediaDevices.getUserMedia({ video: wish, audio: false });
    } catch (error) {
      throw new Error(REASONS[error.name] ?? `The camera cannot be used: ${error.message}`);
    }
    const [track] = this.media.getVideoTracks();
    track.addEventListener("ended", () => {
      if (!this.running) return;
      this.stop();
      this.shows.problem("The camera was unplugged. Plug it in and start it again.");
    });
    this.video.srcObject = this.media;
    await this.video.play();
    this.running = true;
    this.began = performance.now();
    this.shows.started(this.video.videoWidth, this.video.videoHeight, track.getSettings().deviceId);
    this.link.start();
  }

  stop() {
    this.running = false;
    this.link.stop();
    for (const track of this.media?.getTracks() ?? []) track.stop();
    this.media = null;
    this.video.srcObject = null;
  }

  // A page that nobody sees sends nothing.
  seen() {
    if (!this.running) return;
    if (document.hidden) this.link.stop(); else this.link.start();
  }

  heard(message) {
    if (message.type === "hello") {
      this.longest = message.longest;
      this.waiting = false;
      this.shows.hello(message);
      this.soon();
    } else if (message.type === "answer") {
      this.waiting = false;
      this.shows.answer(message, performance.now() - this.sentAt);
      this.soon();
    } else if (message.type === "ended") this.shows.ended(message);
  }

  // With the video's next picture; a browser that tells of none is asked for one all the same.
  soon() {
    let done = false;
    const go = () => { if (!done) { done = true; this.send(); } };
    this.video.requestVideoFrameCallback?.(go);
    setTimeout(go, this.video.requestVideoFrameCallback ? SLOWEST : 33);
  }

  async send() {
    if (!this.running || this.waiting || !this.link.ready || !this.video.videoWidth) return;
    this.waiting = true;
    const { video, canvas } = this;
    const zoom = Math.min(1, Math.min(this.longest, 640) / Math.max(video.videoWidth, video.videoHeight));
    canvas.width = Math.round(zoom * video.videoWidth);
    canvas.height = Math.round(zoom * video.videoHeight);
    const sentAt = performance.now();
    canvas.getContext("2d", { alpha: false }).drawImage(video, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
    const picture = new Uint8Array(await blob.arrayBuffer());
    const message = new Uint8Array(8 + picture.length);
    new DataView(message.buffer).setFloat64(0, (sentAt - this.began) / 1000, true);
    message.set(picture, 8);
    if (!this.running || !this.link.ready) { this.waiting = false; return; }
    this.sentAt = sentAt;
    this.link.send(message);
  }
}

const REASONS = {
  NotAllowedError: "The camera was not allowed. Allow it beside the address of this page, then start it again.",
  NotFoundError: "There is no camera. Connect one, or choose a film.",
  OverconstrainedError: "That camera is not there any more. Choose another one.",
  NotReadableError: "The camera is used by another program. Close that, then start it again.",
};
