"use strict";
// Shows raw 16-bit pixels on a canvas: zoom, pan, contrast and brightness (window width and center), invert, reset;
// and lets a reader answer without a mouse. No library, nothing stored in the browser.

class View {
  constructor(canvas, status, changed) {
    this.canvas = canvas;
    this.status = status;
    this.changed = changed;
    this.rows = Number(canvas.dataset.rows);
    this.columns = Number(canvas.dataset.columns);
    this.channels = Number(canvas.dataset.channels);
    this.offset = Number(canvas.dataset.offset);
    this.pixels = null;
    this.inverted = false;
    this.picture = document.createElement("canvas");
    this.picture.width = this.columns;
    this.picture.height = this.rows;
    this.pointers = new Map();
    this.windowing = false;
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.up(event));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    new ResizeObserver(() => this.resized()).observe(canvas);
  }

  async load() {
    for (let tries = 0; tries < 3; tries += 1) {
      try {
        const answer = await fetch(this.canvas.dataset.image, { credentials: "same-origin" });
        if (!answer.ok) throw new Error(String(answer.status));
        const bytes = await answer.arrayBuffer();
        if (bytes.byteLength !== 2 * this.rows * this.columns * this.channels) throw new Error("size");
        this.pixels = readNumbers(bytes);
        this.status.textContent = "";
        [this.low, this.high] = this.channels === 1 ? usualWindow(this.pixels) : [0, greatest(this.pixels)];
        this.first = [this.low, this.high];
        this.paint();
        this.fit();
        this.canvas.dataset.ready = "yes";
        return;
      } catch (error) {
        this.status.textContent = "The image could not be loaded. Trying again …";
        await new Promise((go) => setTimeout(go, 1500));
      }
    }
    this.status.textContent = "The image could not be loaded. Please reload the page.";
  }

  paint() {
    const context = this.picture.getContext("2d");
    const image = context.createImageData(this.columns, this.rows);
    const width = Math.max(1, this.high - this.low);
    const shades = new Uint8ClampedArray(65536);
    for (let value = 0; value < 65536; value += 1) {
      const shade = ((value - this.low) / width) * 255;
      shades[value] = this.inverted ? 255 - Math.min(255, Math.max(0, shade)) : shade;
    }
    const step = this.channels;
    const [green, blue] = step === 3 ? [1, 2] : [0, 0];
    for (let i = 0, from = 0, to = 0; i < this.rows * this.columns; i += 1, from += step, to += 4) {
      image.data[to] = shades[this.pixels[from]];
      image.data[to + 1] = shades[this.pixels[from + green]];
      image.data[to + 2] = shades[this.pixels[from + blue]];
      image.data[to + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    this.draw();
  }

  draw() {
    if (!this.pixels) return;
    const context = this.canvas.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    context.imageSmoothingEnabled = this.scale < 4;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.picture, this.x, this.y, this.columns * this.scale, this.rows * this.scale);
    this.changed(this);
  }

  resized() {
    const ratio = window.devicePixelRatio || 1;
    const box = this.canvas.getBoundingClientRect();
    const [width, height] = [Math.max(1, Math.round(box.width * ratio)), Math.max(1, Math.round(box.height * ratio))];
    if (width === this.canvas.width && height === this.canvas.height) return;
    this.canvas.width = width;
    this.canvas.height = height;
    if (this.pixels) this.fit();
  }

  fit() {
    this.scale = Math.min(this.canvas.width / this.columns, this.canvas.height / this.rows);
    this.smallest = this.scale * 0.5;
    this.x = (this.canvas.width - this.columns * this.scale) / 2;
    this.y = (this.canvas.height - this.rows * this.scale) / 2;
    this.draw();
  }

  reset() {
    if (!this.pixels) return;
    [this.low, this.high] = this.first;
    this.inverted = false;
    this.paint();
    this.fit();
  }

  zoom(factor, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    if (!this.pixels) return;
    const scale = Math.min(64, Math.max(this.smallest, this.scale * factor));
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.keepInside();
    this.draw();
  }

  pan(dx, dy) {
    if (!this.pixels) return;
    this.x += dx;
    this.y += dy;
    this.keepInside();
    this.draw();
  }

  keepInside() { // a quarter of the canvas always shows the image
    const [w, h] = [this.columns * this.scale, this.rows * this.scale];
    this.x = Math.min(this.canvas.width * 0.75, Math.max(this.canvas.width * 0.25 - w, this.x));
    this.y = Math.min(this.canvas.height * 0.75, Math.max(this.canvas.height * 0.25 - h, this.y));
  }

  level(contrast, brightness) { // both as shares of the present width
    if (!this.pixels) return;
    const width = this.high - this.low;
    const center = (this.low + this.high) / 2 - brightness * width;
    const wide = Math.min(131072, Math.max(2, width * Math.exp(-contrast)));
    this.low = center - wide / 2;
    this.high = center + wide / 2;
    this.paint();
  }

  invert() {
    if (!this.pixels) return;
    this.inverted = !this.inverted;
    this.paint();
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / box.width;
    return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  }

  wheel(event) {
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY * 0.0015), ...this.place(event));
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.place(event));
    this.rightButton = event.button === 2;
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = this.place(event);
    if (this.pointers.size === 2) {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const length = (from) => Math.max(10, Math.hypot(from[0] - other[0], from[1] - other[1]));
      this.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
      this.zoom(length(now) / length(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    } else if (this.windowing || this.rightButton) {
      this.level((now[0] - before[0]) / 400, -(now[1] - before[1]) / 400);
    } else {
      this.pan(now[0] - before[0], now[1] - before[1]);
    }
    this.pointers.set(event.pointerId, now);
  }

  up(event) { this.pointers.delete(event.pointerId); }
}

