// The charts of dashboard.html: one line each, drawn anew by Observable Plot from the newest samples. Bun bundles it for the browser.

import * as Plot from "@observablehq/plot";

const REFRESH_MS = 500;
const charts = new Map();

/** The place of a chart, its heading and its newest value. */
function placeOf(name) {
  const known = charts.get(name);
  if (known !== undefined) return known;
  const figure = document.createElement("figure");
  const caption = figure.appendChild(document.createElement("figcaption"));
  caption.append(name);
  const value = caption.appendChild(document.createElement("b"));
  const plot = figure.appendChild(document.createElement("div"));
  document.getElementById("charts").append(figure);
  const place = { value, plot };
  charts.set(name, place);
  return place;
}

async function refresh() {
  const samples = await (await fetch("/samples")).json();
  if (samples.length < 2) return;
  for (const name of Object.keys(samples[0])) {
    if (name === "at") continue;
    const { value, plot } = placeOf(name);
    const chart = Plot.plot({
      width: 300,
      height: 130,
      marginLeft: 45,
      x: { type: "time", label: null, ticks: 4 },
      y: { label: null, zero: true, nice: true, grid: true, ticks: 4, tickFormat: "~s" },
      marks: [
        Plot.areaY(samples, { x: "at", y: name, fill: "#088", fillOpacity: 0.12 }),
        Plot.lineY(samples, { x: "at", y: name, stroke: "#088" }),
      ],
    });
    plot.replaceChildren(chart);
    value.textContent = samples.at(-1)[name].toLocaleString("en", { maximumSignificantDigits: 3 });
  }
}

setInterval(() => refresh().catch(() => {}), REFRESH_MS);
