// One stream per tab. Events are hints: the parts of the page that they concern fetch themselves again.
const QUIET_MS = 10_000; // nothing for so long, not even a tick: what is shown may be old
const main = document.querySelector("main[data-stream]");
const light = document.getElementById("live-state");
const banner = document.getElementById("stale");

let source = null;
let heard = Date.now();
let fresh = new Date();
let pace = 1000;

function show(state, words) {
  light.dataset.state = state;
  light.querySelector("span").textContent = words;
  banner.hidden = state !== "stale";
  if (state === "stale") document.getElementById("stale-since").textContent = fresh.toISOString().slice(11, 19) + " UTC";
}

function alive(event) {
  heard = Date.now();
  fresh = new Date();
  pace = (JSON.parse(event.data).pace ?? pace / 1000) * 1000;
  show("on", "live");
}

// A part is fetched at once when the last fetch was a while ago, else as soon as its pace allows: never twice at a time.
const last = new WeakMap();
const due = new WeakMap();
function refresh(part) {
  if (due.has(part)) return;
  const wait = Math.max(0, (last.get(part) ?? 0) + pace - Date.now());
  due.set(part, setTimeout(() => {
    due.delete(part);
    last.set(part, Date.now());
    if (part.isConnected && !part.querySelector("dialog[open], details[data-menu][open]")) htmx.trigger(part, "live");
  }, wait));
}

function concerns(part, topics) {
  return part.dataset.live.split(" ").some((topic) => topics.has(topic) || (topics.has("job:*") && topic.startsWith("job:")));
}

function tell(topics) {
  for (const part of document.querySelectorAll("[data-live]")) if (concerns(part, topics)) refresh(part);
}

function open() {
  if (source) return;
  source = new EventSource(main.dataset.stream);
  source.addEventListener("hello", (event) => { alive(event); tell(new Set(["jobs", "tick", "job:*"])); });
  source.addEventListener("tick", (event) => { alive(event); tell(new Set(["tick"])); document.dispatchEvent(new Event("tick")); });
  source.addEventListener("changed", (event) => {
    heard = Date.now();
    const jobs = JSON.parse(event.data).jobs;
    tell(new Set(["jobs", ...(jobs === null ? ["job:*"] : jobs.map((job) => `job:${job}`))]));
    document.dispatchEvent(new CustomEvent("changed", { detail: jobs }));
  });
  source.addEventListener("bye", () => location.reload());
  // EventSource gives up for good on an answer that is no stream (a sign-in page, an error): try again ourselves.
  source.onerror = () => { if (source?.readyState === EventSource.CLOSED) { close(); setTimeout(open, 3000); } };
}

function close() {
  source?.close();
  source = null;
}

// A hidden tab needs no stream, and browsers allow few connections to one host. It catches up when it is seen again.
function attend() {
  if (document.hidden) close();
  else { heard = Date.now(); open(); }
}

if (main) {
  attend();
  document.addEventListener("visibilitychange", attend);
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => { if (event.persisted) attend(); });
  setInterval(() => { if (!document.hidden && Date.now() - heard > QUIET_MS) show("stale", "not live"); }, 1000);
}

// Relative times go on counting, by this machine's clock.
const SPANS = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];
function count() {
  for (const each of document.querySelectorAll("time[datetime]")) {
    const seconds = Math.round((Date.now() - Date.parse(each.dateTime)) / 1000);
    const [span, unit] = SPANS.find(([span]) => Math.abs(seconds) >= span) ?? [1, "s"];
    const words = `${Math.floor(Math.abs(seconds) / span)}${unit}`;
    const text = seconds < -1 ? `in ${words}` : `${words} ago`;
    if (each.textContent !== text) each.textContent = text;
  }
}
setInterval(count, 1000);

// Buttons that copy appear where copying works.
function offerCopies() {
  if (navigator.clipboard) for (const button of document.querySelectorAll(".copy[hidden]")) button.hidden = false;
}
offerCopies();
document.addEventListener("htmx:after:swap", () => { offerCopies(); count(); });
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  button.classList.add("done");
  setTimeout(() => button.classList.remove("done"), 1200);
});

// What cannot be undone asks first. Without scripts the browser's page comes after the action, and says what was done.
document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});

// A form that only chooses what is shown needs no button while there are scripts.
for (const form of document.querySelectorAll("form[data-auto]")) {
  form.querySelector("button").hidden = true;
  form.addEventListener("change", () => form.requestSubmit());
}
