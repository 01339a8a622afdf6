"use strict";
// What can be chosen on the page: the order of the leaderboard, its budget, the lines to point out, the matrices.

const byId = (id) => document.getElementById(id);

function sortable(table) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const status = byId("ranking-status");
  function sortBy(head, order) {
    const column = head.cellIndex;
    const sign = order === "ascending" ? 1 : -1;
    const key = (row) => row.cells[column].dataset.value;
    const number = head.dataset.kind === "number";
    const compare = (a, b) => {
      if (a === "" || b === "") return (a === "") - (b === "");  // what is missing comes last in either order
      return sign * (number ? a - b : a.localeCompare(b, "en", { numeric: true }));
    };
    const rows = [...body.rows].map((row) => [key(row), row]);
    body.append(...rows.sort((a, b) => compare(a[0], b[0])).map(([, row]) => row));
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    status.textContent = `sorted by ${head.textContent.trim()}, ${order}`;
  }
  for (const head of heads) {
    const button = head.querySelector("button");
    if (!button) continue;
    button.addEventListener("click", () => {
      const first = head.dataset.first;
      const now = head.getAttribute("aria-sort");
      const other = first === "ascending" ? "descending" : "ascending";
      sortBy(head, now === first ? other : first);
    });
  }
  const budget = byId("ranking-epochs");
  budget?.addEventListener("change", () => {
    for (const row of body.rows) row.hidden = budget.value !== "" && row.dataset.epochs !== budget.value;
  });
}

