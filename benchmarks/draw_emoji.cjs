// Draw SVG pictures with resvg: a JSON list of them on standard input, RGBA pixels of all on standard output.
// Run by draw_emoji.py:  node draw_emoji.cjs DIRECTORY_OF_RESVG WIDTH_PIXELS MARGIN_PIXELS, which is cut off each side.

const fs = require("fs");
const [directory, ...numbers] = process.argv.slice(2);
const [width, margin] = numbers.map(Number);
const { Resvg } = require(directory);

const options = {
  background: "white",
  fitTo: { mode: "width", value: width },
  crop: { left: margin, top: margin, right: width - margin, bottom: width - margin },
  font: { loadSystemFonts: false },
};
for (const svg of JSON.parse(fs.readFileSync(0, "utf8"))) {
  fs.writeSync(1, new Resvg(svg, options).render().pixels);
}
