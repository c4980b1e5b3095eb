// Draws a bar chart of ratios as an SVG that stands on its own, on light and dark pages alike.
// Assumes @observablehq/plot, and linkedom in place of a browser. Never measures text: labels have room to spare.

import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";

export interface Bar {
  readonly label: string;
  /** What the colour stands for. */
  readonly series: string;
  readonly value: number;
}

export interface BarChart {
  readonly title: string;
  readonly note: string;
  readonly bars: readonly Bar[];
}

const WIDTH = 900;
const LABELS = 320;
const BAR = 20;

/** Colours that are told apart without colour vision, and readable on white. */
const COLOURS = ["#2563a8", "#e08a2e", "#5b8c5a", "#8c5b8a"];

export function barChart({ title, note, bars }: BarChart): string {
  const { document } = parseHTML("<html><body></body></html>");
  const series = [...new Set(bars.map((bar) => bar.series))];
  const plot = Plot.plot({
    document: document as never,
    width: WIDTH,
    height: 110 + BAR * bars.length,
    marginLeft: LABELS,
    marginRight: 60,
    marginTop: 70,
    marginBottom: 30,
    style: { background: "white", color: "#222", fontFamily: "system-ui, sans-serif", fontSize: "12px" },
    x: { domain: [0, Math.max(1.2, ...bars.map(({ value }) => value)) * 1.05], grid: true, label: null },
    y: { domain: bars.map(({ label }) => label), label: null, padding: 0.25, tickSize: 0 },
    color: { domain: series, range: COLOURS.slice(0, series.length) },
    marks: [
      Plot.barX(bars, { x: "value", y: "label", fill: "series" }),
      Plot.ruleX([1], { stroke: "#222" }),
      Plot.text(bars, {
        x: "value",
        y: "label",
        text: ({ value }: Bar) => `${value.toFixed(2)} ×`,
        textAnchor: "start",
        dx: 5,
        stroke: "white",
        strokeWidth: 4,
        fill: "#222",
      }),
      Plot.text([title], { frameAnchor: "top-left", dx: 8 - LABELS, dy: -50, fontSize: 17, fontWeight: "bold" }),
      Plot.text([note], { frameAnchor: "top-left", dx: 8 - LABELS, dy: -26, fill: "#555" }),
    ],
  });
  plot.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  return `${plot.outerHTML}\n`;
}
