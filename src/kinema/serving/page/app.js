// The page: one source at a time, its answers in the card, its events in the timeline.
import { AnswerCard } from "./answer.js";
import { Camera } from "./camera.js";
import { Overlay } from "./draw.js";
import { Film, momentAt } from "./film.js";
import { Stream } from "./stream.js";
import { Timeline } from "./timeline.js";

const byId = (id) => document.getElementById(id);
const video = byId("video"), picture = byId("picture"), stage = byId("stage");
const overlay = new Overlay(byId("overlay"));
let chosen = null, limits = null, film = null, persons = [];

const card = new AnswerCard((person) => { chosen = person; redraw(); });
const timeline = new Timeline((seconds) => { video.currentTime = seconds; video.focus(); });

const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1);

function announce(words) { byId("announcer").textContent = words; }

function problem(words) {
  byId("problem").textContent = words ?? "";
  byId("problem").hidden = !words;
}

function badge(words) {
  byId("badge").textContent = words ?? "";
  byId("badge").hidden = !words;
}

function size(width, height) { if (width && height) stage.style.aspectRatio = `${width} / ${height}`; }

function empty(hint) {
  overlay.clear();
  persons = [];
  byId("empty").hidden = !hint;
  if (hint) byId("hint").textContent = hint;
}

function redraw() {
  if (overlay.last) overlay.show(...overlay.last.slice(0, 4), chosen);
}

// What the server found in one picture.
function show(message, mirrored) {
  persons = message.persons;
  card.show(persons, message.time);
  chosen = card.chosen;
  overlay.show(persons, message.width, message.height, mirrored, chosen);
  timeline.at(message.time);
}

function happened(closed, opened) {
  for (const event of closed) timeline.closed(event);
  for (const event of opened) timeline.opened(event);
  if (opened.length) announce(opened.map((event) => `Person ${event.person}: ${event.label}`).join(". "));
}

function hello(message) {
  overlay.layout(message.joints, message.bones);
  badge();
}

// The camera of this browser
const camera = new Camera(video, {
  started(width, height, device) {
    size(width, height);
    empty();
    badge("Connecting …");
    fillDevices(device);
    announce("The camera is running.");
  },
  hello,
  answer(message, latency) {
    happened(message.closed, message.opened);
    show(message, byId("mirror").checked);
    card.timing(latency, { ...message.ms, network: latency - message.ms.total });
  },
  ended(message) { happened(message.closed, []); },
  lost(reason, final) {
    badge(final ? null : `${sentence(reason)}; trying again …`);
    overlay.clear();
    if (final) { stopCamera(); problem(`${sentence(reason)}.`); }
  },
  problem(words) { stopCamera(); problem(words); },
});

async function startCamera() {
  const button = byId("start");
  problem();
  button.disabled = true;
  timeline.clear(null, "camera");
  card.reset("Nobody yet", "The answer appears as soon as somebody is in the picture.");
  badge("Waiting for the camera …");
  try {
    await camera.start(byId("device").value);
    button.textContent = "Stop camera";
    button.classList.remove("primary");
  } catch (error) {
    badge();
    problem(error.message);
  }
  button.disabled = false;
}

function stopCamera() {
  camera.stop();
  byId("start").textContent = "Start camera";
  byId("start").classList.add("primary");
  badge();
  empty("Start your camera to see what the recogniser sees.");
}

async function fillDevices(current) {
  const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === "videoinput");
  byId("device-choice").hidden = cameras.length < 2;
  byId("device").replaceChildren(...cameras.map((device, i) => new Option(device.label || `Camera ${i + 1}`, device.deviceId)));
  if (current) byId("device").value = current;
}

byId("start").addEventListener("click", () => (camera.running ? stopCamera() : startCamera()));
byId("device").addEventListener("change", () => { if (camera.running) { camera.stop(); startCamera(); } });
byId("mirror").addEventListener("change", () => {
  video.classList.toggle("mirrored", byId("mirror").checked);
  if (overlay.last) { overlay.last[3] = byId("mirror").checked; redraw(); }
});

// A film of the user's
const films = new Film({
  progress(words, share) {
    busy(true);
    byId("progress").value = share;
    byId("film-name").textContent = `${words} … ${Math.round(100 * share)} %`;
  },
  answer(answer) {
    busy(false);
    film = answer;
    byId("film-name").textContent = `${answer.duration.toFixed(1)} s, ${answer.events.length} ${answer.events.length === 1 ? "action" : "actions"}`;
    timeline.clear(answer.duration, "film");
    for (const event of answer.events) timeline.closed(event);
    timeline.draw();
    size(answer.width, answer.height);
    announce(`The film is answered: ${answer.events.length} actions.`);
    play();
  },
  failed(words) { busy(false); byId("film-name").textContent = ""; problem(words); },
  cancelled() { busy(false); byId("film-name").textContent = "Cancelled"; },
});

function busy(yes) {
  byId("progress").hidden = byId("cancel").hidden = !yes;
  byId("file").disabled = yes;
}

function startFilm(file) {
  problem();
  film = null;
  empty();
  timeline.clear(null, "film");
  card.reset("No answer yet", "The answer stands here as soon as the film has been looked at.");
  URL.revokeObjectURL(video.src);
  video.src = URL.createObjectURL(file);
  video.controls = true;
  stage.classList.add("with-controls");
  films.start(file, limits);
}

