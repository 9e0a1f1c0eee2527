// A stream of the server's own: its pictures and answers as they come, the newest ones.
import { Link } from "./link.js";

export class Stream {
  // shows: {hello(message), picture(bitmap, message), events(message), source(message), lost(reason, final)}
  constructor(shows) {
    this.shows = shows; this.busy = false;
    this.link = new Link("api/watch", { message: (data) => this.heard(data), lost: shows.lost });
  }

  start() { this.link.start(); }

  stop() { this.link.stop(); }

  async heard(data) {
    if (typeof data === "string") {
      const message = JSON.parse(data);
      if (message.type === "hello") this.shows.hello(message);
      else if (message.type === "source") this.shows.source(message);
      else this.shows.events(message);
      return;
    }
    if (this.busy) return;
    this.busy = true;
    try {
      const length = new DataView(data).getUint32(0, true);
      const message = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
      const bitmap = await createImageBitmap(new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }));
      this.shows.picture(bitmap, message);
      bitmap.close();
    } finally {
      this.busy = false;
    }
  }
}