function readNumbers(bytes) { // little endian, whatever the machine
  if (new Uint8Array(new Uint16Array([1]).buffer)[0] === 1) return new Uint16Array(bytes);
  const view = new DataView(bytes);
  return Uint16Array.from({ length: bytes.byteLength / 2 }, (_, i) => view.getUint16(2 * i, true));
}

function greatest(pixels) {
  let most = 1;
  for (const value of pixels) if (value > most) most = value;
  return most;
}

function usualWindow(pixels) { // from the 1st to the 99th percentile
  const counts = new Uint32Array(65536);
  for (const value of pixels) counts[value] += 1;
  const at = (share) => {
    let left = share * pixels.length;
    for (let value = 0; value < 65536; value += 1) {
      left -= counts[value];
      if (left < 0) return value;
    }
    return 65535;
  };
  const [low, high] = [at(0.01), at(0.99)];
  return low < high ? [low, high] : [low, low + 1];
}

function main() {
  const form = document.getElementById("answer");
  const output = document.querySelector(".window");
  const say = (view) => {
    const center = Math.round((view.low + view.high) / 2 - view.offset);
    output.textContent = `Center ${center} · width ${Math.round(view.high - view.low)} · ${(view.scale / (window.devicePixelRatio || 1)).toFixed(1)}×`;
  };
  const canvases = [...document.querySelectorAll("canvas[data-image]")];
  const views = canvases.map((canvas) => new View(canvas, canvas.parentElement.querySelector(".status"), say));
  const loaded = Promise.all(views.map((view) => view.load()));
  loaded.then(() => { // the next image, while this one is looked at
    const ahead = form.dataset.ahead;
    if (ahead) for (const side of form.dataset.sides.split(",")) fetch(`/image/${ahead}/${side}`).catch(() => {});
  });

  const all = (does) => views.forEach(does);
  const pressed = (name, on) => document.querySelector(`[data-do="${name}"]`).setAttribute("aria-pressed", String(on));
  const step = () => 0.08 * views[0].canvas.width;
  const does = {
    "zoom-in": () => all((view) => view.zoom(1.25)),
    "zoom-out": () => all((view) => view.zoom(0.8)),
    left: () => all((view) => view.pan(step(), 0)),
    right: () => all((view) => view.pan(-step(), 0)),
    up: () => all((view) => view.pan(0, step())),
    down: () => all((view) => view.pan(0, -step())),
    wider: () => all((view) => view.level(-0.12, 0)),
    narrower: () => all((view) => view.level(0.12, 0)),
    darker: () => all((view) => view.level(0, -0.06)),
    brighter: () => all((view) => view.level(0, 0.06)),
    invert: () => { all((view) => view.invert()); pressed("invert", views[0].inverted); },
    reset: () => { all((view) => view.reset()); pressed("invert", false); },
    mode: () => {
      all((view) => { view.windowing = !view.windowing; view.canvas.classList.toggle("windowing", view.windowing); });
      pressed("mode", views[0].windowing);
    },
    keys: () => {
      const keys = document.getElementById("keys");
      keys.hidden = !keys.hidden;
      document.querySelector('[data-do="keys"]').setAttribute("aria-expanded", String(!keys.hidden));
      if (!keys.hidden) keys.scrollIntoView({ block: "nearest" });
    },
  };
  for (const button of document.querySelectorAll("[data-do]")) button.addEventListener("click", does[button.dataset.do]);

  // --- answers --------------------------------------------------------------------------------------------------
  const groups = [...form.querySelectorAll("fieldset:not([disabled])")];
  const chosen = (group) => group.querySelector("input:checked");
  const open = () => groups.find((group) => !chosen(group)) || null;
  let turn = groups.find((group) => !chosen(group)) || groups[0] || null;

  const choose = (key) => {
    const order = turn ? [turn, ...groups.filter((group) => group !== turn)] : groups;
    for (const group of order) {
      const input = [...group.querySelectorAll("input")].find((one) => one.dataset.key === key);
      if (!input) continue;
      input.checked = true;
      turn = open() || group;
      turn.scrollIntoView({ block: "nearest" });
      return true;
    }
    return false;
  };
  // A finger or a mouse chose: the arrows go on moving the image, and not the answer.
  form.addEventListener("click", (event) => {
    if (event.detail > 0 && event.target.matches("input[type=radio]")) event.target.blur();
  });
  for (const group of groups) group.addEventListener("change", () => { turn = open() || group; });

  const keys = {
    "+": "zoom-in", "=": "zoom-in", "-": "zoom-out", ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up",
    ArrowDown: "down", "[": "wider", "]": "narrower", ",": "darker", ".": "brighter", Home: "reset", "?": "keys",
  };
  const letters = { i: "invert", w: "mode" };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const inTools = event.target.closest && event.target.closest(".tools, .bar");
    if (event.key === "Enter" && !inTools) {
      const next = document.getElementById("next");
      if (next) { event.preventDefault(); next.click(); return; }
      if (event.target.closest && event.target.closest("a, button")) return;
      event.preventDefault();
      if (form.reportValidity()) form.requestSubmit();
      return;
    }
    if (event.key === "Backspace") {
      const back = document.getElementById("back");
      if (back) { event.preventDefault(); back.click(); }
      return;
    }
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (!form.dataset.truth && choose(key)) { event.preventDefault(); return; }
    const name = keys[event.key] || letters[key];
    if (!name || (event.key.startsWith("Arrow") && event.target.matches("input[type=radio]"))) return;
    event.preventDefault();
    does[name]();
  });

  // --- time: only while the page is seen ---------------------------------------------------------------------------
  let active = 0;
  let since = null;
  const start = () => { if (since === null && !document.hidden) since = performance.now(); };
  const stop = () => { if (since !== null) { active += performance.now() - since; since = null; } };
  loaded.then(start);
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) { event.preventDefault(); return; } // a second press sends nothing
    form.dataset.sent = "yes";
    stop();
    form.elements.active_ms.value = String(Math.round(active));
  });
  window.addEventListener("pageshow", () => { delete form.dataset.sent; });
}

main();