// One variant at a time is pointed out: in every figure, in the tables, in the legends.
function pickable() {
  const all = [...document.querySelectorAll("[data-name]")];
  const legends = [...document.querySelectorAll("[data-pointed]")];
  const select = byId("pick");
  let picked = "";
  function pick(name) {
    picked = name;
    for (const one of all) {
      const here = name !== "" && one.dataset.name === name;
      one.classList.toggle("picked", here);
      if (here && one.matches("svg *")) one.parentNode.append(one);  // on top of the others
    }
    for (const legend of legends) {
      const shown = legend.id === "pointed" || legend.closest("figure").querySelector(".picked");
      legend.hidden = !(name && shown);
      legend.textContent = name + (legend.id === "pointed" ? " (Escape clears)" : "");
    }
    if (select) select.value = name;
    document.dispatchEvent(new CustomEvent("picked", { detail: name }));
  }
  document.documentElement.classList.add("scripted");
  document.addEventListener("click", (event) => {
    const named = event.target.closest(".series, tr[data-name]");
    if (named && getSelection().isCollapsed) pick(named.dataset.name === picked ? "" : named.dataset.name);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && picked !== "") pick("");
  });
  select?.addEventListener("change", () => pick(select.value));
}

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function matrices({ classes, rows }) {
  const [left, right] = [byId("matrix-left"), byId("matrix-right")];
  const fixed = (value, digits = 1) => value.toFixed(digits).replace("-", "−");
  const signed = (value, digits = 1) => (+value.toFixed(digits) > 0 ? "+" : "") + fixed(value, digits);
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  for (const row of rows) {  // counts over all seeds become per cent of a class
    const totals = classes.map((_, line) => sum(row.counts.slice(10 * line, 10 * line + 10)));
    row.images = totals.map((total) => total / row.seeds);
    row.cells = row.counts.map((count, place) => 100 * count / Math.max(totals[Math.floor(place / 10)], 1));
    row.accuracy = 100 * sum(row.counts.filter((_, place) => place % 11 === 0)) / Math.max(sum(row.counts), 1);
    row.name = `${row.variant} · ${row.epochs} epoch${row.epochs === 1 ? "" : "s"}`;
  }
  for (const select of [left, right]) {
    rows.forEach((row, place) => select.append(element("option", row.name, { value: place })));
    select.addEventListener("change", draw);
  }

  const caption = (row) => `${row.name}: accuracy ${row.accuracy.toFixed(2)} %, mean of ${row.seeds} seed${row.seeds === 1 ? "" : "s"}`;

  function cell(place, value, most, images) {
    const [row, column] = [Math.floor(place / 10), place % 10];
    const hit = row === column;
    const difference = images === null;
    const made = element("td", +value.toFixed(1) === 0 ? "" : difference ? signed(value) : fixed(value));
    const what = hit ? `${classes[row]} recognised` : `${classes[row]} taken for ${classes[column]}`;
    made.title = `${what}: ${difference ? `${signed(value)} points` : `${fixed(value)} % of ${images[row]} images`}`;
    made.classList.toggle("hit", hit);
    if (made.textContent === "") return made;
    made.classList.add((difference ? (value > 0) === hit : hit) ? "good" : "bad");
    made.style.setProperty("--strength", (0.1 + 0.9 * Math.sqrt(Math.abs(value) / most)).toFixed(3));
    return made;
  }

  function table(words, cells, images) {
    const made = document.createElement("table");
    made.append(element("caption", words));
    const head = made.createTHead().insertRow();
    head.append(element("td", ""));
    for (const name of classes) head.append(element("th", name, { scope: "col" }));
    head.firstChild.style.background = "none";
    const most = (hits) => Math.max(1, ...cells.filter((_, place) => (place % 11 === 0) === hits || images === null).map(Math.abs));
    const scales = [most(true), most(false)];
    const body = made.createTBody();
    classes.forEach((name, row) => {
      const line = body.insertRow();
      line.append(element("th", name, { scope: "row" }));
      for (let place = 10 * row; place < 10 * row + 10; place += 1) {
        line.append(cell(place, cells[place], scales[place % 11 === 0 ? 0 : 1], images));
      }
    });
    const box = element("div", "", { class: "scroll", role: "region", "aria-label": `confusion matrix, ${words}` });
    box.append(made);
    return box;
  }

  function draw() {
    const [one, other] = [rows[left.value], rows[right.value]];
    const drawn = [table(caption(one), one.cells, one.images)];
    if (other) {
      const words = `${one.name} minus ${other.name}: ${signed(one.accuracy - other.accuracy, 2)} points of accuracy`;
      drawn.push(table(caption(other), other.cells, other.images));
      drawn.push(table(words, one.cells.map((value, place) => value - other.cells[place]), null));
    }
    byId("matrix").replaceChildren(...drawn);
    drawn.forEach((box) => reachable.observe(box));
    byId("matrix-status").textContent = drawn.map((box) => box.querySelector("caption").textContent).join("; ");
  }

  const at = (test) => String(rows.findIndex(test)).replace("-1", "");
  left.value = "0";
  right.value = at((row, place) => row.baseline && row.epochs === rows[0].epochs && place > 0);
  document.addEventListener("picked", ({ detail }) => {
    const found = at((row) => row.variant === detail && row.epochs === rows[left.value].epochs);
    if (found !== "") left.value = found;
    draw();
  });
  draw();
}

function copyable(button) {
  const text = byId("command");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {  // a page from disk may lack the right: leave the text selected for the keyboard
      getSelection().selectAllChildren(text);
      button.textContent = "Selected: press Ctrl+C";
    }
  });
}

// What scrolls can be reached by keyboard; what does not is no stop on the way.
const reachable = new ResizeObserver((boxes) => {
  for (const { target } of boxes) {
    if (target.scrollWidth > target.clientWidth || target.scrollHeight > target.clientHeight) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});

for (const box of document.querySelectorAll("[role=region]")) reachable.observe(box);
for (const needs of document.querySelectorAll("[data-script]")) needs.hidden = false;
if (byId("ranking")) sortable(byId("ranking"));
if (byId("matrices")) matrices(JSON.parse(byId("matrices").textContent));
pickable();
if (byId("copy")) copyable(byId("copy"));
