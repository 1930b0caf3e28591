// Draws a histogram with two handles and what the kernel says the range costs. The hand is followed at once, from
// local state; the numbers come when they come, and the front end merges the steps that the kernel cannot keep up with.
const PLOT = 200, BELOW = 150, EDGE = 14;

const plain = (v, digits) => (Math.abs(v) < 1e-3 ? Number(v).toExponential(2) : Number(v).toPrecision(digits));
const short = (v, digits = 4) =>
  v === 0 ? "0" : plain(v, digits).replace(/(\.\d*?)0+(?=e|$)/, "$1").replace(/\.(?=e|$)/, "").replaceAll("-", "−");

function make(tag, name, parent, text = "") {
  const e = document.createElement(tag);
  e.className = name;
  e.textContent = text;
  parent.append(e);
  return e;
}

function ramp(t, stops) { // between colours that a colour-blind eye tells apart
  const x = Math.min(0.9999, Math.max(0, t)) * (stops.length - 1), i = Math.floor(x), f = x - i;
  return stops[i].map((c, k) => c + f * (stops[i + 1][k] - c));
}
const CIVIDIS = [[0, 32, 77], [87, 92, 109], [155, 147, 119], [255, 234, 70]];
const SPLIT = [[0, 114, 178], [247, 247, 247], [213, 94, 0]];

const HINT = "Drag an end of the range, or focus it: ← → a step, Shift ten, Home the method's range, Ctrl+Z back.";
const CELLS = ["S", "Z", "clipped", "SQNR", "clipping", "rounding", "MSE", "holds"];
const PICTURES = ["histogram of the tensor, log counts, with the range and each method's ends",
  "the staircase around zero, and the tensor before, after and as their difference"];
const ENDS = { rmin: "lower end of the range", rmax: "upper end of the range" };

function build(el) { // the elements, empty
  const root = make("div", "tune-range", el);
  root.style.setProperty("--plot", PLOT + "px");
  make("div", "hint", root, HINT);
  const legend = make("div", "legend", root);
  const plot = make("div", "plot", root), canvas = make("canvas", "", plot);
  const numbers = make("div", "numbers", root), lower = make("canvas", "", root), cells = {}, handles = {};
  for (const name of CELLS) {
    const cell = make("div", name, numbers);
    make("span", "", cell, name);
    cells[name] = make("b", "", cell);
  }
  [canvas, lower].forEach((element, k) => {
    element.setAttribute("role", "img");
    element.setAttribute("aria-label", PICTURES[k]);
  });
  for (const [key, label] of Object.entries(ENDS)) {
    const handle = (handles[key] = make("div", "handle", plot));
    handle.dataset.handle = key;
    handle.tabIndex = 0;
    for (const [k, v] of Object.entries({ role: "slider", "aria-label": label, "aria-orientation": "horizontal" }))
      handle.setAttribute(k, v);
  }
  return { root, legend, plot, canvas, lower, cells, handles };
}

function label(legend, tensor) { // which method's ends which colour shows; returns the button that zooms
  legend.replaceChildren();
  make("span", "", legend, "log counts:");
  for (const { colour, label } of Object.keys(tensor.marks).map((name) => tensor.methods[name])) {
    const entry = make("span", "method", legend);
    make("i", "", entry).style.background = colour;
    entry.append(label);
  }
  return make("button", "zoom", legend);
}

function texts(step) { // the numbers as they are shown
  return { S: short(step.scale), Z: String(step.zero_point), clipped: short(step.clipped, 3) + " %",
    SQNR: step.sqnr_db === null ? "∞" : step.sqnr_db.toFixed(1) + " dB", clipping: short(step.clipping),
    rounding: short(step.rounding), MSE: short(step.mse),
    holds: `${short(step.left, 3)} … ${short(step.right, 3)}` };
}

function drawAxis(c, area, toX, bottom, wide) {
  c.fillRect(EDGE, bottom, wide - 2 * EDGE, 1);
  const room = area.high - area.low, tick = 10 ** Math.floor(Math.log10(room / 3));
  const every = tick * [1, 2, 5].find((m) => room / (tick * m) < 9);
  c.textAlign = "center";
  for (let v = Math.ceil(area.low / every) * every; v <= area.high; v += every) {
    c.fillRect(toX(v), bottom, 1, 5);
    c.fillText(short(Math.abs(v) < every / 1e6 ? 0 : v), toX(v), bottom + 18);
  }
  c.textAlign = "left";
}

