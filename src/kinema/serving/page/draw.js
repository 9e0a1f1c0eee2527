// Skeletons over a picture. Left and right have colours that differ for every kind of colour vision.
export const PEOPLE = [
  ["#4f8df0", "#f5924a", "#dfe5ec"], ["#2dbab3", "#dd6cb0", "#e0d2bc"], ["#9a86ef", "#d1b13a", "#c3d2c3"],
];
const SEEN = 0.3;

export const colorOf = (person) => PEOPLE[person % PEOPLE.length][0];

export class Overlay {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.joints = []; this.bones = []; this.last = null;
    new ResizeObserver(() => this.fit()).observe(canvas);
  }

  layout(joints, bones) {
    this.joints = joints; this.bones = bones;
    this.side = joints.map((name) => (name.startsWith("left_") ? 0 : name.startsWith("right_") ? 1 : 2));
  }

  fit() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(this.canvas.clientWidth * ratio);
    this.canvas.height = Math.round(this.canvas.clientHeight * ratio);
    if (this.last) this.show(...this.last);
  }

  clear() {
    this.last = null;
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    delete this.canvas.dataset.people;
  }

  // persons: as the server tells them; width, height: of the picture that their points are in.
  show(persons, width, height, mirrored, chosen) {
    this.last = [persons, width, height, mirrored, chosen];
    const { canvas, context } = this;
    context.clearRect(0, 0, canvas.width, canvas.height);
    const zoom = Math.min(canvas.width / width, canvas.height / height);
    const left = (canvas.width - zoom * width) / 2, top = (canvas.height - zoom * height) / 2;
    const place = (x, y) => [left + zoom * (mirrored ? width - x : x), top + zoom * y];
    for (const person of persons) this.skeleton(person, place, zoom);
    if (persons.length > 1) for (const person of persons) this.name(person, place, person.person === chosen);
    canvas.dataset.people = persons.length;
  }

  skeleton(person, place, zoom) {
    const { context } = this, { points } = person;
    const colors = PEOPLE[person.person % PEOPLE.length];
    const seen = (joint) => points[3 * joint + 2] >= SEEN;
    const at = (joint) => place(points[3 * joint], points[3 * joint + 1]);
    const heights = this.joints.map((_, joint) => joint).filter(seen).map((joint) => points[3 * joint + 1]);
    if (!heights.length) return;
    const ratio = window.devicePixelRatio || 1;
    const tall = (Math.max(...heights) - Math.min(...heights)) * zoom;
    const thick = Math.min(Math.max(tall / 55, 2.5 * ratio), 9 * ratio);
    context.globalAlpha = person.observed === false ? 0.45 : 1;
    context.lineCap = "round";
    for (const [color, wide] of [["rgb(0 0 0 / 45%)", thick + 2.5 * ratio], [null, thick]]) {
      for (const [child, parent] of this.bones) {
        if (!seen(child) || !seen(parent)) continue;
        context.strokeStyle = color ?? colors[this.side[child]];
        context.lineWidth = wide;
        context.beginPath();
        context.moveTo(...at(child));
        context.lineTo(...at(parent));
        context.stroke();
      }
    }
    for (let joint = 0; joint < this.joints.length; joint++) {
      if (!seen(joint)) continue;
      context.fillStyle = colors[this.side[joint]];
      context.beginPath();
      context.arc(...at(joint), 0.75 * thick, 0, 7);
      context.fill();
    }
    context.globalAlpha = 1;
  }

  name(person, place, chosen) {
    if (!person.box) return;
    const { context, canvas } = this, ratio = window.devicePixelRatio || 1;
    const words = person.label ?? `person ${person.person}`;
    context.font = `${chosen ? 650 : 500} ${14 * ratio}px system-ui, sans-serif`;
    const wide = context.measureText(words).width + 16 * ratio, high = 24 * ratio;
    const [x, y] = place((person.box[0] + person.box[2]) / 2, person.box[1]);
    const left = Math.min(Math.max(x - wide / 2, 4), canvas.width - wide - 4), top = Math.max(y - high - 8 * ratio, 4);
    context.fillStyle = "rgb(10 14 20 / 82%)";
    context.beginPath();
    context.roundRect(left, top, wide, high, 8 * ratio);
    context.fill();
    context.fillStyle = colorOf(person.person);
    context.fillRect(left + 8 * ratio, top + high - 4 * ratio, wide - 16 * ratio, 2 * ratio);
    context.fillStyle = "#e8ecf2";
    context.textBaseline = "middle";
    context.fillText(words, left + 8 * ratio, top + high / 2 - ratio);
  }
}
