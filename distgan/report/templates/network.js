// Computes pictures, in a worker: a layer maps flat arrays, [height, width, channels], to one of them.
"use strict";

const ACTIVATIONS = {
  linear: null,
  relu: (value) => Math.max(0, value),
  sigmoid: (value) => 1 / (1 + Math.exp(-value)),
  tanh: Math.tanh,
};
const same = ([x]) => x;
const leakyRelu = ([x], { negative_slope: slope, threshold = 0 }) =>
  x.map((value) => (value < threshold ? slope * (value - threshold) : value));

// The layers by their names in Keras and in distgan: functions of the inputs, the settings and the weights.
const LAYERS = {
  Activation: same, // what is called `activation` follows any layer
  Reshape: same,
  Dropout: same,
  ReLU: leakyRelu,
  LeakyReLU: leakyRelu,
  Clipped: ([x]) => x.map((value) => Math.min(1, Math.max(-1, value))),
  Add: ([x, ...others]) => x.map((value, i) => others.reduce((sum, other) => sum + other[i], value)),
  Dense([x], layer, [kernel, bias]) {
    const y = emptyOf(layer.shape);
    const outputs = layer.shape.at(-1);
    const inputs = layer.from.at(-1);
    for (let i = 0; i < x.length; i++) {
      const [start, weight] = [Math.floor(i / inputs) * outputs, (i % inputs) * outputs];
      if (x[i]) for (let j = 0; j < outputs; j++) y[start + j] += x[i] * kernel[weight + j];
    }
    return plus(y, bias);
  },
  EinsumDense: ([x], layer, [kernel, bias]) => plus(kernel.map((value, i) => value * x[i % x.length]), bias),
  BatchNormalization([x], layer, [gamma, beta, mean, variance]) {
    const scale = gamma.map((value, i) => value / Math.sqrt(variance[i] + layer.epsilon));
    const channels = scale.length;
    return x.map((value, i) => (value - mean[i % channels]) * scale[i % channels] + beta[i % channels]);
  },
  Convolution: convolution,
  GroupedConvolution: convolution,
  TransposedConvolution([x], layer, weights) {
    const edges = padding(layer, layer.from, layer.shape);
    return spread(x, layer, weights, (pixel, tap, axis) => pixel * layer.strides[axis] + tap - edges[axis]);
  },
  Cropping2D([x], { from: [, columns, channels], shape, cropping: [[top], [left]] }) {
    const [y, length] = [emptyOf(shape), shape[1] * channels];
    for (let row = 0; row < shape[0]; row++) {
      const start = ((top + row) * columns + left) * channels;
      y.set(x.subarray(start, start + length), row * length);
    }
    return y;
  },
  // Twice the size, by linear interpolation between the middles of pixels.
  Doubled([x], { from: [rows, columns, channels] }) {
    const tall = doubled(x, 1, rows, columns * channels);
    return doubled(tall, 2 * rows, columns, channels);
  },
};

// [blocks, count, length] as [blocks, 2 * count, length]
function doubled(x, blocks, count, length) {
  const y = new Float32Array(2 * x.length);
  for (let i = 0; i < 2 * blocks * count; i++) {
    const [block, place] = [Math.floor(i / 2 / count), i % (2 * count)];
    const own = place >> 1;
    const other = Math.min(count - 1, Math.max(0, own + (place % 2 ? 1 : -1)));
    const [near, far] = [own, other].map((one) => (block * count + one) * length);
    for (let j = 0; j < length; j++) y[i * length + j] = 0.75 * x[near + j] + 0.25 * x[far + j];
  }
  return y;
}

function convolution([x], layer, weights) {
  const edges = padding(layer, layer.shape, layer.from);
  return spread(x, layer, weights, (pixel, tap, axis) => (pixel + edges[axis] - tap) / layer.strides[axis]);
}

// The pixels before the large image that a convolution from it to the small one reads, on each axis.
function padding({ kernel_size: kernel, strides }, small, large) {
  return [0, 1].map((axis) => Math.max(0, (small[axis] - 1) * strides[axis] + kernel[axis] - large[axis]) >> 1);
}

