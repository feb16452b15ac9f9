import { ask, badge, cell, follow, make, moment, progress, show, small, table, workers } from "./common.js";

const more = document.getElementById("more");
let limit = 50;

function rows(list) {
  if (list.length === 0) {
    return make("div", { class: "card" },
      make("p", {}, "Nothing has been submitted yet. This runs the eight networks of the paper's Table 1 on digits:"),
      make("pre", { class: "command" }, "stagetune submit demo"));
  }
  return table(["Experiment", "State", "Data set", "Trials", "Searches decided", "Submitted"], list.map((item) => make("tr", {},
    make("th", { scope: "row" }, make("a", { href: `/experiments/${item.id}` }, item.name), small(`${item.variants} variant${item.variants === 1 ? "" : "s"}`)),
    cell(badge(item.state)),
    cell(item.dataset),
    progress(item.trials_finished, item.trials),
    progress(item.searches_decided, item.searches),
    cell(moment(item.created_at)))));
}

const look = follow(async () => {
  const [page, connected] = await Promise.all([ask(`/v1/experiments?limit=${limit}`), ask("/v1/workers")]);
  show("list", page.items, rows);
  show("workers", connected, workers);
  more.hidden = page.next === null || limit >= 200;
});

more.addEventListener("click", () => {
  limit = 200;
  look();
});