function drawPlot(c, tensor, area, heights, range, [a, b], toX, wide) {
  const bottom = PLOT - 26, ink = c.fillStyle, column = (wide - 2 * EDGE) / heights.length;
  const left = Math.max(EDGE, toX(a)), right = Math.min(wide - EDGE, toX(b));
  c.fillStyle = "rgba(86, 180, 233, 0.28)";
  c.fillRect(left, 0, right - left, bottom);
  c.fillStyle = "#808080";
  heights.forEach((h, k) => {
    const tall = h * (bottom - 6);
    c.fillRect(EDGE + k * column, bottom - tall, Math.ceil(column * 10) / 10, tall);
  });
  Object.entries(tensor.marks).forEach(([name, ends], k) => { // where each method would put the ends
    c.fillStyle = tensor.methods[name].colour;
    for (const end of ends)
      if (end >= area.low && end <= area.high) c.fillRect(toX(end) - 1.5, bottom - 12 - 5 * k, 3, 12 + 5 * k);
  });
  c.fillStyle = "#0072B2";
  for (const end of [range.rmin, range.rmax]) c.fillRect(toX(end) - 1, 0, 2, bottom);
  c.fillStyle = ink;
  drawAxis(c, area, toX, bottom, wide);
}

function drawStairs(c, step, side) {
  const ink = c.fillStyle, S = step.scale, Z = step.zero_point, [qmin, qmax] = step.codes;
  const middle = EDGE + side / 2, unit = side / 9, foot = BELOW - 34, up = (foot - 18) / 9;
  const code = (k) => Math.min(qmax, Math.max(qmin, Z + k)) - Z; // the staircase, k steps from zero
  c.fillText("where zero sits: real → code", EDGE, 10, side - 4);
  c.strokeStyle = "#0072B2";
  c.lineWidth = 2;
  c.beginPath();
  for (let k = -4; k <= 4; k++) {
    const y = foot - (code(k) + 4.5) * up;
    c.lineTo(middle + (k - 0.5) * unit, y);
    c.lineTo(middle + (k + 0.5) * unit, y);
  }
  c.stroke();
  c.textAlign = "center";
  for (const k of [-3, 0, 3]) c.fillText(short(k * S, 3), middle + k * unit, foot + 14);
  c.fillStyle = "#D55E00";
  c.beginPath();
  c.arc(middle, foot - 4.5 * up, 4, 0, 7);
  c.fill();
  c.textAlign = "left";
  c.fillText(`0 is code ${Z}`, middle + 7, foot - 4.5 * up + 16);
  c.fillStyle = ink;
}

function drawMaps(c, step, side, wide) {
  const [rows, columns] = step.shape, one = rows * columns, maps = new Uint8Array(step.maps.buffer, step.maps.byteOffset);
  const high = BELOW - 50, across = Math.min((wide - side - 60) / 3 - 8, (high * columns) / rows);
  ["before", "after", "difference"].forEach((title, k) => {
    const image = new ImageData(columns, rows), small = new OffscreenCanvas(columns, rows);
    for (let i = 0; i < one; i++)
      image.data.set([...ramp(maps[k * one + i] / 255, k < 2 ? CIVIDIS : SPLIT), 255], 4 * i);
    small.getContext("2d").putImageData(image, 0, 0);
    const x = side + 50 + k * (across + 10);
    c.imageSmoothingEnabled = false;
    c.drawImage(small, x, 16, across, Math.min(high, (across * rows) / columns));
    c.fillText(title, x, 11, across + 8);
  });
  const scale = `difference from −${short(step.unit, 3)} (blue) to ${short(step.unit, 3)} (red): one step of minmax in 8 bits`;
  c.fillText(scale, EDGE, BELOW - 3, wide - 2 * EDGE);
}