// Adds each input pixel, times the weights of each tap, to the output pixel at `place(pixel, tap, axis)`, if there is one.
// Weights are [taps, inputs of a group, outputs].
function spread(x, { from, shape, kernel_size: kernel, groups }, [weights, bias], place) {
  const [inputs, outputs] = [from[2] / groups, shape[2] / groups]; // of a group
  const targets = [0, 1].map((axis) => Array.from({ length: kernel[axis] }, (_, tap) =>
    Array.from({ length: from[axis] }, (_, pixel) => place(pixel, tap, axis))));
  const isInside = (pixel, axis) => Number.isInteger(pixel) && pixel >= 0 && pixel < shape[axis];
  const [values, rows] = [new Float32Array(inputs + 3), new Int32Array(inputs + 3)];
  const y = emptyOf(shape);
  for (let tap = 0; tap < kernel[0] * kernel[1]; tap++) {
    const [ofRows, ofColumns] = [targets[0][Math.floor(tap / kernel[1])], targets[1][tap % kernel[1]]];
    for (let row = 0; row < from[0]; row++) {
      if (!isInside(ofRows[row], 0)) continue;
      for (let column = 0; column < from[1]; column++) {
        if (!isInside(ofColumns[column], 1)) continue;
        const start = (row * from[1] + column) * from[2];
        const target = (ofRows[row] * shape[1] + ofColumns[column]) * shape[2];
        for (let group = 0; group < groups; group++) {
          let count = 0; // of inputs other than zero, of which a ReLU leaves few
          for (let input = 0; input < inputs; input++) {
            values[count] = x[start + group * inputs + input];
            rows[count] = (tap * inputs + input) * shape[2] + group * outputs;
            if (values[count]) count++;
          }
          values.fill(0, count, count + 3);
          addProducts(y, target + group * outputs, outputs, weights, values, rows, count);
        }
      }
    }
  }
  return plus(y, bias);
}

// Adds rows of weights, times values, to y from `start` on: four at once, as most of the time goes into this loop.
function addProducts(y, start, length, weights, values, rows, count) {
  for (let k = 0; k < count; k += 4) {
    const [a, b, c, d] = [values[k], values[k + 1], values[k + 2], values[k + 3]];
    const [rowA, rowB, rowC, rowD] = [rows[k], rows[k + 1], rows[k + 2], rows[k + 3]];
    for (let i = 0; i < length; i++) {
      y[start + i] += a * weights[rowA + i] + b * weights[rowB + i] + c * weights[rowC + i] + d * weights[rowD + i];
    }
  }
}

function plus(y, bias) {
  if (bias) for (let i = 0; i < y.length; i++) y[i] += bias[i % bias.length];
  return y;
}

function emptyOf(shape) {
  return new Float32Array(shape.reduce((size, length) => size * length, 1));
}

// Returns the weights of each layer, from float16, little-endian, in base64.
function weightsOf(layers, text) {
  const bytes = atob(text);
  const numbers = new Float32Array(bytes.length / 2);
  for (let i = 0; i < numbers.length; i++) {
    const half = bytes.charCodeAt(2 * i) | (bytes.charCodeAt(2 * i + 1) << 8);
    const [exponent, fraction] = [(half >> 10) & 31, half & 1023];
    const size = exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24;
    numbers[i] = half >> 15 ? -size : size;
  }
  let end = 0;
  return layers.map((layer) => {
    const weights = layer.sizes.map((size) => numbers.subarray(end, (end += size)));
    return layer.kind === "TransposedConvolution" ? [swapped(weights[0], layer), ...weights.slice(1)] : weights;
  });
}

// [taps, outputs, inputs] as [taps, inputs, outputs]
function swapped(kernel, { from: [, , inputs], shape: [, , outputs] }) {
  return kernel.map((_, i) => {
    const [tap, input, output] = [Math.floor(i / inputs / outputs), Math.floor(i / outputs) % inputs, i % outputs];
    return kernel[(tap * outputs + output) * inputs + input];
  });
}

let layers, weights;
onmessage = ({ data }) => {
  if (data.layers) {
    layers = data.layers;
    weights = weightsOf(layers, data.weights);
    return;
  }
  const values = [data];
  layers.forEach(({ kind, inputs, activation, ...layer }, number) => {
    const value = LAYERS[kind](inputs.map((input) => values[input]), layer, weights[number]);
    values.push(ACTIVATIONS[activation] ? value.map((one) => ACTIVATIONS[activation](one)) : value);
  });
  postMessage(values[layers.length]);
};
