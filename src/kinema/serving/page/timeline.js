// What happened when: lanes over time, and a list that can be read and saved.
const COLORS = ["#8ab4f8", "#f6b26b", "#7fd1ae", "#d7a6e8", "#f28b9b", "#cfd36b", "#7fd3e8", "#c9b29b"];
const LIVE_SECONDS = 60, MOST = 300;
const byId = (id) => document.getElementById(id);

export class Timeline {
  constructor(onSeek) {
    this.onSeek = onSeek;
    this.clear();
    byId("save").addEventListener("click", () => this.save());
  }

  // duration: of a film; null for a live stream, of which the last minute is shown.
  clear(duration = null, name = "camera") {
    this.events = []; this.duration = duration; this.now = 0; this.drawnAt = -1; this.name = name;
    byId("events").replaceChildren();
    byId("lanes").replaceChildren();
    this.listed();
  }

  opened(event) { this.events.push({ ...event }); this.list(this.events.at(-1)); }

  closed(event) {
    const known = this.events.findLast((each) => each.end === null && each.person === event.person && each.label === event.label);
    if (known) { Object.assign(known, event); this.write(known); } else { this.events.push({ ...event }); this.list(this.events.at(-1)); }
  }

  // The clock of the stream has come so far.
  at(now) {
    this.now = now;
    const due = performance.now();
    if (due - this.drawnAt < 200) return;
    this.drawnAt = due;
    this.draw();
  }

  draw() {
    const start = this.duration === null ? Math.max(this.now - LIVE_SECONDS, 0) : 0;
    const end = this.duration === null ? Math.max(this.now, LIVE_SECONDS / 4) : this.duration;
    const shown = this.events.filter((event) => (event.end ?? this.now) > start);
    const people = [...new Set(shown.map((event) => event.person))].sort((a, b) => a - b);
    const place = (seconds) => (100 * (Math.min(Math.max(seconds, start), end) - start)) / (end - start);
    const lanes = byId("lanes"), wide = lanes.clientWidth || 600;
    lanes.replaceChildren(...people.map((person) => {
      const lane = document.createElement("div");
      lane.className = "lane";
      for (const event of shown.filter((each) => each.person === person)) {
        const block = document.createElement("b"), left = place(event.start), right = place(event.end ?? this.now);
        block.style.left = `${left}%`;
        block.style.width = `${right - left}%`;
        block.style.background = labelColor(event.label);
        block.textContent = event.label;
        block.title = event.label;
        block.classList.toggle("narrow", ((right - left) * wide) / 100 < 34);
        block.classList.toggle("going", event.end === null);
        lane.append(block);
      }
      if (this.duration !== null) {
        const head = document.createElement("span");
        head.className = "head";
        head.style.left = `${place(this.now)}%`;
        lane.append(head);
      }
      return lane;
    }));
    if (people.length) {
      const moment = end - start < 30 ? (seconds) => `${seconds.toFixed(1)} s` : clock;
      const scale = document.createElement("div");
      scale.className = "scale";
      for (const part of [0, 0.25, 0.5, 0.75, 1]) {
        scale.append(Object.assign(document.createElement("span"), { textContent: moment(start + part * (end - start)) }));
      }
      lanes.append(scale);
    }
  }

  list(event) {
    const row = document.createElement("li"), seeks = this.duration !== null;
    event.row = document.createElement(seeks ? "button" : "div");
    event.row.className = "event";
    if (seeks) { event.row.type = "button"; event.row.addEventListener("click", () => this.onSeek(event.start)); }
    row.append(event.row);
    this.write(event);
    if (seeks) byId("events").append(row); else byId("events").prepend(row);
    while (this.events.length > MOST) this.events.shift().row.parentElement.remove();
    this.listed();
  }

  write(event) {
    const part = (name, words) => Object.assign(document.createElement("span"), { className: name, textContent: words });
    const label = document.createElement("strong"), dot = document.createElement("i");
    dot.style.background = labelColor(event.label);
    label.append(dot, event.label);
    const who = part("faint who", `person ${event.person}`);
    const lasted = event.end === null ? "going on" : `${(event.end - event.start).toFixed(1)} s`;
    event.row.replaceChildren(part("faint", `${clock(event.start)} · ${lasted}`), label, who,
      part("faint sure", `${Math.round(100 * event.confidence)} %`));
  }

  listed() {
    byId("no-events").hidden = this.events.length > 0;
    byId("save").disabled = !this.events.length;
    byId("events").classList.toggle("several", new Set(this.events.map((event) => event.person)).size > 1);
  }

  save() {
    const rows = this.events.map((event) => [event.person, `"${event.label}"`, event.start.toFixed(2),
      event.end === null ? "" : event.end.toFixed(2), event.confidence.toFixed(3)].join());
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([["person,label,start,end,confidence", ...rows, ""].join("\n")], { type: "text/csv" }));
    link.download = `${this.name.replace(/[^\w-]+/g, "_")}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
}

export function clock(seconds) {
  const whole = Math.max(Math.floor(seconds), 0);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

// In the order in which labels are met, so that the first eight differ.
const met = new Map();

function labelColor(label) {
  if (!met.has(label)) met.set(label, COLORS[met.size % COLORS.length]);
  return met.get(label);
}