function render({ model, el }) {
  const { root, legend, plot, canvas, lower, cells, handles } = build(el);
  let range = { rmin: 0, rmax: 1 }, view = 0, seq = 0, held = null, frame = 0, queued = false, bars = [];

  const area = () => model.get("tensor").views[view];
  const width = () => plot.clientWidth;
  const toX = (v) => EDGE + ((v - area().low) / (area().high - area().low)) * (width() - 2 * EDGE);
  const toValue = (x) => area().low + ((x - EDGE) / (width() - 2 * EDGE)) * (area().high - area().low);
  const soon = () => { if (!queued) { queued = true; requestAnimationFrame(draw); } };

  function surface(element, height) {
    const ratio = window.devicePixelRatio || 1, w = Math.round(width() * ratio), h = Math.round(height * ratio);
    if (element.width !== w || element.height !== h) { element.width = w; element.height = h; }
    element.style.height = height + "px";
    const c = element.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width(), height);
    c.font = "12px " + getComputedStyle(root).fontFamily;
    c.fillStyle = c.strokeStyle = getComputedStyle(root).color;
    return c;
  }

  function draw() {
    queued = false;
    const step = model.get("step"), tensor = model.get("tensor");
    if (!tensor.views || !root.isConnected) return;
    if (!plot.clientWidth) return void setTimeout(soon, 100); // hidden for a moment, as while the theme changes
    const ends = held ? [range.rmin, range.rmax] : [step.left, step.right];
    drawPlot(surface(canvas, PLOT), tensor, area(), bars[view], range, ends, toX, width());
    const c = surface(lower, BELOW), side = Math.min(236, width() * 0.34);
    drawStairs(c, step, side);
    if (step.maps) drawMaps(c, step, side, width());
    const text = texts(step);
    for (const name of CELLS) if (cells[name].textContent !== text[name]) cells[name].textContent = text[name];
    for (const [key, handle] of Object.entries(handles)) {
      const x = Math.min(width() - EDGE / 2, Math.max(EDGE / 2, toX(range[key])));
      handle.style.transform = `translateX(${x}px)`;
      const now = { valuenow: range[key], valuemin: area().low, valuemax: area().high,
        valuetext: `${short(range[key])}, ${text.clipped} clipped, SQNR ${text.SQNR}` };
      for (const [k, v] of Object.entries(now)) handle.setAttribute("aria-" + k, v);
    }
    root.dataset.frame = canvas.dataset.frame = ++frame;
    root.dataset.seq = canvas.dataset.seq = step.seq;
  }

  function ask(key, value, done, start = false) {
    const other = range[key === "rmin" ? "rmax" : "rmin"];
    range = { ...range, [key]: key === "rmin" ? Math.min(value, other) : Math.max(value, other) };
    model.set("asked", { ...range, seq: ++seq, done, start });
    root.dataset.asked = seq;
    model.save_changes();
    soon();
  }

  for (const [key, handle] of Object.entries(handles)) {
    handle.addEventListener("pointerdown", (e) => {
      handle.setPointerCapture(e.pointerId);
      handle.focus();
      held = { key, off: e.clientX - plot.getBoundingClientRect().left - toX(range[key]), moved: false };
      if (Math.abs(held.off) > 12) held.off = 0; // the end lies outside of the view
      e.preventDefault();
    });
    handle.addEventListener("pointermove", (e) => {
      if (!held || held.key !== key) return;
      ask(key, toValue(e.clientX - plot.getBoundingClientRect().left - held.off), false, !held.moved);
      held.moved = true;
    });
    const drop = () => { if (held?.moved) { held = null; ask(key, range[key], true); } held = null; };
    handle.addEventListener("pointerup", drop);
    handle.addEventListener("pointercancel", drop);
    handle.addEventListener("keydown", (e) => {
      const way = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[e.key];
      const back = e.key === "z" && (e.ctrlKey || e.metaKey);
      if (!way && e.key !== "Home" && !back) return;
      e.preventDefault();
      e.stopPropagation();
      if (!way) return model.send({ do: back ? "undo" : "home" });
      const step = Math.max(model.get("step").scale, (area().high - area().low) / 512); // one that can be seen
      ask(key, range[key] + way * (e.shiftKey ? 10 : 1) * step, true, true);
    });
  }
  const turn = () => {
    view = 1 - view;
    another();
  };
  canvas.addEventListener("dblclick", turn);

  function another() {
    const zoom = label(legend, model.get("tensor"));
    zoom.textContent = view ? "show all" : "zoom in";
    zoom.addEventListener("click", turn);
    bars = model.get("tensor").views.map(({ bars: b }) => new Float32Array(b.buffer.slice(b.byteOffset, b.byteOffset + b.byteLength)));
    soon();
  }
  function stepped() {
    const step = model.get("step");
    if (!held && step.seq >= seq) range = { rmin: step.rmin, rmax: step.rmax }; // an old answer does not pull the hand back
    if (step.seq > seq) seq = step.seq;
    soon();
  }
  model.on("change:tensor", another);
  model.on("change:step", stepped);
  const resized = new ResizeObserver(soon), themed = new MutationObserver(soon);
  resized.observe(root);
  themed.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name", "class"] });
  another();
  stepped();
  return () => { resized.disconnect(); themed.disconnect(); model.off("change:tensor", another); model.off("change:step", stepped); };
}

export default { render };
