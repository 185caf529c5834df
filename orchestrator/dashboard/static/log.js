// The log of a job as it is written. It has no stream of its own: when the tab's stream says that the job has something
// new, or comes back after a break, what follows the last line that is here is asked for. One question at a time, each
// after the end of what the one before brought: no line is lost, none comes twice.
const list = document.querySelector("ol[data-log]");

if (list) {
  const source = new URL(list.dataset.log, location.href);
  const follow = document.querySelector("[data-follow]");
  const pane = list.classList.contains("tail") ? list : document.scrollingElement;
  const KEEP = 5000; // lines; older ones are a link away
  let last = list.dataset.last;
  let asking = false;
  let again = false;
  let ended = false;

  const bottom = () => { pane.scrollTop = pane.scrollHeight; };

  async function ask() {
    if (asking) { again = true; return; }
    asking = true;
    try {
      for (let more = true; more && !ended;) {
        source.searchParams.set("after", last);
        const answer = await fetch(source);
        if (!answer.ok) break;
        const html = await answer.text();
        if (html.trim()) {
          list.insertAdjacentHTML("beforeend", html);
          document.querySelector("[data-nothing]")?.remove();
          while (list.childElementCount > KEEP) list.firstElementChild.remove();
        }
        last = answer.headers.get("X-Last");
        more = answer.headers.get("X-More") === "1";
        ended = !more && answer.headers.get("X-Ended") === "1";
        if (html.trim() && follow?.checked) bottom();
      }
    } catch { /* the stream's next word tries again */ }
    asking = false;
    if (again) { again = false; ask(); }
  }

  follow?.closest("label")?.removeAttribute("hidden");
  follow?.addEventListener("change", () => { if (follow.checked) bottom(); });
  // Scrolling up stops following, scrolling to the end goes on.
  (pane === list ? list : document).addEventListener("scroll", () => {
    if (follow) follow.checked = pane.scrollHeight - pane.scrollTop - pane.clientHeight < 60;
  }, { passive: true });
  document.addEventListener("changed", (event) => { if (!event.detail || event.detail.includes(list.dataset.job)) ask(); });
  document.addEventListener("tick", ask);
  if (pane === list && !location.hash) bottom();
  ask();
}

// A link to a line is copied by a click on its number, and stays on this page when the line is here.
document.addEventListener("click", (event) => {
  const number = event.target.closest(".log li > a");
  if (!number || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  history.replaceState(null, "", number.href);
  location.hash = number.closest("li").id;
});
