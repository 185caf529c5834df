// Curves. Metrics of one run that end in the same word share a picture (train/loss and val/loss); of several runs, each
// metric has its own, with one curve per run.
const COLOURS = ["#4f6bed", "#e0762b", "#1f9d5b", "#b04ad0", "#d13b5b", "#12939a", "#a8851a", "#7a7f8a"];
const BYTES = ["B", "KiB", "MiB", "GiB", "TiB"];
const drawn = new WeakMap();

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function written(value, bytes, digits = bytes ? 3 : 4) {
  if (value == null) return "—";
  if (!bytes) return Math.abs(value) >= 1e5 || (value && Math.abs(value) < 1e-3) ? value.toExponential(2) : String(+value.toPrecision(digits));
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < BYTES.length - 1) { value /= 1024; unit += 1; }
  return `${+value.toPrecision(digits)} ${BYTES[unit]}`;
}

// As many digits as it takes for no two marks of an axis to read the same.
function marks(ticks, bytes) {
  const tries = [3, 4, 5, 6].map((digits) => ticks.map((tick) => written(tick, bytes, digits)));
  return tries.find((texts) => new Set(texts).size === texts.length) ?? tries.at(-1);
}

function pictures(plots) {
  const several = new Set(plots.flatMap((plot) => plot.runs.map((run) => run.job))).size > 1;
  const order = [...new Set(plots.flatMap((plot) => plot.runs.map((run) => run.job)))];
  if (several) {
    return plots.map((plot) => ({ title: plot.name, curves: plot.runs.map((run) => ({ ...run, label: run.job, colour: COLOURS[order.indexOf(run.job)] })) }));
  }
  const groups = new Map();
  for (const plot of plots) {
    const word = plot.name.split("/").at(-1);
    const group = groups.get(word) ?? [];
    groups.set(word, [...group, { ...plot.runs[0], label: plot.name }]);
  }
  return [...groups.values()].map((curves) => ({
    title: curves.length === 1 ? curves[0].label : curves[0].label.split("/").at(-1),
    curves: curves.map((curve, index) => ({ ...curve, colour: COLOURS[index % COLOURS.length] })),
  }));
}

function draw(picture, resources) {
  const box = document.createElement("figure");
  box.className = "plot";
  box.style.margin = "0";
  const title = document.createElement("h3");
  const name = document.createElement("span");
  name.textContent = picture.title;
  const readout = document.createElement("output");
  title.append(name, readout);
  box.append(title);
  const bytes = resources && /memory$/.test(picture.title);
  const table = uPlot.join(picture.curves.map((curve) => [curve.steps, curve.values]));
  const axis = { stroke: style("--muted"), grid: { stroke: style("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  const lasts = picture.curves.map((curve) => curve.values.at(-1));
  const tell = (index) => {
    const values = index == null ? lasts : picture.curves.map((_, series) => table[series + 1][index]);
    const at = index == null ? "" : `${resources ? `${table[0][index]} s` : `step ${table[0][index]}`}: `;
    readout.textContent = at + values.slice(0, 4).map((value) => written(value, bytes)).join("  ");
  };
  const plot = new uPlot({
    width: 300, height: 150,
    scales: { x: { time: false } },
    legend: { show: false },
    cursor: { y: false, points: { size: 6 }, drag: { x: true, y: false } },
    axes: [{ ...axis, size: 26, values: (_, ticks) => marks(ticks, false) }, { ...axis, size: 62, values: (_, ticks) => marks(ticks, bytes) }],
    series: [{}, ...picture.curves.map((curve) => ({ label: curve.label, stroke: curve.colour, width: 1.5, spanGaps: true, points: { show: curve.steps.length < 3 } }))],
    hooks: { setCursor: [(self) => tell(self.cursor.idx)] },
  }, table, box);
  tell(null);
  if (picture.curves.length > 1) {
    const keys = document.createElement("figcaption");
    keys.className = "keys-of";
    for (const curve of picture.curves) {
      const key = document.createElement("span");
      const swatch = document.createElement("i");
      swatch.className = `swatch s${COLOURS.indexOf(curve.colour)}`;
      key.append(swatch, curve.label);
      keys.append(key);
    }
    box.append(keys);
  }
  new ResizeObserver(() => { if (box.clientWidth && Math.abs(plot.width - box.clientWidth) > 1) plot.setSize({ width: box.clientWidth, height: 150 }); }).observe(box);
  return box;
}

async function show(panel) {
  const last = drawn.get(panel);
  if (last && Date.now() - last.at < 4000) return;
  const answer = await fetch(panel.dataset.plots).catch(() => null);
  if (!answer?.ok) return;
  const text = await answer.text();
  drawn.set(panel, { at: Date.now(), text });
  if (text === last?.text && !panel.dataset.stale) return;
  const { plots } = JSON.parse(text);
  const resources = panel.dataset.plots.includes("part=resources");
  if (plots.length) {
    panel.closest("[hidden]")?.removeAttribute("hidden"); // a job writes its first ones after its page was opened
    panel.replaceChildren(...pictures(plots).map((picture) => draw(picture, resources)));
  }
  delete panel.dataset.stale;
}

const panels = [...document.querySelectorAll("[data-plots]")];
for (const panel of panels) show(panel);
document.addEventListener("changed", (event) => {
  for (const panel of panels) if (panel.dataset.job && (!event.detail || event.detail.includes(panel.dataset.job)) && !panel.matches(":hover")) show(panel);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const panel of panels) { panel.dataset.stale = "1"; drawn.delete(panel); show(panel); }
});
