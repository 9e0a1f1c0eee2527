// A WebSocket that comes back: after growing pauses, as long as it is wanted.
export class Link {
  // hears: {message(data), open(), lost(reason, final)}
  constructor(path, hears) {
    this.path = path; this.hears = hears; this.wanted = false; this.pause = 1000;
  }

  start() {
    this.wanted = true;
    this.pause = 1000;
    this.open();
  }

  open() {
    const address = new URL(this.path, location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address);
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => {
      if (this.socket !== socket) return;
      this.pause = 1000;
      this.hears.message(data);
    };
    socket.onclose = ({ code, reason }) => {
      if (this.socket !== socket) return;
      this.socket = null;
      if (!this.wanted) return;
      const final = code === 1003 || code === 1008;
      this.hears.lost(reason || "the connection to the server was lost", final);
      if (final) { this.wanted = false; return; }
      setTimeout(() => { if (this.wanted && !this.socket) this.open(); }, this.pause);
      this.pause = Math.min(2 * this.pause, 8000);
    };
  }

  get ready() { return this.socket?.readyState === WebSocket.OPEN; }

  send(data) { this.socket.send(data); }

  stop() {
    this.wanted = false;
    this.socket?.close(1000);
    this.socket = null;
  }
}