function play() {
  overlay.layout(limits.joints, limits.bones);
  video.play().catch(() => {});
  const shown = film;
  const follow = () => {
    if (film !== shown) return;
    const moment = momentAt(film.track, video.currentTime);
    const going = moment ?? { persons: [] };
    const people = going.persons.map((person) => ({ ...person, since: since(person) }));
    show({ persons: people, time: video.currentTime, width: film.width, height: film.height }, false);
    requestAnimationFrame(follow);
  };
  follow();
}

function since(person) {
  const now = video.currentTime;
  const event = film.events.find((each) => each.person === person.person && each.label === person.label && each.start <= now && now <= each.end);
  return event ? event.start : null;
}

video.addEventListener("error", () => {
  if (video.src && !video.srcObject) problem("This browser cannot play the film; its timeline is shown all the same.");
});
video.addEventListener("loadedmetadata", () => { if (!video.srcObject) size(video.videoWidth, video.videoHeight); });
byId("file").addEventListener("change", ({ target }) => { if (target.files.length) startFilm(target.files[0]); target.value = ""; });
byId("cancel").addEventListener("click", () => films.cancel());
stage.addEventListener("dragover", (event) => {
  if (source() === "film") { event.preventDefault(); stage.classList.add("dropping"); }
});
stage.addEventListener("dragleave", () => stage.classList.remove("dropping"));
stage.addEventListener("drop", (event) => {
  stage.classList.remove("dropping");
  if (source() !== "film" || !event.dataTransfer.files.length) return;
  event.preventDefault();
  startFilm(event.dataTransfer.files[0]);
});

// A stream of the server's
let watching = false;
const STATES = { stalled: "No pictures come from the source", lost: "The source is lost; the server tries again …", ended: "The stream has ended" };
const stream = new Stream({
  hello,
  picture(bitmap, message) {
    if (picture.width !== bitmap.width || picture.height !== bitmap.height) {
      [picture.width, picture.height] = [bitmap.width, bitmap.height];
      size(bitmap.width, bitmap.height);
    }
    picture.getContext("2d", { alpha: false }).drawImage(bitmap, 0, 0);
    shown();
    show(message, false);
    card.timing(message.ms.total, message.ms);
  },
  events(message) {
    if (message.type === "recent") for (const event of message.events) timeline.closed(event);
    else happened(message.closed, message.opened);
  },
  source(message) {
    badge(STATES[message.state]);
    if (message.state !== "running") overlay.clear();
  },
  lost(reason, final) {
    badge(final ? null : `${sentence(reason)}; trying again …`);
    overlay.clear();
    if (final) { stopWatching(); problem(`${sentence(reason)}.`); }
  },
});

function shown() { byId("empty").hidden = true; }

function startWatching() {
  problem();
  watching = true;
  timeline.clear(null, "stream");
  card.reset("Nobody yet", "The answer appears as soon as somebody is in the picture.");
  byId("watch").textContent = "Stop";
  byId("watch").classList.remove("primary");
  stream.start();
}

function stopWatching() {
  watching = false;
  stream.stop();
  byId("watch").textContent = "Watch";
  byId("watch").classList.add("primary");
  badge();
  empty("Watch the stream that this server follows.");
}

byId("watch").addEventListener("click", () => (watching ? stopWatching() : startWatching()));

// Which source
const source = () => document.querySelector("input[name=source]:checked").value;
const HINTS = {
  camera: "Start your camera to see what the recogniser sees.",
  film: "Choose a film, or drop one here. It is deleted from the server when it is answered.",
  stream: "Watch the stream that this server follows.",
};

function choose() {
  if (camera.running) stopCamera();
  if (watching) stopWatching();
  if (!byId("cancel").hidden) films.cancel();
  const now = source();
  film = null;
  problem();
  badge();
  video.pause();
  video.removeAttribute("src");
  video.load();
  video.controls = false;
  stage.classList.remove("with-controls");
  stage.style.aspectRatio = "";
  video.hidden = now === "stream";
  picture.hidden = now !== "stream";
  video.classList.toggle("mirrored", now === "camera" && byId("mirror").checked);
  for (const kind of ["camera", "film", "stream"]) byId(`${kind}-controls`).hidden = kind !== now;
  byId("film-name").textContent = "or drop one on the picture";
  byId("now").classList.toggle("film", now === "film");
  timeline.clear(null, now);
  card.reset("Nobody yet", "The answer appears as soon as somebody is in the picture.");
  empty(HINTS[now]);
}

byId("sources").addEventListener("change", choose);

// Light or dark
function theme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  byId("theme").textContent = dark ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", dark ? "Use light colours" : "Use dark colours");
}
theme(document.documentElement.dataset.theme === "dark");
byId("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme !== "dark";
  theme(dark);
  try { localStorage.setItem("kinema-theme", dark ? "dark" : "light"); } catch { /* storage may be forbidden */ }
});

fetch("api/status").then((response) => response.json()).then((status) => {
  limits = status;
  byId("stream-choice").hidden = !status.stream;
  byId("stream-name").textContent = status.stream ?? "";
  if (status.stream && !camera.running && source() === "camera") {
    document.querySelector("input[value=stream]").checked = true;
    choose();
  }
}).catch(() => problem("The server does not answer. Is it still running?"));

choose();
