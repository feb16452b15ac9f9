// The report of an experiment: variants, their stages, the differences between them, trends and notes.
import { axis, badge, bytes, layers, make, number, percent, plural, seconds, small, table, underWay } from "./common.js";

const severalPhases = (data) => new Set(data.variants.map((line) => line.phase)).size > 1;

// A mean over seeds and, of several, half of its interval, one end of which may be cut off: a text each.
function spread(value, text, width = text) {
  if (!value) return ["–"];
  if (value.low === null) return [text(value.mean)];
  return [text(value.mean), `± ${width(Math.max(value.high - value.mean, value.mean - value.low))}`];
}
const measured = (value) => spread(value, percent, (width) => (100 * width).toFixed(2));
const apart = ([mean, ...width]) => [mean, ...width.map(small)];

function variant(line, phases) {
  return make("th", { scope: "row" }, line.architecture,
    small([line.label.replace(`${line.architecture} `, ""), phases ? `phase ${line.phase + 1}` : "", underWay.has(line.state) ? line.state : ""].filter(Boolean).join(" · ")),
    underWay.has(line.state) || line.state === "complete" ? null : badge(line.state));
}

// Of several stages each has its line in every column; a single one may take as many as it needs.
function lines(kind, line, text, draw = (shown) => [shown]) {
  return make("td", { class: line.stages.length > 1 ? `${kind} lines` : kind },
    ...line.stages.map((stage) => make("div", { title: text(stage) }, ...draw(text(stage)))));
}

function variants(data) {
  const phases = severalPhases(data);
  const best = (name) => Math.max(...data.variants.map((line) => line[name]?.mean ?? -1));
  const tops = { training_accuracy: best("training_accuracy"), validation_accuracy: best("validation_accuracy"), test_accuracy: best("test_accuracy") };
  const paper = (line, text) => (line.published ? small(`paper ${text(line.published)}`) : null);
  const accuracy = (line, name, aside) => make("td", { class: line[name]?.mean === tops[name] ? "number best" : "number" },
    ...apart(measured(line[name])), aside);
  const rows = data.variants.map((line) => make("tr", {},
    variant(line, phases),
    lines("mono", line, (stage) => stage.stage, layers),
    lines("number", line, (stage) => axis(stage.hyperparameters, "learning_rate")),
    lines("number", line, (stage) => axis(stage.hyperparameters, "regularization")),
    accuracy(line, "training_accuracy", paper(line, (told) => percent(told.training_accuracy))),
    accuracy(line, "validation_accuracy", paper(line, (told) => percent(told.validation_accuracy))),
    accuracy(line, "test_accuracy", null),
    number(...apart(spread(line.mean_training_seconds, seconds)), paper(line, (told) => seconds(told.seconds))),
    number(seconds(line.search_seconds), small(plural(line.trials, "trial")), line.shared_seconds ? small(`${seconds(line.shared_seconds)} shared`) : null,
      line.fit_seconds ? small(`fits ${seconds(line.fit_seconds)}`) : null),
    number(bytes(line.memory_bytes), line.analytic_memory_bytes ? small(`${bytes(line.analytic_memory_bytes)} analytic`) : null),
    number(bytes(line.resident_bytes))));
  return table(["Variant", "Stages", ">Learning rate", ">Regularization", ">Training acc.", ">Validation acc.", ">Test acc.", ">Training time", ">Search time", ">Memory", ">Resident"], rows);
}

const signed = (points) => `${points >= 0 ? "+" : "−"}${Math.abs(points).toFixed(1)}`;
const chance = (value) => (value < 0.001 ? "p < 0.001" : `p = ${Number(value.toPrecision(2))}`);

function taken(line) {
  const [first, second] = [line.total_effort ?? line.variant_effort, line.partial_effort ?? line.against_effort];
  const ratio = (value) => value.low === null ? value.ratio.toFixed(2) : `${value.ratio.toFixed(2)} (${value.low.toFixed(2)} to ${value.high.toFixed(2)})`;
  return [`trials ${first.trials} : ${second.trials}`, `passes ${first.passes} : ${second.passes}`,
    line.costs.seconds ? `${ratio(line.costs.seconds)} times the training seconds` : "",
    line.costs.memory === null ? "" : `${line.costs.memory.toFixed(2)} times the memory`].filter(Boolean).join(" · ");
}

