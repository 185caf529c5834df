// The list of jobs and the head of a job: a click on a row opens it, one menu is open at a time, and what can be done is
// what can be done in the job's present state.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  const row = event.target.closest("tr[data-href]");
  if (!row || event.target.closest("a, button, input, label, summary, .tick") || getSelection()?.toString()) return;
  if (event.ctrlKey || event.metaKey) open(row.dataset.href, "_blank", "noopener");
  else location.assign(row.dataset.href);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
  if (event.key === "x" && !event.target.matches("input, textarea, select")) {
    document.querySelector('tr[aria-selected="true"] input[type="checkbox"]')?.click();
  }
});

const state = () => document.querySelector("#summary .verdict")?.className;
let known = state();
document.addEventListener("htmx:after:swap", async () => {
  if (state() === known) return;
  known = state();
  const answer = await fetch(location.href).catch(() => null);
  if (!answer?.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector(".head .actions");
  document.querySelector(".head .actions").replaceWith(fresh);
});
