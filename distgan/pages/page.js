// Shows, in the legend of a plot, the values of its lines where the pointer is.
"use strict";
for (const figure of document.querySelectorAll("figure.plot")) {
  const lines = figure.querySelector("svg.lines");
  if (!lines) continue;
  const hair = lines.querySelector(".hair");
  const where = figure.querySelector("output.where");
  const outputs = figure.querySelectorAll(".key output");
  const last = Array.from(outputs, (output) => output.textContent);
  const curves = Array.from(lines.querySelectorAll("g"), (group) => ({
    places: Array.from(group.querySelector(".raw").getAttribute("d").matchAll(/[ML]([-\d.]+)/g), (found) => +found[1]),
    at: group.dataset.at.split(" "),
    values: group.dataset.values.split(" "),
  }));
  const nearest = (places, x) =>
    places.reduce((best, place, index) => (Math.abs(places[best] - x) > Math.abs(place - x) ? index : best), 0);
  const drawing = lines.ownerSVGElement;
  const leave = () => {
    hair.setAttribute("visibility", "hidden");
    where.textContent = "";
    outputs.forEach((output, index) => (output.textContent = last[index]));
  };
  drawing.addEventListener("pointermove", (event) => {
    const x = new DOMPoint(event.clientX, event.clientY).matrixTransform(drawing.getScreenCTM().inverse()).x
      - lines.x.baseVal.value;
    const found = curves.map((curve) => nearest(curve.places, x));
    const densest = curves.reduce((best, curve, index) => (curve.places.length > curves[best].places.length ? index : best), 0);
    const place = curves[densest].places[found[densest]];
    hair.setAttribute("x1", place);
    hair.setAttribute("x2", place);
    hair.setAttribute("visibility", "visible");
    where.textContent = "at " + Number(curves[densest].at[found[densest]]).toLocaleString("en");
    curves.forEach((curve, index) => (outputs[index].textContent = curve.values[found[index]]));
  });
  drawing.addEventListener("pointerleave", leave);
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));
