// The keyboard: / searches, j and k walk through rows, Enter opens one, g and a letter goes to a page, ? helps.
const PAGES = { o: "/", j: "/jobs", m: "/models", q: "/queues", w: "/workers", c: "/cost" };
let going = 0;

const rows = () => [...document.querySelectorAll("tr[data-href], [data-row][data-href]")];

// Rows that are drawn anew in between keep the mark.
let marked = null;
document.addEventListener("htmx:after:swap", () => {
  const row = marked && rows().find((each) => each.dataset.href === marked);
  if (row) row.setAttribute("aria-selected", "true");
});

function walk(step) {
  const all = rows();
  if (!all.length) return;
  const at = all.findIndex((row) => row.getAttribute("aria-selected") === "true");
  const next = all[Math.min(all.length - 1, Math.max(0, at + step))];
  for (const row of all) row.removeAttribute("aria-selected");
  next.setAttribute("aria-selected", "true");
  marked = next.dataset.href;
  next.scrollIntoView({ block: "nearest" });
}

const ACTIONS = {
  "/": () => (document.querySelector("[data-search]") ?? { focus: () => location.assign("/jobs?focus=1") }).focus(),
  j: () => walk(1),
  k: () => walk(-1),
  Enter: () => { const row = document.querySelector('[data-href][aria-selected="true"]'); if (row) location.assign(row.dataset.href); },
  "?": () => document.getElementById("keys")?.showModal(),
  g: () => { going = Date.now(); },
};

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && event.target.matches("[data-search]")) event.target.blur();
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.matches("input, textarea, select, [contenteditable]")) return;
  if (event.key === "Enter" && event.target.matches("a, button, summary")) return;
  const page = Date.now() - going < 1500 && PAGES[event.key];
  going = 0;
  if (page) { event.preventDefault(); location.assign(page); return; }
  const action = ACTIONS[event.key];
  if (!action) return;
  if (event.key !== "Enter") event.preventDefault();
  action();
});