function differences(data) {
  const points = (value) => [make("b", {}, signed(value.points)), ` (${signed(value.low)} to ${signed(value.high)})`];
  const adjusted = (line) => (line.adjusted_p_value === null ? "" : `, ${data.comparisons > 1 ? "adjusted " : ""}${chance(line.adjusted_p_value)}`);
  const difference = (line, first, second) => make("li", {},
    `${first} minus ${second}${severalPhases(data) ? `, phase ${line.phase + 1}` : ""}: `, ...points(line.validation), " points on validation",
    ...(line.test === null ? [] : [", ", ...points(line.test), " on test"]), `: ${line.verdict}${adjusted(line)}`, small(taken(line)));
  const list = (name, items) => (items.length ? make("ul", { class: name }, ...items) : null);
  return [
    list("gaps", data.gaps.filter((gap) => gap.validation !== null).map((gap) => difference(gap, gap.total, gap.partial))),
    list("leads", data.leads.map((lead) => difference(lead, lead.variant, lead.against))),
  ];
}

export function report(data) {
  const short = data.experiment.slice(0, 8);
  const command = (text) => make("code", {}, text);
  return [
    data.variants.length ? variants(data) : make("p", { class: "quiet" }, "Rows appear as soon as the first stages are decided."),
    ...differences(data),
    data.notes.length ? make("ul", { class: "notes" }, ...data.notes.map((note) => make("li", {}, note))) : null,
    data.variants.some((line) => line.state === "complete")
      ? make("p", { class: "quiet hint" }, "With figures: ", command(`stagetune report ${short} --format html -o report.html`), ".") : null,
  ];
}

// What each stage has reached by itself, and what hyperparameters do from stage to stage.
export function stages(data) {
  const told = data.variants.filter((line) => line.stages.some((stage) => stage.validation_accuracy !== null));
  if (!told.length) return null;
  const phases = severalPhases(data);
  // Features that were to be recomputed are part of the recipe, and no remark.
  const elsewhere = (stage) => data.recipe.cached_features && Object.keys(stage.features).some((place) => place !== "memory");
  const remarks = (stage) => [
    stage.stagnating ? `below its prefix, ${stage.stagnating_beyond_noise ? "beyond" : "within"} the noise` : "",
    stage.second_round ? "second round" : "",
    stage.confirmed_accuracy === null ? "" : `${percent(stage.confirmed_accuracy)} confirmed`,
    elsewhere(stage) ? `features: ${places(stage.features)}` : "",
  ].filter(Boolean).join(" · ") || "–";
  const rows = told.map((line) => make("tr", {},
    variant(line, phases),
    lines("mono", line, (stage) => stage.stage, layers),
    lines("number", line, (stage) => percent(stage.validation_accuracy)),
    lines("number", line, (stage) => measured(stage.head_test_accuracy).join(" ")),
    lines("number", line, (stage) => measured(stage.knn_test_accuracy).join(" ")),
    lines("number", line, (stage) => seconds(stage.training_seconds)),
    lines("number", line, (stage) => seconds(stage.feature_seconds)),
    lines("number", line, (stage) => bytes(stage.memory_bytes)),
    lines("remarks", line, remarks)));
  return [
    make("h2", {}, "Stages"),
    table(["Variant", "Stages", ">Validation acc.", ">Head, test", ">k-NN, test", ">Training time", ">Features time", ">Memory", "Remarks"], rows),
    data.trends.length ? make("ul", { class: "trends" }, ...data.trends.map((trend) => make("li", {}, trend.sentence))) : null,
  ];
}

const places = (features) => Object.entries(features).map(([place, trainings]) => `${place} ${trainings}`).join(", ");
