// The card beside the picture: whose answer, the label, five bars, latency.
import { colorOf } from "./draw.js";

const byId = (id) => document.getElementById(id);

export class AnswerCard {
  constructor(onChoice) {
    this.chosen = null; this.chips = []; this.rows = []; this.late = []; this.times = [];
    this.onChoice = onChoice;
    for (let i = 0; i < 5; i++) {
      const row = document.createElement("li");
      row.innerHTML = '<span class="name"></span><span class="share"></span><div class="track"><div class="fill"></div></div>';
      row.hidden = true;
      byId("bars").append(row);
      this.rows.push({
        row, name: row.querySelector(".name"), share: row.querySelector(".share"), fill: row.querySelector(".fill"),
      });
    }
    byId("persons").addEventListener("change", (event) => {
      this.chosen = Number(event.target.value);
      this.onChoice(this.chosen);
    });
  }

  // The answers of one picture; now: seconds of the stream.
  show(persons, now) {
    const known = persons.find((person) => person.person === this.chosen) ?? largest(persons);
    this.chosen = known ? known.person : this.chosen;
    this.choices(persons);
    const label = byId("label"), detail = byId("detail");
    label.textContent = known?.label ?? (known ? "Nothing known" : "Nobody in the picture");
    label.classList.toggle("none", !known?.label);
    if (!known) detail.textContent = "Step back until the camera sees you from head to hip.";
    else if (known.label === null) detail.textContent = sentence(known.flaw || "no action is certain enough");
    else if (known.since !== null && known.since !== undefined) {
      detail.textContent = `${Math.round(100 * known.confidence)} % certain, for ${Math.max(now - known.since, 0).toFixed(1)} s`;
    } else detail.textContent = `${Math.round(100 * known.confidence)} % certain`;
    this.bars(known?.top ?? [], known?.label);
  }

  bars(top, label) {
    this.rows.forEach(({ row, name, share, fill }, i) => {
      row.hidden = i >= top.length;
      if (row.hidden) return;
      const [words, value] = top[i];
      name.textContent = words;
      share.textContent = `${Math.round(100 * value)} %`;
      fill.style.width = "100%";
      fill.style.transform = `scaleX(${Math.max(value, 0.004)})`;
      row.classList.toggle("chosen", words === label);
    });
  }

  choices(persons) {
    const numbers = persons.map((person) => person.person).sort((a, b) => a - b);
    const group = byId("persons");
    group.hidden = numbers.length < 2;
    if (numbers.join() !== this.chips.join()) {
      const focused = group.contains(document.activeElement);
      this.chips = numbers;
      group.replaceChildren(...numbers.map((number) => {
        const chip = document.createElement("label");
        chip.innerHTML = '<input type="radio" name="person"><span><i></i></span>';
        chip.querySelector("input").value = number;
        chip.querySelector("i").style.background = colorOf(number);
        chip.querySelector("span").append(`person ${number}`);
        return chip;
      }));
      if (focused) group.querySelector(`[value="${this.chosen}"]`)?.focus();
    }
    for (const input of group.querySelectorAll("input")) input.checked = Number(input.value) === this.chosen;
  }

  // Milliseconds from picture to answer, and the server's stages.
  timing(latency, stages) {
    const now = performance.now();
    this.late.push(latency); this.times.push(now);
    while (this.late.length > 100) this.late.shift();
    while (this.times.length > 1 && now - this.times[0] > 3000) this.times.shift();
    if (this.shownAt && now - this.shownAt < 400) return;
    this.shownAt = now;
    const sorted = [...this.late].sort((a, b) => a - b);
    byId("latency").textContent = Math.round(sorted[sorted.length >> 1]);
    byId("latency95").textContent = Math.round(sorted[Math.min(Math.ceil(0.95 * sorted.length), sorted.length) - 1]);
    const span = now - this.times[0];
    byId("rate").textContent = span > 300 ? (1000 * (this.times.length - 1) / span).toFixed(0) : "–";
    byId("stages").replaceChildren(...Object.entries(stages).map(([name, value]) => {
      const row = document.createElement("li");
      row.append(Object.assign(document.createElement("span"), { textContent: NAMES[name] ?? name }),
        Object.assign(document.createElement("span"), { textContent: `${value.toFixed(1)} ms` }));
      return row;
    }));
  }

  reset(words, hint) {
    this.late = []; this.times = []; this.shownAt = 0; this.chosen = null;
    this.choices([]);
    this.bars([]);
    byId("label").textContent = words;
    byId("label").classList.add("none");
    byId("detail").textContent = hint;
    for (const id of ["latency", "latency95", "rate"]) byId(id).textContent = "–";
    byId("stages").replaceChildren();
  }
}

const NAMES = {
  wait: "waiting for its picture before", decode: "unpacking the picture", turn: "other people's turn", detect: "finding people",
  pose: "their joints", track: "who is who", recognise: "what they do", total: "on the server in all", network: "browser and network",
  draw: "packing it for you",
};

const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1) + ".";

function largest(persons) {
  const size = ({ box }) => (box ? (box[2] - box[0]) * (box[3] - box[1]) : 1);
  return persons.reduce((best, person) => (!best || size(person) > size(best) ? person : best), null);
}
