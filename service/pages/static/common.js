// What all pages share: asking /v1, building elements (text is never read as HTML), and writing figures for people.

export class Refused extends Error {}

export async function ask(path, options = {}) {
  const answer = await fetch(path, { headers: { Accept: "application/json", ...options.headers }, ...options });
  if (answer.status === 401) {
    location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
    return new Promise(() => {});
  }
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw new Refused(problem.detail || `The server answered ${answer.status}.`);
  }
  return answer.status === 204 ? null : answer.json();
}

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function table(heads, rows) {
  const head = heads.map((text) => make("th", { scope: "col", class: text.startsWith(">") ? "number" : null }, text.replace(/^>/, "")));
  return make("div", { class: "card table" }, make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows)));
}

export const cell = (...children) => make("td", {}, ...children);
export const number = (text, ...more) => make("td", { class: "number" }, text, ...more);
export const small = (text) => make("small", {}, text);
export const badge = (state) => make("span", { class: `badge ${state}` }, state);
export const bar = (value, most, label) => make("progress", { value, max: Math.max(most, 1), "aria-label": label });

export function progress(done, most, extra = "") {
  return make("td", { class: "progress" }, make("span", {}, `${done} / ${most}${extra}`), bar(done, most, `${done} of ${most}`));
}

export const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

// States of what will change by itself.
export const underWay = new Set(["waiting", "running"]);

export const percent = (fraction) => (fraction === null || fraction === undefined ? "–" : `${(100 * fraction).toFixed(2)} %`);

export function scientific(value) {
  if (value === null || value === undefined) return "–";
  const [mantissa, exponent] = value.toExponential(1).split("e");
  return `${mantissa}e${Number(exponent)}`;
}

// A stage that breaks between its layers only, never at a hyphen.
export const layers = (stage) => stage.split(" ").flatMap((layer, index) => [index ? " " : "", make("span", { class: "layer" }, layer)]);

// A point of hyperparameters along an axis: its base, with a factor from layer to layer, or after those of the layers.
export function axis(point, name) {
  if (!point) return "–";
  const more = Object.entries(point.more ?? {}).filter(([key]) => key.startsWith(name)).map(([key, value]) => [key.slice(name.length + 1), value]);
  const base = scientific(point[name]);
  const factor = more.find(([key]) => key === "factor");
  if (factor) return `${base} × ${Number(factor[1].toPrecision(2))}^k`;
  const layers = more.sort(([one], [other]) => one - other).map(([, value]) => scientific(value));
  return layers.length ? `${layers.join(", ")}, head ${base}` : base;
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 10) return `${value.toFixed(2)} s`;
  if (value < 100) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`;
}

export const moment = (text) => new Date(text).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });

export function notice(text) {
  const element = document.getElementById("notice");
  element.hidden = !text;
  element.textContent = text || "";
}

// Replace only what changed, so that a selection or an open menu survives the next look.
const shown = new Map();
export function show(id, data, draw) {
  const text = JSON.stringify(data);
  if (shown.get(id) === text) return;
  shown.set(id, text);
  document.getElementById(id).replaceChildren(...[draw(data)].flat().filter(Boolean));
}

// Details that are fetched when somebody opens them; one `key` is one element, which stays as it is when all around it is
// drawn anew. What could not be fetched is tried again the next time it is opened.
const unfolded = new Map();
export function unfold(key, title, place, fetched) {
  if (unfolded.has(key)) return unfolded.get(key);
  const details = make("details", {}, make("summary", {}, title), place);
  let asked = false;
  details.addEventListener("toggle", async () => {
    if (!details.open || asked) return;
    asked = true;
    try {
      place.replaceChildren(...[await fetched()].flat());
    } catch (error) {
      asked = false;
      place.replaceChildren(error.message);
    }
  });
  unfolded.set(key, details);
  return details;
}

// Look every `period` ms while the page is visible and `look` does not return false.
export function follow(look, period = 2000) {
  let timer = null;
  async function turn() {
    clearTimeout(timer);
    let again = true;
    if (!document.hidden) {
      try {
        again = (await look()) !== false;
        notice("");
      } catch (error) {
        notice(error instanceof Refused ? error.message : "The server does not answer; trying again …");
      }
    }
    if (again) timer = setTimeout(turn, period);
  }
  document.addEventListener("visibilitychange", () => document.hidden || turn());
  turn();
  return turn;
}

export function workers(list) {
  if (list.length === 0) {
    return make("p", { class: "quiet" }, "No worker is connected. ", make("code", {}, "stagetune worker --server URL --token TOKEN"), " starts one.");
  }
  const rows = list.map((worker) => make("tr", {},
    make("th", { scope: "row" }, worker.name),
    cell(badge(worker.state)),
    cell(worker.info.device || worker.device, worker.info.device ? small(worker.device) : null),
    number(`${worker.leases} / ${worker.slots}`),
    make("td", { class: "names" }, worker.datasets.join(", ")),
    cell(moment(worker.last_seen_at))));
  return table(["Worker", "State", "Device", ">Busy slots", "Data sets", "Last seen"], rows);
}

document.getElementById("logout")?.addEventListener("click", async () => {
  const answer = await fetch("/v1/logout", { method: "POST" });
  if (answer.ok) location.assign("/login");
  else window.alert("You are still logged in: the server refused for now. Try again in a minute.");
});
