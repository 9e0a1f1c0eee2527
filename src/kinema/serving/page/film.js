// A film: sent with its progress shown, answered as a timeline, played with its skeletons laid over it.
export class Film {
  // shows: {progress(words, share), answer(answer), failed(words), cancelled()}
  constructor(shows) { this.shows = shows; }

  start(file, limits) {
    if (limits && file.size > limits.film_bytes) {
      this.shows.failed(`The film has ${megabytes(file.size)} MB; ${megabytes(limits.film_bytes)} at most are taken.`);
      return;
    }
    this.number = null;
    this.cancelled = false;
    const request = this.request = new XMLHttpRequest();
    request.open("POST", "api/films");
    request.responseType = "json";
    request.upload.onprogress = ({ loaded, total }) => this.shows.progress("Sending", loaded / total);
    request.onload = () => {
      if (request.status !== 202) { this.shows.failed(told(request.response?.error) ?? `The server said ${request.status}.`); return; }
      this.number = request.response.film;
      this.ask();
    };
    request.onerror = () => this.shows.failed("The connection to the server was lost while the film was sent.");
    request.onabort = () => this.shows.cancelled();
    this.shows.progress("Sending", 0);
    request.send(file);
  }

  async ask() {
    const number = this.number;
    for (let failures = 0; !this.cancelled && this.number === number;) {
      let film;
      try {
        const response = await fetch(`api/films/${number}`);
        film = await response.json();
        if (!response.ok) { this.shows.failed(told(film.error)); return; }
        failures = 0;
      } catch {
        failures += 1;
        if (failures > 5) { this.shows.failed("The connection to the server was lost."); return; }
        await pause(1000 * failures);
        continue;
      }
      if (this.cancelled) return;
      if (film.state === "done") {
        const whole = await (await fetch(`api/films/${number}?answer=true`)).json();
        this.shows.answer(whole.answer);
        return;
      }
      if (film.state === "failed" || film.state === "cancelled") { this.shows.failed(told(film.reason || film.state)); return; }
      this.shows.progress(film.state === "waiting" ? "Waiting for its turn" : "Looking", film.progress);
      await pause(400);
    }
  }

  cancel() {
    if (this.request && this.request.readyState < 4) { this.request.abort(); return; }
    this.cancelled = true;
    if (this.number) fetch(`api/films/${this.number}`, { method: "DELETE" }).catch(() => {});
    this.shows.cancelled();
  }
}

// The drawn moment nearest to a second, or nothing where none is near.
export function momentAt(track, seconds) {
  let low = 0, high = track.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (track[middle].time <= seconds) low = middle + 1; else high = middle;
  }
  const before = track[low - 1], after = track[low];
  const best = !before || (after && after.time - seconds < seconds - before.time) ? after : before;
  return best && Math.abs(best.time - seconds) < 0.6 ? best : null;
}

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const megabytes = (bytes) => Math.round(bytes / 2 ** 20);
const told = (words) => (words ? words.charAt(0).toUpperCase() + words.slice(1) + "." : null);
