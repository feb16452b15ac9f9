import { ask, axis, badge, bar, bytes, cell, follow, half, layers, make, moment, notice, number, percent, progress, seconds, show, small, table, workers } from "./common.js";

const page = document.getElementById("experiment");
const address = `/v1/experiments/${page.dataset.id}`;
const quiet = new Set(["waiting", "running"]);
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

// Failed attempts, newest first; a log is fetched when somebody opens it.
function failures(found) {
  if (!found.items.length) return null;
  const log = (item) => {
    const text = make("pre", { class: "log" }, "…");
    const details = make("details", {}, make("summary", {}, "Log"), text);
    details.addEventListener("toggle", async () => {
      try {
        const all = await ask(`${address}/failures?log=true`);
        text.textContent = all.items.find((other) => other.task === item.task && other.attempt === item.attempt)?.log || "(no log)";
      } catch (error) {
        text.textContent = error.message;
      }
    }, { once: true });
    return details;
  };
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

const epochs = (count) => `${count} epoch${count === 1 ? "" : "s"}`;

function searches({ items }) {
  const phases = new Set(items.map((search) => search.phase)).size;
  const rows = tree(items).map(([search, branch]) => {
    const extra = [search.running ? `${search.running} running` : "", search.failed ? `${search.failed} failed` : ""].filter(Boolean);
    const name = page.dataset.dashboard && search.state !== "waiting"
      ? make("a", { href: `/studies/${encodeURIComponent(search.name)}`, title: `${search.name} in optuna-dashboard` }, ...layers(search.stage))
      : make("span", { title: search.name }, ...layers(search.stage));
    const facts = [phases > 1 ? `phase ${search.phase + 1}, ${epochs(search.epochs)}` : "", search.reused ? "taken over" : "",
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

function interval(value) {
  if (!value) return ["–"];
  return value.low === null ? [percent(value.mean)] : [percent(value.mean), small(`± ${(100 * half(value)).toFixed(2)}`)];
}

function trainingTime(line) {
  const value = line.mean_training_seconds;
  if (!value) return ["–"];
  return value.low === null ? [seconds(value.mean)] : [seconds(value.mean), small(`± ${seconds(half(value))}`)];
}

function report(data) {
  const phases = new Set(data.variants.map((line) => line.phase)).size > 1;
  // Of several stages each has its line in every column; a single one may take as many as it needs.
  const lines = (kind, line, text, draw = (shown) => [shown]) => make("td", { class: line.stages.length > 1 ? `${kind} lines` : kind },
    ...line.stages.map((stage) => make("div", { title: text(stage) }, ...draw(text(stage)))));
  const best = (axis) => Math.max(...data.variants.map((line) => line[axis]?.mean ?? -1));
  const tops = { training_accuracy: best("training_accuracy"), validation_accuracy: best("validation_accuracy"), test_accuracy: best("test_accuracy") };
  const accuracy = (line, axis, aside) => make("td", { class: line[axis]?.mean === tops[axis] ? "number best" : "number" },
    ...interval(line[axis]), aside ? small(aside) : null);
  const rows = data.variants.map((line) => make("tr", {},
    make("th", { scope: "row" }, line.architecture,
      small([line.label.replace(`${line.architecture} `, ""), phases ? `phase ${line.phase + 1}` : "", quiet.has(line.state) ? line.state : ""].filter(Boolean).join(" · ")),
      quiet.has(line.state) || line.state === "complete" ? null : badge(line.state)),
    lines("mono", line, (stage) => stage.stage, layers),
    lines("number", line, (stage) => axis(stage.hyperparameters, "learning_rate")),
    lines("number", line, (stage) => axis(stage.hyperparameters, "regularization")),
    accuracy(line, "training_accuracy"),
    accuracy(line, "validation_accuracy", line.published ? `paper ${percent(line.published.validation_accuracy)}` : ""),
    accuracy(line, "test_accuracy"),
    number(...trainingTime(line)),
    number(seconds(line.search_seconds), small(`${line.trials} trial${line.trials === 1 ? "" : "s"}`), line.shared_seconds ? small(`${seconds(line.shared_seconds)} shared`) : null),
    number(bytes(line.memory_bytes), line.analytic_memory_bytes ? small(`${bytes(line.analytic_memory_bytes)} analytic`) : null),
    number(bytes(line.resident_bytes))));
  const heads = ["Variant", "Stages", ">Learning rate", ">Regularization", ">Training acc.", ">Validation acc.", ">Test acc.", ">Training time", ">Search time", ">Memory", ">Resident"];
  const signed = (points) => `${points >= 0 ? "+" : "−"}${Math.abs(points).toFixed(1)}`;
  const points = (value) => [make("b", {}, signed(value.points)), ` (${signed(value.low)} to ${signed(value.high)})`];
  const taken = (line) => {
    const [first, second] = [line.total_effort ?? line.variant_effort, line.partial_effort ?? line.against_effort];
    const ratio = (value) => value.low === null ? value.ratio.toFixed(2) : `${value.ratio.toFixed(2)} (${value.low.toFixed(2)} to ${value.high.toFixed(2)})`;
    return [`trials ${first.trials} : ${second.trials}`, `passes ${first.passes} : ${second.passes}`,
      line.costs.seconds ? `${ratio(line.costs.seconds)} times the training seconds` : "",
      line.costs.memory === null ? "" : `${line.costs.memory.toFixed(2)} times the memory`].filter(Boolean).join(" · ");
  };
  const difference = (line, first, second) => make("li", {},
    `${first} minus ${second}${phases ? `, phase ${line.phase + 1}` : ""}: `, ...points(line.validation), " points on validation",
    ...(line.test === null ? [] : [", ", ...points(line.test), " on test"]), `: ${line.verdict}`, small(taken(line)));
  const gaps = data.gaps.filter((gap) => gap.validation !== null).map((gap) => difference(gap, gap.total, gap.partial));
  const leads = data.leads.map((lead) => difference(lead, lead.variant, lead.against));
  const started = data.variants.some((line) => line.state === "complete");
  const short = data.experiment.slice(0, 8);
  const command = (text) => make("code", {}, text);
  return [
    rows.length ? table(heads, rows) : make("p", { class: "quiet" }, "Rows appear as soon as the first stages are decided."),
    gaps.length ? make("ul", { class: "gaps" }, ...gaps) : null,
    leads.length ? make("ul", { class: "leads" }, ...leads) : null,
    data.notes.length ? make("ul", { class: "notes" }, ...data.notes.map((note) => make("li", {}, note))) : null,
    started ? make("p", { class: "quiet hint" }, "With figures: ", command(`stagetune report ${short} --format html -o report.html`),
      ". What each stage sees: ", command(`stagetune tsne ${short} --all`), ".") : null,
  ];
}

const look = follow(async () => {
  const [item, table, connected, failed] = await Promise.all([ask(address), ask(`${address}/report`), ask("/v1/workers"), ask(`${address}/failures`)]);
  document.title = `${item.name} · stagetune`;
  show("name", [item.name, item.state], () => [make("span", {}, `${item.name} `), badge(item.state)]);
  const budgets = new Set(item.stage_searches.map((search) => search.epochs));
  show("facts", [item, table.wall_seconds], () => [[item.dataset, budgets.size === 1 ? `${epochs([...budgets][0])} a stage` : "", `submitted ${moment(item.created_at)}`,
    item.finished_at ? `ended ${moment(item.finished_at)}` : "", table.wall_seconds === null ? "" : `wall time ${seconds(table.wall_seconds)}`,
    table.seeds.length > 1 ? `${table.seeds.length} seeds` : ""].filter(Boolean).join(" · ")]);
  show("conditions", table.conditions, (lines) => lines.map((text) => make("p", { class: "quiet" }, text)));
  show("actions", { state: item.state, retryable: failed.retryable }, actions);
  show("waiting", item.notes, (notes) => notes.map((text) => make("p", { class: "notice" }, text)));
  show("tiles", item, tiles);
  show("report", table, report);
  show("searches", { items: item.stage_searches }, searches);
  show("failures", failed, failures);
  show("workers", connected, workers);
  show("submission", item.submission, (submission) => JSON.stringify(submission, null, 2));
  return !ended.has(item.state) || item.evaluations_finished < item.evaluations;
});
