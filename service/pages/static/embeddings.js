// The t-SNE pictures that an experiment has: how far they are, and drawn when somebody opens one.
import { ask, badge, cell, make, moment, number, seconds, small, table, unfold } from "./common.js";

const SIDE = 300;
const finished = (item) => item.state === "finished";

// As far apart around the circle as there are classes, light and dark in turn so that neighbours differ.
const colour = (label, classes) => `hsl(${(360 * label) / classes} 70% ${label % 2 ? 62 : 45}%)`;

// A dot for each point; both axes have one scale, as distances are all that a t-SNE means.
function picture(stage, index, labels, classes) {
  const ratio = 2;
  const canvas = make("canvas", { width: ratio * SIDE, height: ratio * SIDE, role: "img", "aria-label": `t-SNE of stage ${index + 1}, ${stage.stage}` });
  const draw = canvas.getContext("2d");
  const bound = (at, pick) => stage.coordinates.reduce((sum, point) => pick(sum, point[at]), stage.coordinates[0][at]);
  const [left, right, low, high] = [bound(0, Math.min), bound(0, Math.max), bound(1, Math.min), bound(1, Math.max)];
  const scale = (ratio * SIDE - 16) / Math.max(right - left, high - low, 1e-9);
  stage.coordinates.forEach(([x, y], point) => {
    draw.fillStyle = colour(labels[point], classes);
    draw.beginPath();
    draw.arc(ratio * SIDE / 2 + scale * (x - (left + right) / 2), ratio * SIDE / 2 - scale * (y - (low + high) / 2), ratio * 1.4, 0, 2 * Math.PI);
    draw.fill();
  });
  return make("figure", {}, canvas, make("figcaption", {}, `Stage ${index + 1}: ${stage.stage}`));
}

function drawn(embedding) {
  const classes = Math.max(...embedding.labels) + 1;
  const legend = [...new Set(embedding.labels)].sort((one, other) => one - other).map((label) => {
    const dot = make("i", {});
    dot.style.background = colour(label, classes);
    return make("span", {}, dot, embedding.class_names[label] ?? String(label));
  });
  return [
    make("div", { class: "pictures" }, ...embedding.stages.map((stage, index) => picture(stage, index, embedding.labels, classes))),
    make("p", { class: "legend quiet" }, ...legend),
  ];
}

export function embeddings({ address, items, trained }) {
  const short = address.split("/").pop().slice(0, 8);
  const command = make("code", {}, `stagetune tsne ${short} --all`);
  if (!items.length) {
    return trained ? [make("h2", {}, "t-SNE"), make("p", { class: "quiet" }, "What each stage sees is a picture that a worker makes when asked: ", command, ".")] : null;
  }
  const open = (item) => unfold(item.id, "Pictures", make("div", {}, "…"), async () => drawn(await ask(`${address}/embeddings/${item.id}`)));
  const phases = new Set(items.map((item) => item.phase)).size > 1;
  const facts = (item, ...more) => small([phases ? `phase ${item.phase + 1}` : "", `seed ${item.seed}`, ...more].filter(Boolean).join(" · "));
  const rows = items.map((item) => make("tr", {},
    make("th", { scope: "row" }, item.variants.join(", "), facts(item)),
    cell(badge(item.state), item.failure ? small(item.failure.split("\n")[0]) : null),
    number(String(item.stages.length)),
    number(String(item.points)),
    number(String(item.perplexity)),
    number(seconds(item.seconds)),
    cell(moment(item.created_at)),
    cell(finished(item)
      ? make("a", { href: `${address}/embeddings/${item.id}`, download: `tsne-${item.id.slice(0, 8)}.json` }, "Coordinates") : "–")));
  const shown = items.filter(finished);
  return [
    make("h2", {}, "t-SNE"),
    table(["Network", "State", ">Stages", ">Points", ">Perplexity", ">Time", "Asked for", "Download"], rows),
    ...shown.map((item) => make("div", { class: "embedding" }, make("b", {}, item.variants.join(", ")), " ",
      facts(item, `${item.points} points`, `perplexity ${item.perplexity}`), open(item))),
    make("p", { class: "quiet hint" }, "As files, and of every variant: ", command, "."),
  ];
}
