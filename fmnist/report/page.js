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

function pickable(select) {
  const series = [...document.querySelectorAll("svg.figure .series")];
  select.addEventListener("change", () => {
    for (const group of series) {
      const picked = select.value !== "" && group.dataset.name === select.value;
      group.classList.toggle("picked", picked);
      if (picked) group.parentNode.append(group);  // on top of the others
    }
  });
}

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function matrices({ classes, runs }) {
  const [left, right] = [byId("matrix-left"), byId("matrix-right")];
  const minus = (count) => String(count).replace("-", "−");
  const signed = (count) => (count > 0 ? "+" : "") + minus(count);
  function fill(select) {
    for (const epochs of new Set(runs.map((run) => run.epochs))) {
      const group = element("optgroup", "", { label: `${epochs} epoch${epochs === 1 ? "" : "s"}` });
      runs.forEach((run, place) => {
        if (run.epochs === epochs) group.append(element("option", run.name, { value: place }));
      });
      select.append(group);
    }
  }
  const wrong = (counts) => counts.reduce((sum, count, place) => sum + (place % 11 ? count : 0), 0);
  const total = (counts) => counts.reduce((sum, count) => sum + count, 0);

  function caption(one, other) {
    const share = (run) => `${(100 * (1 - wrong(run.counts) / total(run.counts))).toFixed(2)} %`;
    if (!other) return `${one.name}: ${wrong(one.counts)} of ${total(one.counts)} wrong, accuracy ${share(one)}`;
    const more = wrong(one.counts) - wrong(other.counts);
    const difference = more === 0 ? "as many wrong as" : `${Math.abs(more)} ${more > 0 ? "more" : "fewer"} wrong than`;
    return `${one.name} (${share(one)}) minus ${other.name} (${share(other)}): ${difference} the other`;
  }

  function cell(row, column, count, most, rowTotal, difference) {
    const hit = row === column;
    const good = difference ? (count > 0) === hit : hit;
    const made = element("td", count === 0 ? "" : difference ? signed(count) : count);
    const what = hit ? `${classes[row]} recognised` : `${classes[row]} taken for ${classes[column]}`;
    const share = rowTotal ? `, ${(100 * count / rowTotal).toFixed(1)} % of ${classes[row]}` : "";
    made.title = `${what}: ${difference ? signed(count) : count}${difference ? "" : share}`;
    if (hit) made.classList.add("hit");
    if (count === 0) return made;
    made.classList.add(good ? "good" : "bad");
    made.style.setProperty("--strength", (0.06 + 0.6 * Math.sqrt(Math.abs(count) / most)).toFixed(3));
    return made;
  }

  function draw() {
    const one = runs[left.value];
    const other = right.value === "" ? null : runs[right.value];
    const counts = one.counts.map((count, place) => count - (other ? other.counts[place] : 0));
    const table = document.createElement("table");
    table.append(element("caption", caption(one, other)));
    const head = table.createTHead().insertRow();
    head.append(element("td", "", { class: "corner" }));
    head.firstChild.style.background = "none";
    for (const name of classes) head.append(element("th", name, { scope: "col" }));
    const body = table.createTBody();
    const most = (hits) => Math.max(1, ...counts.filter((_, place) => (place % 11 === 0) === hits).map(Math.abs));
    const [mostHit, mostMiss] = other ? [most(true), most(false)].map((_, __, both) => Math.max(...both)) : [most(true), most(false)];
    classes.forEach((name, row) => {
      const line = body.insertRow();
      line.append(element("th", name, { scope: "row" }));
      const rowCounts = counts.slice(10 * row, 10 * row + 10);
      rowCounts.forEach((count, column) => {
        const scale = row === column ? mostHit : mostMiss;
        line.append(cell(row, column, count, scale, other ? 0 : total(rowCounts), other !== null));
      });
    });
    byId("matrix").replaceChildren(table);
    byId("matrix-status").textContent = caption(one, other);
    byId("matrix-counts").hidden = other !== null;
    byId("matrix-difference").hidden = other === null;
  }

  [left, right].forEach(fill);
  left.value = "0";
  right.value = "";
  [left, right].forEach((select) => select.addEventListener("change", draw));
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
if (byId("pick")) pickable(byId("pick"));
if (byId("matrices")) matrices(JSON.parse(byId("matrices").textContent));
if (byId("copy")) copyable(byId("copy"));
