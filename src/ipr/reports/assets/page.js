"use strict";
(() => {
  // a closed <details> is not printed
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((details) => { details.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((details) => { details.open = false; }));

  const form = document.getElementById("filters");
  if (!form) return;
  const selects = [...form.querySelectorAll("select")];
  const shown = document.getElementById("shown");
  const studies = [...document.querySelectorAll(".study")];
  let place = ""; // the section that the address names

  const fits = (item) => selects.every(({ name, value }) =>
    !value || !(name in item.dataset) || item.dataset[name].split("\n").includes(value));

  // hides what does not fit; [how many are left, how many there are]
  const sift = (items) => {
    items.forEach((item) => { item.hidden = !fits(item); });
    return [items.filter((item) => !item.hidden).length, items.length];
  };

  const apply = () => {
    const rows = [0, 0], pictures = [0, 0];
    const add = (sum, [left, all]) => { sum[0] += left; sum[1] += all; return left; };
    for (const study of studies) {
      let left = 0, all = 0;
      for (const table of study.querySelectorAll("figure.table")) {
        const found = sift([...table.querySelectorAll("tbody tr")]);
        left += add(rows, found);
        all += found[1];
        table.hidden = found[0] === 0 && found[1] > 0;
      }
      const found = sift([...study.querySelectorAll("figure.picture")]);
      left += add(pictures, found);
      all += found[1];
      const folded = all > 0 && left === 0;
      study.classList.toggle("folded", folded);
      study.querySelector(".note").hidden = !folded;
      document.querySelector(`[data-summary="${CSS.escape(study.id)}"]`)?.classList.toggle("folded", folded);
    }
    const chosen = selects.filter((select) => select.value);
    selects.forEach((select) => select.classList.toggle("chosen", Boolean(select.value)));
    shown.classList.toggle("filtered", chosen.length > 0);
    const choice = chosen.map((select) => `${select.labels[0].firstChild.data.trim()}: ${select.value}`).join(", ");
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
    if (place) document.getElementById(place)?.scrollIntoView();
    if (plain) write();
  };

  form.hidden = shown.hidden = false;
  form.addEventListener("change", () => { apply(); write(); });
  form.addEventListener("reset", () => setTimeout(() => { apply(); write(); })); // the form is emptied after the event
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", read);
  read();
})();
