"use strict";
// what of an item is about (name -> values, a line each) against what was chosen (name -> value, "" for all)
const fits = (about, wanted) => Object.entries(wanted).every(([name, value]) =>
  !value || (about[name] ?? "").split("\n").includes(value));

// what a cell is sorted by: its first number, or its text; null where it is empty
const sortKey = (text, numeric) => {
  const words = text.trim().replace(/\u2212/g, "-");
  if (!words || words === "-" || words === "\u2013") return null;
  const number = numeric ? words.match(/[-+]?\d+(\.\d+)?/) : null;
  return number ? Number(number[0]) : words.toLowerCase();
};

// the places of keys in order; empty ones stay last, and equal ones as they are
const sorted = (keys, descending) => keys.map((_, place) => place).sort((a, b) => {
  const [x, y] = [keys[a], keys[b]];
  if (x === null || y === null) return (x === null) - (y === null) || a - b;
  const order = typeof x === typeof y ? (x > y) - (x < y) : (typeof x === "string") - (typeof y === "string");
  return (descending ? -order : order) || a - b;
});

const sortable = (table) => {
  const body = table.tBodies[0], rows = [...body.rows];
  if (rows.length < 2) return;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort"); // a third click puts the rows back as they were
      const next = now === null ? "ascending" : now === "ascending" ? "descending" : null;
      [...table.tHead.rows[0].cells].forEach((other) => other.removeAttribute("aria-sort"));
      if (next) head.setAttribute("aria-sort", next);
      const text = (row) => (row.cells[column].querySelector(".ours") ?? row.cells[column]).textContent;
      const keys = rows.map((row) => sortKey(text(row), head.classList.contains("number")));
      const places = next ? sorted(keys, next === "descending") : rows.keys();
      body.append(...[...places].map((place) => rows[place]));
    });
  });
};

const sections = () => {
  const fold = document.getElementById("fold"), parts = [...document.querySelectorAll(".study > details")];
  const tell = () => { fold.textContent = parts.some((part) => part.open) ? "Fold all" : "Unfold all"; };
  if (fold) {
    fold.hidden = false;
    fold.addEventListener("click", () => {
      const open = !parts.some((part) => part.open);
      parts.forEach((part) => { part.open = open; });
    });
    parts.forEach((part) => part.addEventListener("toggle", tell));
  }
  // a closed <details> is not printed
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll(".study > details:not([open]), details.failed:not([open])")];
    closed.forEach((details) => { details.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((details) => { details.open = false; }));
};

const filters = (form) => {
  const selects = [...form.querySelectorAll("select")];
  const shown = document.getElementById("shown");
  let place = ""; // the section that the address names

  // hides what does not fit; [how many are left, how many there are]
  const sift = (items, wanted) => {
    items.forEach((item) => { item.hidden = !fits(item.dataset, wanted); });
    return [items.filter((item) => !item.hidden).length, items.length];
  };

  const apply = () => {
    const wanted = Object.fromEntries(selects.map(({ name, value }) => [name, value]));
    const chosen = selects.filter((select) => select.value);
    const rows = [0, 0], pictures = [0, 0];
    const add = (sum, [left, all]) => { sum[0] += left; sum[1] += all; return left; };
    for (const study of document.querySelectorAll(".study")) {
      let left = 0;
      for (const table of study.querySelectorAll("figure.table")) {
        const found = sift([...table.querySelectorAll("tbody tr")], wanted);
        left += add(rows, found);
        table.hidden = found[0] === 0 && found[1] > 0;
      }
      left += add(pictures, sift([...study.querySelectorAll("figure.picture")], wanted));
      for (const list of study.querySelectorAll("details.runs")) {
        const [few] = sift([...list.querySelectorAll("li")], wanted);
        list.querySelector(".count").textContent = few;
      }
      const empty = chosen.length > 0 && left === 0;
      study.classList.toggle("empty", empty);
      study.querySelector(".none").hidden = !empty;
      document.querySelector(`[data-summary="${CSS.escape(study.id)}"]`)?.classList.toggle("empty", empty);
    }
    selects.forEach((select) => select.classList.toggle("chosen", Boolean(select.value)));
    shown.classList.toggle("filtered", chosen.length > 0);
    const choice = chosen.map((one) => `${one.labels[0].firstChild.data.trim()}: ${one.selectedOptions[0].text}`).join(", ");
    const figures = pictures[1] ? ` and ${pictures[0]} of ${pictures[1]} figures` : "";
    shown.textContent = `${choice ? `${choice}. ` : ""}${rows[0]} of ${rows[1]} rows${figures} shown.`;
  };

  const write = () => {
    const wanted = new URLSearchParams();
    selects.forEach(({ name, value }) => { if (value) wanted.set(name, value); });
    const filtered = wanted.toString();
    if (place && filtered) wanted.set("at", place);
    const fragment = filtered ? wanted.toString() : place;
    history.replaceState(null, "", fragment ? `#${fragment}` : location.pathname + location.search);
  };

  const read = () => {
    const fragment = location.hash.slice(1);
    const plain = fragment !== "" && !fragment.includes("="); // a link to a section leaves the filters as they are
    if (plain) place = fragment;
    else {
      const wanted = new URLSearchParams(fragment);
      selects.forEach((select) => {
        select.value = wanted.get(select.name) ?? "";
        if (select.selectedIndex < 0) select.value = "";
      });
      place = wanted.get("at") ?? "";
    }
    apply();
    if (place) {
      const there = document.getElementById(place);
      there?.querySelector("details")?.setAttribute("open", "");
      there?.scrollIntoView();
    }
    if (plain) write();
  };

  form.hidden = shown.hidden = false;
  form.addEventListener("change", () => { apply(); write(); });
  form.addEventListener("reset", () => setTimeout(() => { apply(); write(); })); // the form is emptied after the event
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", read);
  read();
};

if (typeof document !== "undefined") {
  sections();
  document.querySelectorAll("figure.table table").forEach(sortable);
  const form = document.getElementById("filters");
  if (form) filters(form);
}
