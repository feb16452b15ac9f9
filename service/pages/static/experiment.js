import { ask, axis, badge, bar, cell, follow, layers, make, moment, notice, number, percent, plural, progress, seconds, show, small, table, underWay, unfold, workers } from "./common.js";
import { embeddings } from "./embeddings.js";
import { report, stages } from "./report.js";

const page = document.getElementById("experiment");
const address = `/v1/experiments/${page.dataset.id}`;
const ended = new Set(["finished", "failed", "cancelled"]);

function actions({ state, retryable }) {
  const button = (verb, label, style, question) => make("button", {
    type: "button", class: style, id: verb,
    onclick: async (event) => {
      if (question && !confirm(question)) return;
      event.target.disabled = true;
      try {
        await ask(`${address}/${verb}`, { method: "POST" });
        await look();
      } catch (error) {
        notice(error.message);
      } finally {
        event.target.disabled = false;
      }
    },
  }, label);
  const retry = retryable && state !== "cancelled" ? [button("retry", `Retry ${retryable} failed`, "")] : [];
  if (ended.has(state)) return retry;
  return [
    ...retry,
    state === "paused" ? button("resume", "Resume", "primary") : button("pause", "Pause", ""),
    button("cancel", "Cancel", "danger", "Cancel this experiment? What is finished stays; nothing more will be trained."),
  ];
}

const sentences = (lines) => lines.map((text) => make("p", { class: "quiet" }, text));

// Failed attempts, newest first; a log is fetched when somebody opens it.
function failures(found) {
  if (!found.items.length) return null;
  const log = (item) => unfold(`${item.task}/${item.attempt}`, "Log", make("pre", { class: "log" }, "…"), async () => {
    const all = await ask(`${address}/failures?log=true`);
    return all.items.find((other) => other.task === item.task && other.attempt === item.attempt)?.log || "(no log)";
  });
  const rows = found.items.map((item) => make("tr", {},
    make("th", { scope: "row" }, item.label, small(`attempt ${item.attempt} on ${item.worker}, ${moment(item.ended_at)}`)),
    cell(item.reason),
    cell(item.message.split("\n")[0] || "–", log(item)),
    cell(badge(item.task_state))));
  const more = found.total > found.items.length ? make("p", { class: "quiet" }, `and ${found.total - found.items.length} older ones`) : null;
  return make("section", {}, make("h2", {}, "Failures"), table(["Task", "Reason", "What happened", "Task now"], rows), more);
}

function tiles(item) {
  const tile = (label, done, most, note) => make("div", { class: "tile" },
    make("b", {}, `${done} / ${most}`), make("span", {}, note ? `${label} · ${note}` : label), bar(done, most, label));
  const running = item.stage_searches.reduce((sum, search) => sum + search.running, 0);
  return [
    tile("Stage searches decided", item.searches_decided, item.searches),
    tile("Trials", item.trials_finished, item.trials, running ? `${running} in training` : ""),
    item.fits ? tile("Fits at other seeds", item.fits_finished, item.fits) : null,
    tile("Test evaluations", item.evaluations_finished, item.evaluations),
  ];
}

// Parents before children, and every child below its parent: [search, indentation].
function tree(searches) {
  const children = new Map();
  for (const search of searches) {
    const known = searches.some((other) => other.id === search.parent);
    const parent = known ? search.parent : null;
    children.set(parent, [...(children.get(parent) || []), search]);
  }
  const lines = [];
  const walk = (parent, prefix) => {
    const list = children.get(parent) || [];
    list.forEach((search, index) => {
      const last = index === list.length - 1;
      lines.push([search, parent === null ? "" : `${prefix}${last ? "└─" : "├─"}`]);
      walk(search.id, parent === null ? "" : `${prefix}${last ? "   " : "│  "}`);
    });
  };
  walk(null, "");
  return lines;
}

function searches({ items }) {
  const phases = new Set(items.map((search) => search.phase)).size;
  const rows = tree(items).map(([search, branch]) => {
    const extra = [search.running ? `${search.running} running` : "", search.failed ? `${search.failed} failed` : ""].filter(Boolean);
    const name = page.dataset.dashboard && search.state !== "waiting"
      ? make("a", { href: `/studies/${encodeURIComponent(search.name)}`, title: `${search.name} in optuna-dashboard` }, ...layers(search.stage))
      : make("span", { title: search.name }, ...layers(search.stage));
    const facts = [phases > 1 ? `phase ${search.phase + 1}, ${plural(search.epochs, "epoch")}` : "", search.reused ? "taken over" : "",
      search.shared_with ? `shared with ${search.shared_with}` : ""].filter(Boolean);
    return make("tr", {},
      make("th", { scope: "row" }, make("div", { class: "node" }, branch ? make("span", { class: "branch" }, branch) : null,
        make("div", {}, name, facts.length ? small(facts.join(" · ")) : null))),
      cell(badge(search.state)),
      progress(search.finished, search.trials, extra.length ? ` · ${extra.join(" · ")}` : ""),
      number(percent(search.best_accuracy)),
      number(axis(search.incumbent, "learning_rate")),
      number(axis(search.incumbent, "regularization")),
      make("td", { class: "names" }, small(search.used_by.join(", "))));
  });
  return table(["Stage search", "State", "Trials", ">Best validation", ">Learning rate", ">Regularization", "Used by"], rows);
}

const look = follow(async () => {
  const [item, table, connected, failed, tsne] = await Promise.all([
    ask(address), ask(`${address}/report`), ask("/v1/workers"), ask(`${address}/failures`), ask(`${address}/embeddings`)]);
  document.title = `${item.name} · stagetune`;
  show("name", [item.name, item.state], () => [make("span", {}, `${item.name} `), badge(item.state)]);
  show("facts", [item, table.wall_seconds], () => [[item.dataset, `submitted ${moment(item.created_at)}`,
    item.finished_at ? `ended ${moment(item.finished_at)}` : "", table.wall_seconds === null ? "" : `wall time ${seconds(table.wall_seconds)}`,
    table.seeds.length > 1 ? `${table.seeds.length} seeds` : ""].filter(Boolean).join(" · ")]);
  show("budgets", table.budgets, sentences);
  show("conditions", table.conditions, sentences);
  show("actions", { state: item.state, retryable: failed.retryable }, actions);
  show("waiting", item.notes, (notes) => notes.map((text) => make("p", { class: "notice" }, text)));
  show("tiles", item, tiles);
  show("report", table, report);
  show("stages", table, stages);
  show("embeddings", { address, items: tsne, trained: table.variants.some((line) => line.state === "complete") }, embeddings);
  show("searches", { items: item.stage_searches }, searches);
  show("failures", failed, failures);
  show("workers", connected, workers);
  show("submission", item.submission, (submission) => JSON.stringify(submission, null, 2));
  return !ended.has(item.state) || tsne.some((embedding) => underWay.has(embedding.state));
});
