// Plots and the tree. Nothing here asks the service; page.js hands over what it has.
"use strict";

const COLOURS = ["#0060a8", "#c22a22", "#1a7f4b", "#8a5a00", "#7a3fa0", "#008b8b", "#b5447a", "#5b6470", "#4f7a1f", "#a05a2c"];
const NAMES = { weight_norm_sq: "squared weight norm", train_loss: "training loss", learning_rate_first: "learning rate" };
const dark = matchMedia("(prefers-color-scheme: dark)");

function colourOf(index) {
  return COLOURS[index % COLOURS.length];
}

function styleOf(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Draw one plot per metric: a line per setting, and a band from the lowest to the highest of its seeds. */
function drawCurves(place, curves, shown, { log, bands }) {
  const known = (metric) => shown.some(({ setting }) => setting.metrics[metric]?.mean.some((value) => value !== null));
  const boxes = [curves.error, "train_loss", "weight_norm_sq", "learning_rate_first"].filter(known).map((metric) => {
    const box = document.createElement("div"), heading = box.appendChild(document.createElement("h3"));
    heading.textContent = metric === curves.error ? [curves.label, curves.unit].filter(Boolean).join(", ") : NAMES[metric] ?? metric;
    return { metric, box };
  });
  place.replaceChildren(...boxes.map(({ box }) => box)); // first, as a plot is as wide as its place
  for (const { metric, box } of boxes) drawPlot(box, metric, curves.epochs, shown, { log, bands, error: curves.error });
}

function drawPlot(box, metric, epochs, shown, { log, bands, error }) {
  const paths = metric.startsWith("learning_rate") ? uPlot.paths.stepped({ align: -1 }) : undefined;
  const spanGaps = metric === error; // it may be measured every few epochs
  const data = [epochs], series = [{ label: "epoch" }], areas = [];
  const positive = (values) => (log ? values.map((value) => (value !== null && value > 0 ? value : null)) : values);
  for (const { setting, colour } of shown) {
    const { mean, low, high } = setting.metrics[metric];
    data.push(positive(mean));
    const few = mean.filter((value) => value !== null).length < 3;
    series.push({ label: setting.label, stroke: colour, width: 1.6, paths, spanGaps, points: { show: few } });
    if (bands && setting.seeds > 1) {
      data.push(positive(high), positive(low));
      const edge = { stroke: "transparent", paths, spanGaps, points: { show: false } };
      series.push({ ...edge, label: "highest" }, { ...edge, label: "lowest" });
      areas.push({ series: [data.length - 2, data.length - 1], fill: colour + "2e" });
    }
  }
  const axis = { stroke: styleOf("--muted"), grid: { stroke: styleOf("--rule"), width: 1 } };
  const options = {
    width: Math.max(280, box.clientWidth),
    height: 230,
    series,
    bands: areas,
    legend: { show: false },
    scales: { x: { time: false }, y: { distr: log ? 3 : 1 } },
    axes: [{ ...axis, label: "epoch", labelSize: 18, size: 36 }, { ...axis, size: 62 }],
    cursor: { drag: { x: true, y: false } },
  };
  const plot = new uPlot(options, data, box);
  plot.root.setAttribute("role", "img");
  plot.root.setAttribute("aria-label", `${NAMES[metric] ?? metric} by epoch for ${shown.length} settings`);
}

/** Draw the tree of stretches that trials have in common: epochs to the right, one row for each path that ends. */
function drawTree(place, branches) {
  const last = Math.max(1, ...branches.map((branch) => branch.last));
  const width = Math.max(560, place.clientWidth), left = 8, right = 240, step = 18;
  const x = (epoch) => left + ((width - left - right) * epoch) / last;
  const children = branches.map(() => []), roots = [];
  branches.forEach((branch, index) => (branch.parent === null ? roots : children[branch.parent]).push(index));
  const rows = new Array(branches.length);
  let free = 0;
  const settle = (index) => {
    const below = children[index];
    if (!below.length || branches[index].ends.length) rows[index] = free++;
    below.forEach(settle);
    rows[index] ??= rows[below[0]];
  };
  roots.forEach(settle);
  const svg = element("svg", { width, height: free * step + 24, viewBox: `0 0 ${width} ${free * step + 24}` });
  branches.forEach((branch, index) => {
    const y = 10 + rows[index] * step, from = x(branch.first - 1), to = x(branch.last);
    if (branch.parent !== null) {
      const above = 10 + rows[branch.parent] * step;
      svg.append(element("path", { d: `M${from} ${above}V${y}`, stroke: styleOf("--muted"), fill: "none" }));
    }
    const thick = Math.min(9, 2 + Math.log2(branch.trials));
    const bar = element("path", { d: `M${from} ${y}H${to}`, stroke: branch.trials > 1 ? COLOURS[0] : styleOf("--muted"), "stroke-width": thick });
    bar.append(element("title", {}, `epochs ${branch.first} to ${branch.last}, ${branch.trials} trial${branch.trials > 1 ? "s" : ""}`));
    svg.append(bar);
    if (branch.ends.length) {
      const more = branch.ends.length > 1 ? ` and ${branch.ends.length - 1} more` : "";
      svg.append(element("text", { x: to + 6, y: y + 4, fill: styleOf("--text"), "font-size": 11 }, branch.ends[0] + more));
    }
  });
  svg.append(element("text", { x: left, y: free * step + 20, fill: styleOf("--muted"), "font-size": 11 }, "epoch 0"));
  svg.append(element("text", { x: x(last) - 20, y: free * step + 20, fill: styleOf("--muted"), "font-size": 11 }, String(last)));
  place.replaceChildren(svg);
}

function element(name, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}
