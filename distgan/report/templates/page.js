// Draws the charts of a page with uPlot, and shows in a chart's legend the values under the pointer.
"use strict";
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const FONT = "12px system-ui, sans-serif";

function short(value) {
  const size = Math.abs(value);
  if (size >= 1e4) {
    const [unit, letter] = size >= 1e9 ? [1e9, "G"] : size >= 1e6 ? [1e6, "M"] : [1e3, "k"];
    return +(value / unit).toPrecision(4) + letter;
  }
  if (size >= 1000) return (+value.toPrecision(4)).toLocaleString("en");
  return size && size < 1e-4 ? value.toExponential(2).replace(/\.?0*e/, "e") : String(+value.toPrecision(3));
}

// The value of a line nearest to a place of the joined table, in which lines have values at places of their own.
function nearest(values, place) {
  for (let off = 0; off < values.length; off++) {
    for (const at of [place - off, place + off]) if (values[at] != null) return values[at];
  }
}

function series(line, values) {
  const [colour, kind] = line.style.split(" ");
  const common = { stroke: () => style("--" + colour), dash: { reference: [2, 6], aside: [6, 5] }[kind] };
  if (line.smooth) return [{ ...common, width: 1, alpha: 0.28, points: { show: false } }, { ...common, width: 1.8, points: { show: false } }];
  const points = { show: kind !== "reference", size: 6, fill: kind === "aside" ? () => style("--card") : common.stroke };
  return [{ ...common, width: 1.8, points }];
}

// Round numbers on a logarithmic axis: 1, 2, 5, 10 ... of one or two decades, else the powers of ten.
function decades(low, high) {
  const factors = high / low < 40 ? [1, 2, 5] : [1];
  const from = Math.floor(Math.log10(low)), to = Math.ceil(Math.log10(high));
  const every = Math.ceil((to - from + 1) / 6), ticks = [];
  for (let power = from; power <= to; power += every) for (const factor of factors) ticks.push(factor * 10 ** power);
  return ticks.filter((tick) => low <= tick && tick <= high);
}

function draw(figure) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const box = figure.querySelector(".chart");
  const outputs = figure.querySelectorAll(".key output");
  const where = figure.querySelector(".where");
  const last = Array.from(outputs, (output) => output.textContent);
  const table = uPlot.join(data.lines.map((line) => (line.smooth ? [line.x, line.y, line.smooth] : [line.x, line.y])));
  const columns = []; // of the table, that of each line
  const all = data.lines.flatMap((line) => {
    const own = series(line);
    columns.push((columns.at(-1) ?? 0) + (columns.length ? columns.width : 1));
    columns.width = own.length;
    return own;
  });
  const follow = (chart) => {
    const place = chart.cursor.idx;
    const points = place != null && chart.cursor.left >= 0;
    where.textContent = points ? "at " + table[0][place].toLocaleString("en") : "";
    outputs.forEach((output, index) => (output.textContent = points ? short(nearest(table[columns[index]], place)) : last[index]));
  };
  const axis = { stroke: () => style("--quiet"), font: FONT, ticks: { show: false } };
  const size = () => ({ width: box.clientWidth, height: box.clientHeight });
  const chart = new uPlot({
    ...size(),
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    scales: { x: { time: false, range: [0, data.end] }, y: { distr: data.logarithmic ? 3 : 1, range: data.limits } },
    axes: [
      { ...axis, grid: { show: false }, border: { show: true, stroke: () => style("--quiet"), width: 1 }, size: 26, space: 70, values: (_, ticks) => ticks.map(short) },
      { ...axis, grid: { stroke: () => style("--rule"), width: 1 }, size: 56, space: 34,
        values: (_, ticks) => ticks.map(short),
        ...(data.logarithmic ? { splits: (_, __, low, high) => decades(low, high), filter: (_, ticks) => ticks } : {}),
        ...(data.whole ? { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] } : {}) },
    ],
    series: [{}, ...all],
    hooks: { setCursor: [follow] },
  }, table, box);
  new ResizeObserver(() => chart.setSize(size())).observe(box);
  return chart;
}

const charts = Array.from(document.querySelectorAll("figure.plot:has(.chart)"), draw);
const redraw = () => charts.forEach((chart) => chart.redraw(false, true));
for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", redraw);
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));
