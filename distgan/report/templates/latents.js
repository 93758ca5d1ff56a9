"use strict";

const WALK_SECONDS = 2.5; // from one picture to the next
const FEWEST_FRAMES = 12; // of it, on a slow machine
const SMALL = 128; // pixels, up to which they are drawn as squares
const PLEASANT_WIDTH = 500; // of a downloaded picture, which is enlarged to about it

const byId = (id) => document.getElementById(id);
const all = (selector) => Array.from(document.querySelectorAll(selector));
const facts = JSON.parse(byId("facts").textContent);
const [height, width, channels] = facts.shape;
const deviation = facts.noise === "uniform" ? 1 / Math.sqrt(3) : 1;

// The worker, which answers in the order of the questions.
const code = new Blob([byId("network").textContent], { type: "text/javascript" });
const worker = new Worker(URL.createObjectURL(code));
const waiting = [];
worker.onmessage = ({ data }) => waiting.shift()(data);
worker.onerror = ({ message }) => {
  byId("trouble").textContent = `The pictures can't be computed here: ${message}.`;
  byId("trouble").hidden = false;
};
worker.postMessage({ layers: JSON.parse(byId("layers").textContent), weights: byId("weights").textContent });

// Returns the image of latents in [-1, 1], a flat array [height, width, channels].
function compute(latents, classNumber) {
  const input = new Float32Array(facts.latent_dim + facts.num_classes);
  input.set(latents);
  if (facts.num_classes) input[facts.latent_dim + classNumber] = 1;
  return new Promise((answer) => {
    waiting.push(answer);
    worker.postMessage(input);
  });
}

// The large picture, then the small ones; each is drawn when it is stale, the large one first.
const views = all("canvas").map((canvas) => {
  Object.assign(canvas, { width, height });
  canvas.classList.toggle("small", Math.max(width, height) <= SMALL);
  return { canvas, latents: new Float32Array(facts.latent_dim), isStale: false, isDrawn: false };
});
const [shown, ...others] = views;
const buttons = all(".sheet button");
const sliders = all(".sliders input");
let chosen = 0; // the small picture from which the large one began
let isDrawing = false;
let classNumber = 0;

async function draw() {
  if (isDrawing) return;
  isDrawing = true;
  for (let view; (view = views.find((one) => one.isStale)); ) {
    view.isStale = false;
    paint(view.canvas, await compute(view.latents, classNumber));
    view.isDrawn = !view.isStale;
  }
  isDrawing = false;
  byId("state").hidden = true;
}

function paint(canvas, image) {
  const picture = new ImageData(width, height);
  for (let pixel = 0; pixel < width * height; pixel++) {
    for (let colour = 0; colour < 4; colour++) {
      const value = image[pixel * channels + Math.min(colour, channels - 1)];
      picture.data[4 * pixel + colour] = colour < 3 ? Math.round((value + 1) * 127.5) : 255;
    }
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

function refresh(stale) {
  for (const view of stale) Object.assign(view, { isStale: true, isDrawn: false });
  draw();
}

const dot = (one, other) => one.reduce((sum, value, i) => sum + value * other[i], 0);

function show(latents) {
  shown.latents = latents;
  sliders.forEach((slider, number) => {
    slider.value = dot(facts.directions[number], latents);
    tell(slider);
  });
  refresh([shown]);
}

function tell(slider) {
  slider.nextElementSibling.value = (Math.round(10 * slider.value) / 10 || 0).toFixed(1).replace("-", "\u2212");
}

sliders.forEach((slider, number) => {
  Object.assign(slider, { min: -3 * deviation, max: 3 * deviation });
  slider.addEventListener("input", () => {
    stopWalk();
    const direction = facts.directions[number];
    const change = slider.value - dot(direction, shown.latents);
    shown.latents = shown.latents.map((value, i) => value + change * direction[i]);
    tell(slider);
    refresh([shown]);
  });
});

function choose(number) {
  chosen = number;
  buttons.forEach((button, i) => button.setAttribute("aria-pressed", i === number));
}

function begin(number) {
  stopWalk();
  choose(number);
  show(others[number].latents);
}

buttons.forEach((button, number) => button.addEventListener("click", () => begin(number)));
byId("reset").addEventListener("click", () => begin(chosen));

all('[name="class"]').forEach((input, number) => input.addEventListener("change", () => {
  classNumber = number;
  refresh(views);
}));

// Uniform random numbers in [0, 1) of a seed (mulberry32).
function uniforms(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

function sow() {
  const uniform = uniforms(Number(byId("seed").value));
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  const latent = facts.noise === "uniform" ? () => 2 * uniform() - 1 : normal;
  for (const view of others) view.latents = view.latents.map(latent);
  begin(0);
  refresh(others);
}

byId("seed").addEventListener("change", sow);
byId("new").addEventListener("click", () => {
  byId("seed").value = Number(byId("seed").value) + 1;
  sow();
});

// Latents between two: on a great circle if they are normal, else on a line.
function between(from, to, part) {
  const angle = Math.acos(Math.min(1, Math.max(-1, dot(from, to) / Math.sqrt(dot(from, from) * dot(to, to)))));
  const isLine = facts.noise === "uniform" || !(Math.sin(angle) > 1e-3);
  const weigh = (share) => (isLine ? share : Math.sin(share * angle) / Math.sin(angle));
  return from.map((value, i) => weigh(1 - part) * value + weigh(part) * to[i]);
}

let isWalking = false;

function startWalk() {
  let [from, part, last] = [shown.latents, 0, performance.now()];
  const walk = (now) => {
    if (!isWalking) return;
    if (shown.isDrawn) {
      const next = (chosen + 1) % others.length;
      part = Math.min(1, part + Math.min((now - last) / 1000 / WALK_SECONDS, 1 / FEWEST_FRAMES));
      last = now;
      show(between(from, others[next].latents, part * part * (3 - 2 * part)));
      if (part === 1) {
        [from, part] = [shown.latents, 0];
        choose(next);
      }
    }
    requestAnimationFrame(walk);
  };
  requestAnimationFrame(walk);
}

function setWalking(value) {
  isWalking = value;
  byId("walk").classList.toggle("on", value);
  byId("walk").textContent = value ? "Stop" : "Walk";
}

function stopWalk() {
  if (isWalking) setWalking(false);
}

byId("walk").addEventListener("click", () => {
  setWalking(!isWalking);
  if (isWalking) startWalk();
});

byId("save").addEventListener("click", () => {
  const factor = Math.max(1, Math.round(PLEASANT_WIDTH / Math.max(width, height)));
  const large = Object.assign(document.createElement("canvas"), { width: factor * width, height: factor * height });
  const context = large.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(shown.canvas, 0, 0, large.width, large.height);
  Object.assign(document.createElement("a"), { href: large.toDataURL(), download: `${facts.name}.png` }).click();
});

sow();
